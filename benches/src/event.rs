//! The event that all contenders publish: a log entry of 256 bytes.

use bytes::Bytes;
use event::{Event, EventType};

/// Bytes of the event's data, which is the body of its message.
pub(crate) const BYTES: usize = 256;
/// What the broker makes of the level of the entry.
pub(crate) const KEY: EventType = EventType::from_static("log.INFO");

/// The entry itself, which becomes the data, byte for byte.
pub(crate) fn data(bytes: usize) -> Bytes {
    let around = r#"{"name":"event","data":""}"#.len();
    let text = "x".repeat(bytes - around);
    format!(r#"{{"name":"event","data":"{text}"}}"#).into()
}

/// The body of the request to log it.
pub(crate) fn request(bytes: usize) -> Bytes {
    let data = data(bytes);
    let entry = String::from_utf8_lossy(&data);
    format!(r#"{{"action":"log","log":{entry}}}"#).into()
}

/// The event as the broker makes it.
pub(crate) fn event(data: &Bytes) -> Event {
    Event::new(&KEY, "broker-service", "application/json", data.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn has_the_size_that_is_reported() {
        assert_eq!(data(BYTES).len(), BYTES);
        let request: serde_json::Value = serde_json::from_slice(&request(BYTES)).unwrap();
        let entry: serde_json::Value = serde_json::from_slice(&data(BYTES)).unwrap();
        assert_eq!(request["log"], entry);
    }
}
