//! The body of `POST /dead-letters`.

use event::dead_letter::{Base64, Report};
use event::time;
use service_kit::json;
use service_kit::problem::Problem;

use crate::dead_letter::{DeadLetter, Message, death, event_id, id, storable};
use crate::event::{Data, TEXT_BYTES_MAX};

/// Reasons and answers are for people; what is longer is cut.
const PROSE_BYTES_MAX: usize = 4 * 1024;

/// What a frame of 128 KiB holds.
const ORIGINAL_BYTES_MAX: usize = 128 * 1024;

/// Reads a dead letter. Refuses what the listener would have done wrong, and nothing that any
/// producer can have put into a queue.
pub(crate) fn read(body: &[u8]) -> Result<DeadLetter, Problem> {
    let report: Report = json::parse(body)?;
    if let Some(Base64(original)) = &report.original_base64 {
        check_original(original)?;
    }
    let data = Vec::from(report.data_base64.0);
    let message = Message {
        exchange: report.exchange,
        routing_key: report.routing_key,
        event: report.event,
        original_base64: report.original_base64,
    };
    let event = &message.event;
    let written = serde_json::to_string(&message)
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
        message: written,
        data: Data::from(data),
    })
}

/// The listener bounds it; what is larger is not from a listener.
fn check_original(original: &[u8]) -> Result<(), Problem> {
    if original.len() <= ORIGINAL_BYTES_MAX {
        return Ok(());
    }
    Err(Problem::bad_request(format!(
        "original_base64 holds more than {ORIGINAL_BYTES_MAX} bytes"
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
        assert_eq!(json!(message.event), report["event"]);
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
                json!("A".repeat((ORIGINAL_BYTES_MAX + 3) / 3 * 4)),
            ),
            ("event", json!(null)),
            ("event", json!({"id": "1", "type": "a", "source": "/s"})),
        ] {
            let problem = read_with(member, value).unwrap_err();
            assert_eq!(problem.status(), 400, "{member}");
        }
    }
}
