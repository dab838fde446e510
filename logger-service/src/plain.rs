//! A log entry without CloudEvents: `{"name": "...", "data": <any JSON>, "level": "..."}`.

use axum::http::HeaderMap;
use bytes::Bytes;
use event::header_text;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::value::RawValue;
use service_kit::json;
use service_kit::problem::Problem;
use uuid::Uuid;

use crate::cloud_event;
use crate::event::{Data, Event, check_id, check_text};

const SOURCE: &str = "logger-service";
const DEFAULT_LEVEL: &str = "INFO";
const LEVEL_BYTES_MAX: usize = 32;
const IDEMPOTENCY_KEY: &str = "idempotency-key";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry<'a> {
    name: String,
    /// Not looked into: the whole body is stored as it came.
    #[serde(borrow, rename = "data")]
    _data: &'a RawValue,
    level: Option<String>,
}

/// Reads a log entry. Its type is `log.<level>`, its id the `Idempotency-Key` or a new one.
pub(crate) fn read(
    headers: &HeaderMap,
    body: &Bytes,
    received_at: Timestamp,
) -> Result<Event, Problem> {
    json::check_headers(headers)?;
    let entry: Entry = json::parse(body)?;
    check_text("name", &entry.name)?;
    let level = entry.level.as_deref().unwrap_or(DEFAULT_LEVEL);
    check_level(level)?;
    Ok(Event {
        id: id(headers)?,
        event_type: format!("log.{level}"),
        source: SOURCE.to_owned(),
        name: Some(entry.name),
        subject: None,
        time_us: None,
        received_at_us: received_at.as_microsecond(),
        content_type: cloud_event::content_type(headers)?,
        data: Data::new(body),
        attributes: "{}".to_owned(),
        content_encoding: None,
        decoded: None,
    })
}

/// The level becomes part of the type, so it is one word of a routing key.
fn check_level(level: &str) -> Result<(), Problem> {
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    if (1..=LEVEL_BYTES_MAX).contains(&level.len()) && level.bytes().all(is_word) {
        return Ok(());
    }
    Err(Problem::bad_request(format!(
        "level must be 1 to {LEVEL_BYTES_MAX} of the characters A-Z a-z 0-9 _ -"
    )))
}

fn id(headers: &HeaderMap) -> Result<String, Problem> {
    let Some(key) = headers.get(IDEMPOTENCY_KEY) else {
        return Ok(Uuid::now_v7().to_string());
    };
    let key = header_text::decode(key)
        .ok_or_else(|| Problem::bad_request("the Idempotency-Key is not text"))?;
    check_id("the Idempotency-Key", &key)?;
    Ok(key)
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderValue, header};

    use super::*;

    fn read_body(body: &str, key: Option<&'static str>) -> Result<Event, Problem> {
        let mut headers = HeaderMap::new();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/json"),
        );
        if let Some(key) = key {
            headers.insert(IDEMPOTENCY_KEY, HeaderValue::from_static(key));
        }
        read(
            &headers,
            &Bytes::copy_from_slice(body.as_bytes()),
            Timestamp::UNIX_EPOCH,
        )
    }

    #[test]
    fn the_body_is_the_data() {
        let body = r#"{ "name":"event", "data":{"n":1e400} }"#;
        let event = read_body(body, None).unwrap();
        assert_eq!(event.event_type, "log.INFO");
        assert_eq!(event.source, "logger-service");
        assert_eq!(event.name.as_deref(), Some("event"));
        assert_eq!(event.data, Data::Text(body.to_owned()));
        assert_ne!(event.id, read_body(body, None).unwrap().id);
    }

    #[test]
    fn level_and_key_are_used() {
        let event = read_body(r#"{"name":"a","data":null,"level":"WARN"}"#, Some("k%201")).unwrap();
        assert_eq!(
            (event.event_type.as_str(), event.id.as_str()),
            ("log.WARN", "k 1")
        );
    }

    #[test]
    fn bad_entries_are_refused() {
        let long_name = format!(r#"{{"name":"{}","data":1}}"#, "x".repeat(1025));
        for body in [
            "",
            "{}",
            r#"{"name":"a"}"#,
            r#"{"data":1}"#,
            r#"{"name":"","data":1}"#,
            r#"{"name":1,"data":1}"#,
            r#"{"name":"a\u0000","data":1}"#,
            r#"{"name":"a","data":1,"other":1}"#,
            r#"{"name":"a","data":1,"level":""}"#,
            r#"{"name":"a","data":1,"level":"a.b"}"#,
            r#"{"name":"a","name":"b","data":1}"#,
            r#"{"name":"a","data":1e}"#,
            &long_name,
        ] {
            assert_eq!(read_body(body, None).unwrap_err().status(), 400, "{body}");
        }
        for key in ["", "%00"] {
            let refused = read_body(r#"{"name":"a","data":1}"#, Some(key)).unwrap_err();
            assert!(refused.message().contains("Idempotency-Key"), "{key}");
        }
    }
}
