//! A dead letter as it is stored: an event that could not be delivered, and why.
//!
//! It may be any message that any producer put into a queue. What cannot be stored as it is, is
//! made storable and not refused, since a dead letter that is refused never leaves its queue.

mod report;

use event::dead_letter::{Attributes, Base64};
use serde::{Deserialize, Serialize};
use service_kit::problem::Problem;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::event::{Data, TEXT_BYTES_MAX};

pub(crate) use report::read;

const DEATH_BYTES_MAX: usize = 255;
/// Under which ids are derived (RFC 9562, 5.5). With another one every dead letter that dies again
/// would be another dead letter.
const NAMESPACE: Uuid = Uuid::from_u128(0x7495_8c70_db85_4c6e_934b_2b52_ee26_ce57);

/// One dead letter.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct DeadLetter {
    pub(crate) id: String,
    pub(crate) route: String,
    pub(crate) queue: String,
    pub(crate) event_id: String,
    pub(crate) event_type: String,
    pub(crate) reason: String,
    pub(crate) answer: Option<String>,
    pub(crate) death: String,
    pub(crate) status: Option<u16>,
    pub(crate) attempts: u32,
    /// Microseconds since 1970 UTC, like all times of the store.
    pub(crate) first_failure_us: Option<i64>,
    pub(crate) last_failure_us: Option<i64>,
    /// A [`Message`] as JSON.
    pub(crate) message: String,
    pub(crate) data: Data,
}

/// What came with the data, exactly as it came. In JSON, because PostgreSQL cannot hold U+0000 in
/// text and JSON escapes it.
#[derive(Serialize, Deserialize)]
pub(crate) struct Message {
    exchange: String,
    routing_key: String,
    pub(crate) event: Attributes,
    /// What the message carried beside the event, in AMQP's own writing, for a replay.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    original_base64: Option<Base64>,
}

/// The same for an event that dies again on the same route, and another one for another event,
/// even if that has the same event id. Lengths and the digest keep the parts apart.
fn id(queue: &str, event_id: &str, event_type: &str, data: &[u8]) -> String {
    let mut name = Vec::new();
    for part in [queue, event_id, event_type] {
        name.extend((part.len() as u64).to_be_bytes());
        name.extend(part.as_bytes());
    }
    name.extend(Sha256::digest(data));
    Uuid::new_v5(&NAMESPACE, &name).to_string()
}

/// The name of one hand-off, as it is stored and compared. It comes from the listener and not from
/// a producer, so it can be refused.
pub(crate) fn death(text: &str) -> Result<String, Problem> {
    if (1..=DEATH_BYTES_MAX).contains(&text.len()) {
        return Ok(storable(text, usize::MAX));
    }
    Err(Problem::bad_request(format!(
        "death must have 1 to {DEATH_BYTES_MAX} bytes"
    )))
}

/// The id of an event as it is stored and looked for.
pub(crate) fn event_id(text: &str) -> String {
    storable(text, TEXT_BYTES_MAX)
}

/// Text that both databases hold, cut to about `bytes_max` at the end of a character.
fn storable(text: &str, bytes_max: usize) -> String {
    text[..text.floor_char_boundary(bytes_max)].replace('\0', "\u{fffd}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_event_has_another_id() {
        let of = |[queue, event_id, event_type, data]: [&str; 4]| {
            id(queue, event_id, event_type, data.as_bytes())
        };
        let first = of(["q", "1", "a", "data"]);
        assert_eq!(first, of(["q", "1", "a", "data"]));
        // Ids are for ever.
        assert_eq!(first, "a15b8651-55ed-5644-9e0a-6f5696bec532");
        for other in [
            ["p", "1", "a", "data"],
            ["q", "2", "a", "data"],
            ["q", "1", "b", "data"],
            ["q", "1", "a", "Data"],
            ["q1", "", "a", "data"],
            ["q", "1a", "", "data"],
            ["q", "", "1a", "data"],
        ] {
            assert_ne!(first, of(other), "{other:?}");
        }
    }

    #[test]
    fn any_text_is_made_storable() {
        assert_eq!(storable("a\0b", 9), "a\u{fffd}b");
        assert_eq!(storable("aéé", 4), "aé");
        assert_eq!(storable("", 4), "");
    }

    #[test]
    fn a_death_has_1_to_255_bytes() {
        assert_eq!(death(&"x".repeat(255)).unwrap().len(), 255);
        for wrong in ["", &"x".repeat(256)] {
            assert_eq!(death(wrong).unwrap_err().status(), 400);
        }
    }
}
