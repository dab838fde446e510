//! One event.

use std::collections::BTreeMap;

use bytes::Bytes;
use uuid::Uuid;

use crate::EventType;

/// An event, from the gateway or from any other producer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Unique to this event; at most 255 bytes, so that it fits into AMQP's `message_id`.
    pub id: String,
    /// CloudEvents `type`. For events published here it is also the routing key.
    pub event_type: String,
    /// CloudEvents `source`: where the event comes from.
    pub source: String,
    /// CloudEvents `subject`: what the event is about.
    pub subject: Option<String>,
    /// CloudEvents `time`, RFC 3339.
    pub time: Option<String>,
    /// Media type of `data`; none if its producer sets none.
    pub content_type: Option<String>,
    /// How `data` is compressed, in the form of HTTP's `Content-Encoding`: `gzip`, or `gzip, br`.
    pub content_encoding: Option<String>,
    /// Further attributes by name, such as `traceparent`.
    pub extensions: BTreeMap<String, String>,
    /// The body, byte for byte.
    pub data: Bytes,
}

impl Event {
    /// Most bytes of an id.
    pub const MAX_ID_BYTES: usize = 255;

    /// A new event with the current time and a new id (UUIDv7).
    pub fn new(event_type: &EventType, source: &str, content_type: &str, data: Bytes) -> Self {
        Self {
            id: Uuid::now_v7().to_string(),
            event_type: event_type.to_string(),
            source: source.to_owned(),
            subject: None,
            time: Some(jiff::Timestamp::now().to_string()),
            content_type: Some(content_type.to_owned()),
            content_encoding: None,
            extensions: BTreeMap::new(),
            data,
        }
    }
}
