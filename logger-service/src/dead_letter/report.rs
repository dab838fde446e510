//! The body of `POST /dead-letters`.

use std::borrow::Cow;
use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use event::time;
use serde::Deserialize;
use serde_json::value::RawValue;
use service_kit::json;
use service_kit::problem::Problem;

use crate::dead_letter::{DeadLetter, Message, death, event_id, id, storable};
use crate::event::{Data, TEXT_BYTES_MAX};

/// Reasons and answers are for people; what is longer is cut.
const PROSE_BYTES_MAX: usize = 4 * 1024;

/// What a frame of 128 KiB holds, in base64.
const ORIGINAL_BASE64_BYTES_MAX: usize = 128 * 1024 * 4 / 3 + 4;

/// Members that may be null must be there all the same, which is what `deserialize_with` does.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Report<'a> {
    route: String,
    queue: String,
    death: String,
    reason: String,
    #[serde(deserialize_with = "Option::deserialize")]
    status: Option<u16>,
    attempts: u32,
    #[serde(deserialize_with = "Option::deserialize")]
    first_failure: Option<String>,
    #[serde(deserialize_with = "Option::deserialize")]
    last_failure: Option<String>,
    #[serde(deserialize_with = "Option::deserialize")]
    answer: Option<String>,
    exchange: String,
    routing_key: String,
    #[serde(borrow)]
    event: &'a RawValue,
    /// A listener that is older than this member does not send it.
    #[serde(borrow, default)]
    original_base64: Option<Cow<'a, str>>,
    #[serde(borrow)]
    data_base64: Cow<'a, str>,
}

/// The attributes of the event. What is not used here is only checked: it is kept as it came.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Attributes {
    id: String,
    #[serde(rename = "type")]
    event_type: String,
    #[serde(rename = "source")]
    _source: String,
    #[serde(rename = "subject")]
    _subject: Option<String>,
    #[serde(rename = "time")]
    _time: Option<String>,
    #[serde(rename = "content_type")]
    _content_type: Option<String>,
    #[serde(rename = "content_encoding")]
    _content_encoding: Option<String>,
    #[serde(rename = "extensions")]
    _extensions: HashMap<String, String>,
}

/// Reads a dead letter. Refuses what the listener would have done wrong, and nothing that any
/// producer can have put into a queue.
pub(crate) fn read(body: &[u8]) -> Result<DeadLetter, Problem> {
    let report: Report = json::parse(body)?;
    let event: Attributes = json::parse(report.event.get().as_bytes())?;
    let data = STANDARD
        .decode(report.data_base64.as_bytes())
        .map_err(|_| Problem::bad_request("data_base64 is not base64 (RFC 4648, section 4)"))?;
    if let Some(original) = &report.original_base64 {
        check_original(original)?;
    }
    let message = Message {
        exchange: report.exchange.into(),
        routing_key: report.routing_key.into(),
        event: report.event,
        original_base64: report.original_base64,
    };
    let message = serde_json::to_string(&message)
        .map_err(|_| Problem::internal("the event attributes cannot be kept"))?;
    let indexed = |text: &str| storable(text, TEXT_BYTES_MAX);
    let prose = |text: &str| storable(text, PROSE_BYTES_MAX);
    Ok(DeadLetter {
        id: id(&report.queue, &event.id, &event.event_type, &data),
        route: indexed(&report.route),
        queue: indexed(&report.queue),
        event_id: event_id(&event.id),
        event_type: indexed(&event.event_type),
        reason: prose(&report.reason),
        answer: report.answer.as_deref().map(prose),
        death: death(&report.death)?,
        status: report.status,
        attempts: report.attempts,
        first_failure_us: report.first_failure.as_deref().and_then(time_us),
        last_failure_us: report.last_failure.as_deref().and_then(time_us),
        message,
        data: Data::from(data),
    })
}

/// The listener bounds it; what is larger is not from a listener.
fn check_original(base64: &str) -> Result<(), Problem> {
    if base64.len() <= ORIGINAL_BASE64_BYTES_MAX && STANDARD.decode(base64).is_ok() {
        return Ok(());
    }
    Err(Problem::bad_request(format!(
        "original_base64 is not base64 of at most {ORIGINAL_BASE64_BYTES_MAX} bytes"
    )))
}

/// These times come from headers of a message, which its producer may have made up.
fn time_us(text: &str) -> Option<i64> {
    time::microseconds(text)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn report() -> Value {
        json!({
            "route": "one", "queue": "q", "death": "d", "reason": "refused", "status": null,
            "attempts": 1, "first_failure": null, "last_failure": null, "answer": null,
            "exchange": "e", "routing_key": "k",
            "event": {"id": "1", "type": "a", "source": "/s", "extensions": {}},
            "data_base64": "",
        })
    }

    fn read_with(member: &str, value: Value) -> Result<DeadLetter, Problem> {
        let mut report = report();
        report[member] = value;
        read(report.to_string().as_bytes())
    }

    #[test]
    fn what_came_is_kept_exactly_and_shown_in_a_storable_form() {
        let mut report = report();
        report["routing_key"] = json!("\0");
        report["answer"] = json!(format!("x{}", "é".repeat(4096)));
        report["event"]["id"] = json!("\0".repeat(2000));
        report["event"]["extensions"]["big"] = json!("x".repeat(60 * 1024));
        let dead_letter = read(report.to_string().as_bytes()).unwrap();
        assert_eq!(dead_letter.event_id, "\u{fffd}".repeat(1024));
        assert_eq!(dead_letter.answer.unwrap().len(), 4095);
        assert!(!dead_letter.message.contains('\0'));
        let message: Message = serde_json::from_str(&dead_letter.message).unwrap();
        assert_eq!(message.routing_key, "\0");
        assert_eq!(message.event.get(), report["event"].to_string());
    }

    #[test]
    fn times_that_are_none_are_absent() {
        for (time, time_us) in [
            (json!("1970-01-01T00:00:01Z"), Some(1_000_000)),
            (json!("yesterday"), None),
            (json!(""), None),
            (json!("+999999-01-01T00:00:00Z"), None),
        ] {
            let dead_letter = read_with("first_failure", time).unwrap();
            assert_eq!(dead_letter.first_failure_us, time_us);
        }
    }

    #[test]
    fn missing_unknown_and_malformed_members_are_refused() {
        let complete = report();
        for name in complete.as_object().unwrap().keys() {
            let mut report = complete.clone();
            report.as_object_mut().unwrap().remove(name);
            let problem = read(report.to_string().as_bytes()).unwrap_err();
            assert!(problem.message().contains(name), "{problem:?}");
        }
        for (member, value) in [
            ("other", json!(1)),
            ("death", json!("")),
            ("status", json!(65_536)),
            ("attempts", json!(-1)),
            ("data_base64", json!("AA=")),
            ("data_base64", json!("_-==")),
            ("original_base64", json!("AA=")),
            (
                "original_base64",
                json!("A".repeat(ORIGINAL_BASE64_BYTES_MAX + 4)),
            ),
            ("event", json!(null)),
            ("event", json!({"id": "1", "type": "a", "source": "/s"})),
        ] {
            let problem = read_with(member, value).unwrap_err();
            assert_eq!(problem.status(), 400, "{member}");
        }
    }
}
