//! A dead letter as logger-service takes it and gives it back.

use std::{borrow::Cow, collections::BTreeMap};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use event::Event;
use messaging::DeadLetter;
use serde::{Deserialize, Deserializer, Serialize, de::Error as _};

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
            extensions: self.extensions,
            data,
        }
    }
}

/// Whether a text could be the id of a dead letter, which is a UUID.
pub(super) fn is_id(text: &str) -> bool {
    let digit = |byte: u8| byte.is_ascii_hexdigit() || byte == b'-';
    text.len() == 36 && text.bytes().all(digit)
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
        data_base64: STANDARD.encode(&event.data),
        event: Attributes {
            id: event.id,
            event_type: event.event_type,
            source: event.source,
            subject: event.subject,
            time: event.time,
            content_type: event.content_type,
            extensions: event.extensions,
        },
    };
    serde_json::to_vec(&letter).map(Bytes::from)
}

/// What a replay needs of `GET /dead-letters/{id}?data=base64`.
#[derive(Debug, Deserialize)]
pub(super) struct StoredLetter {
    pub(super) queue: String,
    pub(super) exchange: String,
    pub(super) routing_key: String,
    pub(super) state: State,
    pub(super) death: String,
    pub(super) event: Attributes,
    #[serde(rename = "data_base64", deserialize_with = "decode")]
    pub(super) data: Bytes,
}

fn decode<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Bytes, D::Error> {
    let text = Cow::<str>::deserialize(deserializer)?;
    let data = STANDARD.decode(text.as_bytes());
    data.map(Bytes::from).map_err(D::Error::custom)
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
