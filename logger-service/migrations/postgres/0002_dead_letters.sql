-- The dead letters, in the order in which each one died first.
CREATE TABLE dead_letters (
    -- A number is never used again, since cursors hold it.
    seq           BIGSERIAL PRIMARY KEY,
    -- Derived from queue, event id, event type and data.
    id            TEXT   NOT NULL UNIQUE,
    -- dead, replayed or discarded.
    state         TEXT   NOT NULL,
    -- What follows is made fit for display and search: cut, and without U+0000.
    route         TEXT   NOT NULL,
    queue         TEXT   NOT NULL,
    event_id      TEXT   NOT NULL,
    type          TEXT   NOT NULL,
    reason        TEXT   NOT NULL,
    answer        TEXT,
    -- Names the last hand-off to the dead letters.
    death         TEXT   NOT NULL,
    deaths        BIGINT NOT NULL,
    status        BIGINT,
    attempts      BIGINT NOT NULL,
    -- Times are microseconds since 1970 UTC.
    first_failure BIGINT,
    last_failure  BIGINT,
    died_at       BIGINT NOT NULL,
    -- A JSON object: exchange, routing key and event attributes, exactly as they came.
    message       TEXT   NOT NULL,
    -- The data, byte for byte: text where it is valid UTF-8 without U+0000, bytes otherwise.
    data_text     TEXT,
    data_bytes    BYTEA,
    CHECK ((data_text IS NULL) <> (data_bytes IS NULL))
);
CREATE INDEX dead_letters_state ON dead_letters (state, seq);
CREATE INDEX dead_letters_route ON dead_letters (route, seq);
CREATE INDEX dead_letters_type ON dead_letters (type, seq);
CREATE INDEX dead_letters_event_id ON dead_letters (event_id, seq);
CREATE INDEX dead_letters_died_at ON dead_letters (died_at);
