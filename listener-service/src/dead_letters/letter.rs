//! A dead letter as logger-service takes it and gives it back.

use std::{borrow::Cow, collections::BTreeMap};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use event::Event;
use messaging::DeadLetter;
use serde::{Deserialize, Deserializer, Serialize, de::Error as _};

/// More than an event's id has.
const EVENT_ID_BYTES_MAX: usize = 1024;

/// The attributes of an event, exactly as they came; its data travels beside them.
#[derive(Debug, Deserialize, PartialEq, Eq, Serialize)]
pub(super) struct Attributes {
    id: String,
    #[serde(rename = "type")]
    event_type: String,
    source: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    time: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content_encoding: Option<String>,
    extensions: BTreeMap<String, String>,
}

impl Attributes {
    /// The event of these attributes with `data`.
    pub(super) fn with_data(self, data: Bytes) -> Event {
        Event {
            id: self.id,
            event_type: self.event_type,
            source: self.source,
            subject: self.subject,
            time: self.time,
            content_type: self.content_type,
            content_encoding: self.content_encoding,
            extensions: self.extensions,
            data,
        }
    }
}

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

/// Body of `POST /dead-letters`.
#[derive(Serialize)]
struct NewLetter<'a> {
    route: &'a str,
    queue: &'a str,
    death: String,
    reason: String,
    status: Option<u16>,
    attempts: u32,
    first_failure: Option<String>,
    last_failure: Option<String>,
    answer: Option<String>,
    exchange: String,
    routing_key: String,
    event: Attributes,
    /// What the message carried beside the event, in AMQP's own writing.
    original_base64: String,
    /// Base64, since data is any bytes.
    data_base64: String,
}

/// The body that stores a dead letter of `route`, whose queue is `queue`.
pub(super) fn new_letter(
    dead: DeadLetter,
    route: &str,
    queue: &str,
) -> Result<Bytes, serde_json::Error> {
    let event = dead.event;
    let letter = NewLetter {
        route,
        queue,
        death: dead.death,
        reason: dead.reason,
        status: dead.status,
        attempts: dead.attempts,
        first_failure: dead.first_failure,
        last_failure: dead.last_failure,
        answer: dead.answer,
        exchange: dead.exchange,
        routing_key: dead.routing_key,
        original_base64: STANDARD.encode(&dead.original),
        data_base64: STANDARD.encode(&event.data),
        event: Attributes {
            id: event.id,
            event_type: event.event_type,
            source: event.source,
            subject: event.subject,
            time: event.time,
            content_type: event.content_type,
            content_encoding: event.content_encoding,
            extensions: event.extensions,
        },
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
    #[serde(
        rename = "original_base64",
        default,
        deserialize_with = "decode_optional"
    )]
    pub(super) original: Option<Bytes>,
    #[serde(rename = "data_base64", deserialize_with = "decode")]
    pub(super) data: Bytes,
}

fn decode<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Bytes, D::Error> {
    let text = Cow::<str>::deserialize(deserializer)?;
    let data = STANDARD.decode(text.as_bytes());
    data.map(Bytes::from).map_err(D::Error::custom)
}

fn decode_optional<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Bytes>, D::Error> {
    decode(deserializer).map(Some)
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
