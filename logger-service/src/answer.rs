//! Events as clients see them.

mod data;
mod dead_letter;

use event::time;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::decoded::Decoded;
use crate::event::Event;

pub(crate) use data::DataView;
pub(crate) use dead_letter::{DeadLetterListing, DeadLetterView};

/// A page of a listing.
#[derive(Serialize)]
pub(crate) struct Listing<'a> {
    pub(crate) events: Vec<EventView<'a>>,
    pub(crate) next_cursor: Option<String>,
}

/// One event.
#[derive(Serialize)]
pub(crate) struct EventView<'a> {
    id: &'a str,
    #[serde(rename = "type")]
    event_type: &'a str,
    source: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    time: Option<String>,
    received_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    content_type: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content_encoding: Option<&'a str>,
    /// Why the data stands here as it came.
    #[serde(skip_serializing_if = "Option::is_none")]
    undecoded: Option<&'a str>,
    #[serde(flatten)]
    data: DataView<'a>,
    attributes: &'a RawValue,
}

impl<'a> EventView<'a> {
    /// Fails if the stored attributes are not JSON, which only another program can have written.
    pub(crate) fn new(event: &'a Event) -> serde_json::Result<Self> {
        let (_, undecoded) = Decoded::columns(event.decoded.as_ref());
        Ok(Self {
            id: &event.id,
            event_type: &event.event_type,
            source: &event.source,
            name: event.name.as_deref(),
            subject: event.subject.as_deref(),
            time: event.time_us.map(rfc3339),
            received_at: rfc3339(event.received_at_us),
            content_type: event.content_type.as_deref(),
            content_encoding: event.content_encoding.as_deref(),
            undecoded,
            data: DataView::of(event),
            attributes: serde_json::from_str(&event.attributes)?,
        })
    }
}

/// The store holds only times that came from a `Timestamp`; another program may have changed one.
pub(crate) fn rfc3339(time_us: i64) -> String {
    time::from_microseconds(time_us).unwrap_or_else(|| Timestamp::UNIX_EPOCH.to_string())
}

#[cfg(test)]
mod tests {
    use service_kit::json;

    use super::data::DATA_DEPTH_MAX;
    use super::*;
    use crate::event::Data;

    fn view(content_type: &str, data: Data) -> String {
        let event = Event {
            id: "1".to_owned(),
            event_type: "a.b".to_owned(),
            source: "/s".to_owned(),
            name: None,
            subject: None,
            time_us: Some(1),
            received_at_us: 1_767_319_445_000_006,
            content_type: Some(content_type.to_owned()),
            content_encoding: None,
            data,
            decoded: None,
            attributes: r#"{"tenant":"a"}"#.to_owned(),
        };
        serde_json::to_string(&EventView::new(&event).unwrap()).unwrap()
    }

    fn text(data: &str) -> Data {
        Data::Text(data.to_owned())
    }

    #[test]
    fn json_is_embedded_byte_for_byte() {
        let data = r#"{ "n":1e400, "n":18446744073709551617 , "s":"\u00e9"}"#;
        let view = view("application/json", text(data));
        assert!(view.contains(&format!(r#""data":{data},"#)), "{view}");
        assert!(
            view.contains(r#""time":"1970-01-01T00:00:00.000001Z""#),
            "{view}"
        );
        assert!(
            view.contains(r#""received_at":"2026-01-02T02:04:05.000006Z""#),
            "{view}"
        );
        assert!(view.contains(r#""attributes":{"tenant":"a"}"#), "{view}");
    }

    #[test]
    fn other_text_is_a_string() {
        assert!(view("text/plain", text("1")).contains(r#""data":"1""#));
        assert!(view("application/json", text("{")).contains(r#""data":"{""#));
        assert!(view("application/json", text("")).contains(r#""data":"""#));
    }

    #[test]
    fn bytes_are_base64() {
        let view = view("application/json", Data::Bytes(vec![0, 255]));
        assert!(view.contains(r#""data_base64":"AP8=""#) && !view.contains(r#""data":"#));
    }

    #[test]
    fn every_answer_parses_at_a_client_of_serde_json() {
        let nested = |levels: usize| "[".repeat(levels) + &"]".repeat(levels);
        let listing = |levels| {
            format!(
                r#"{{"events":[{}]}}"#,
                view("application/json", text(&nested(levels)))
            )
        };
        assert!(listing(DATA_DEPTH_MAX).contains(r#""data":[["#));
        assert!(listing(DATA_DEPTH_MAX + 1).contains(r#""data_base64":"#));
        for levels in [DATA_DEPTH_MAX, DATA_DEPTH_MAX + 1, json::DEPTH_MAX] {
            serde_json::from_str::<serde_json::Value>(&listing(levels)).unwrap();
        }
    }
}
