//! A dead letter in JSON, as listener-service reports it to logger-service and gets it back.
//!
//! The event in it may be any that any producer made, so it is checked by nobody, and its data and
//! what else its message carried are bytes in base64.

use std::{borrow::Cow, collections::BTreeMap};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use crate::Event;

/// The body of `POST /dead-letters`. Members that may be null must be there all the same, which is what
/// `deserialize_with` does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Report {
    /// The route that could not deliver it.
    pub route: String,
    /// The queue of that route, which a replay brings it back to.
    pub queue: String,
    /// Identifies this death: a later one of the same event has another.
    pub death: String,
    /// Why the last attempt failed.
    pub reason: String,
    /// The status of the target's last answer.
    #[serde(deserialize_with = "Option::deserialize")]
    pub status: Option<u16>,
    /// Attempts that were made since the last replay.
    pub attempts: u32,
    /// When the first attempt failed, RFC 3339.
    #[serde(deserialize_with = "Option::deserialize")]
    pub first_failure: Option<String>,
    /// When the last attempt failed, RFC 3339.
    #[serde(deserialize_with = "Option::deserialize")]
    pub last_failure: Option<String>,
    /// The beginning of the target's last answer.
    #[serde(deserialize_with = "Option::deserialize")]
    pub answer: Option<String>,
    /// Where the event was published first.
    pub exchange: String,
    /// The routing key it was published with first.
    pub routing_key: String,
    /// The event without its data.
    pub event: Attributes,
    /// What the message carried beside the event, in AMQP's own writing. A listener that is older than
    /// this member does not send it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub original_base64: Option<Base64>,
    /// The data, byte for byte.
    pub data_base64: Base64,
}

/// The attributes of an event, exactly as they came.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Attributes {
    /// Which event it is.
    pub id: String,
    /// Its type, any text.
    #[serde(rename = "type")]
    pub event_type: String,
    /// What it happened in.
    pub source: String,
    /// What of the source it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// When it happened, as its producer wrote it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time: Option<String>,
    /// The media type of the data.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    /// How the data is compressed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_encoding: Option<String>,
    /// All other attributes.
    pub extensions: BTreeMap<String, String>,
}

impl Attributes {
    /// Takes an event apart.
    pub fn of(event: Event) -> (Self, Bytes) {
        let Event {
            id,
            event_type,
            source,
            subject,
            time,
            content_type,
            content_encoding,
            extensions,
            data,
        } = event;
        let attributes = Self {
            id,
            event_type,
            source,
            subject,
            time,
            content_type,
            content_encoding,
            extensions,
        };
        (attributes, data)
    }

    /// The event of these attributes with `data`.
    pub fn with_data(self, data: Bytes) -> Event {
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

const NO_BASE64: &str = "data_base64 or original_base64 is not base64 (RFC 4648, section 4)";

/// Bytes as a text in base64 (RFC 4648, 4), padded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Base64(pub Bytes);

impl Serialize for Base64 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Base64 {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Text::deserialize(deserializer)?;
        let bytes = STANDARD.decode(text.0.as_bytes());
        let bytes = bytes.map_err(|_| D::Error::custom(NO_BASE64))?;
        Ok(Self(Bytes::from(bytes)))
    }
}

/// Megabytes that need not be copied before they are decoded.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_report_is_read_as_it_was_written() {
        let mut event = Event::new(
            &"order.placed".parse().unwrap(),
            "/shop",
            "application/json",
            Bytes::from_static(b"\0\xff"),
        );
        event.content_encoding = Some("gzip".to_owned());
        event
            .extensions
            .insert("tenant".to_owned(), "\0é".to_owned());
        let (attributes, data) = Attributes::of(event.clone());
        let report = Report {
            route: "one".to_owned(),
            queue: "q".to_owned(),
            death: "d".to_owned(),
            reason: "refused".to_owned(),
            status: None,
            attempts: 1,
            first_failure: None,
            last_failure: None,
            answer: None,
            exchange: "e".to_owned(),
            routing_key: "k".to_owned(),
            event: attributes,
            original_base64: Some(Base64(Bytes::from_static(b"ab"))),
            data_base64: Base64(data),
        };
        let text = serde_json::to_string(&report).unwrap();
        assert!(text.contains(r#""status":null"#) && text.contains(r#""data_base64":"AP8=""#));
        let read: Report = serde_json::from_str(&text).unwrap();
        assert_eq!(read, report);
        assert_eq!(read.event.with_data(read.data_base64.0), event);
    }

    #[test]
    fn base64_is_padded_and_of_its_alphabet() {
        for wrong in ["AA=", "AA", "_-==", "A A="] {
            assert!(
                serde_json::from_value::<Base64>(json!(wrong)).is_err(),
                "{wrong}"
            );
        }
        let escaped: Base64 = serde_json::from_str(r#""\u0041P8=""#).unwrap();
        assert_eq!(escaped.0, &b"\0\xff"[..]);
    }
}
