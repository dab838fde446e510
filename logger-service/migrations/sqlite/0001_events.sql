-- The events, in the order of their arrival.
CREATE TABLE events (
    -- AUTOINCREMENT: a number is never used again, since cursors hold it.
    seq           INTEGER PRIMARY KEY AUTOINCREMENT,
    id            TEXT   NOT NULL UNIQUE,
    type          TEXT   NOT NULL,
    source        TEXT   NOT NULL,
    name          TEXT,
    subject       TEXT,
    -- Times are microseconds since 1970 UTC.
    time          BIGINT,
    received_at   BIGINT NOT NULL,
    content_type  TEXT,
    -- The data, byte for byte: text where it is valid UTF-8 without U+0000, bytes otherwise.
    data_text     TEXT,
    data_bytes    BLOB,
    -- A JSON object of the other CloudEvents attributes.
    attributes    TEXT   NOT NULL,
    CHECK ((data_text IS NULL) <> (data_bytes IS NULL))
);
CREATE INDEX events_type ON events (type, seq);
CREATE INDEX events_source ON events (source, seq);
CREATE INDEX events_name ON events (name, seq);
CREATE INDEX events_received_at ON events (received_at);
