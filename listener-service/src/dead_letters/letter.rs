//! A dead letter as logger-service takes it and gives it back.

use bytes::Bytes;
use event::dead_letter::{Attributes, Base64, Report};
use messaging::DeadLetter;
use serde::Deserialize;

/// More than an event's id has.
const EVENT_ID_BYTES_MAX: usize = 1024;

/// The id of a dead letter, or of its event, as a segment of a path; none where it cannot be one.
/// Of a text that is no UUID nothing is left that could mean anything in a path, not even letters:
/// an event may be called `replay`.
pub(super) fn segment(id: &str) -> Option<String> {
    let is_uuid = id.len() == 36
        && id
            .bytes()
            .all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
    match id {
        // Written in any way, these are steps from one path to another.
        "" | "." | ".." => None,
        id if is_uuid => Some(id.to_owned()),
        id if id.len() > EVENT_ID_BYTES_MAX => None,
        id => Some(id.bytes().map(|byte| format!("%{byte:02X}")).collect()),
    }
}

/// The body that stores a dead letter of `route`, whose queue is `queue`.
pub(super) fn new_letter(
    dead: DeadLetter,
    route: &str,
    queue: &str,
) -> Result<Bytes, serde_json::Error> {
    let (event, data) = Attributes::of(dead.event);
    let letter = Report {
        route: route.to_owned(),
        queue: queue.to_owned(),
        death: dead.death,
        reason: dead.reason,
        status: dead.status,
        attempts: dead.attempts,
        first_failure: dead.first_failure,
        last_failure: dead.last_failure,
        answer: dead.answer,
        exchange: dead.exchange,
        routing_key: dead.routing_key,
        event,
        original_base64: Some(Base64(dead.original)),
        data_base64: Base64(data),
    };
    serde_json::to_vec(&letter).map(Bytes::from)
}

/// What a replay needs of `GET /dead-letters/{id}?data=base64`.
#[derive(Debug, Deserialize)]
pub(super) struct StoredLetter {
    pub(super) id: String,
    pub(super) queue: String,
    pub(super) exchange: String,
    pub(super) routing_key: String,
    pub(super) state: State,
    pub(super) death: String,
    #[serde(default)]
    pub(super) first_failure: Option<String>,
    pub(super) event: Attributes,
    /// None of a dead letter that was stored before it was kept.
    #[serde(default)]
    pub(super) original_base64: Option<Base64>,
    pub(super) data_base64: Base64,
}

/// What has become of a dead letter.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(super) enum State {
    Dead,
    Replayed,
    Discarded,
}

/// What a replay needs of `GET /dead-letters`.
#[derive(Debug, Deserialize)]
pub(super) struct Page {
    pub(super) dead_letters: Vec<Listed>,
    pub(super) total: u64,
    pub(super) next_cursor: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Listed {
    pub(super) id: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_one_segment_of_a_path_whatever_is_in_it() {
        let uuid = "261dfe90-036c-549b-b1fc-391c51bbfc31";
        assert_eq!(segment(uuid).as_deref(), Some(uuid));
        assert_eq!(segment("a/é?").as_deref(), Some("%61%2F%C3%A9%3F"));
        for none in ["", ".", "..", &"x".repeat(1025)] {
            assert_eq!(segment(none), None, "{none}");
        }
    }
}
