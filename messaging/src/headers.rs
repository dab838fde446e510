//! The headers of a message.

use std::cmp::Reverse;

use lapin::{
    BasicProperties,
    types::{AMQPValue, FieldArray, FieldTable, ShortString},
};

use crate::{
    handoff::{ANSWER, DEATH},
    message::short,
};

/// Bytes of all headers of a message. They must fit into one frame together with the other
/// properties (AMQP 0-9-1, 4.2.6.1), of 128 KiB by default: RabbitMQ answers a larger one by
/// closing the connection.
const BYTES_MAX: usize = 64 * 1024;
/// More than the type, the lengths and the encoding of one entry need.
const ENTRY_OVERHEAD: usize = 16;
/// What a header frame has beside short strings and headers, and some more.
const FRAME_OVERHEAD: usize = 64;

/// Names the headers that did not fit.
pub(crate) const DROPPED: &str = "x-gw-dropped-headers";
/// Of these names.
const DROPPED_BYTES_MAX: usize = 1024;
/// Between them.
const SEPARATOR: &str = ", ";
/// For those that do not fit either.
const MORE: &str = "…";

/// Headers in the making, which stay within what a frame can hold: a header that does not fit any
/// more is left out and named in one of our own. So insert what matters most first.
#[derive(Debug)]
pub(crate) struct Headers {
    table: FieldTable,
    room: usize,
    dropped: String,
}

impl Headers {
    pub(crate) fn new() -> Self {
        Self {
            table: FieldTable::default(),
            room: BYTES_MAX - (DROPPED.len() + DROPPED_BYTES_MAX + ENTRY_OVERHEAD),
            dropped: String::new(),
        }
    }

    /// Adds a text.
    pub(crate) fn insert_text(&mut self, name: &str, value: &str) {
        self.insert(name, AMQPValue::LongString(value.into()));
    }

    /// Adds a value, unless there is one of this name.
    pub(crate) fn insert(&mut self, name: &str, value: AMQPValue) {
        let Some(name) = short(name) else {
            return; // no header can have a name this long
        };
        if self.table.contains_key(name.as_str()) {
            return;
        }
        let bytes = name.as_str().len() + size(&value);
        if bytes <= self.room {
            self.room -= bytes;
            self.table.insert(name, value);
        } else {
            self.dropped_before(name.as_str());
        }
    }

    /// Whether it has this value under this name.
    pub(crate) fn has(&self, name: &str, value: &AMQPValue) -> bool {
        self.table.inner().get(name) == Some(value)
    }

    /// Names what is left out, here or by who made the original of a copy.
    pub(crate) fn dropped_before(&mut self, names: &str) {
        let separator = if self.dropped.is_empty() {
            ""
        } else {
            SEPARATOR
        };
        let bytes = self.dropped.len() + separator.len() + names.len() + MORE.len();
        if bytes <= DROPPED_BYTES_MAX {
            self.dropped.push_str(separator);
            self.dropped.push_str(names);
        } else if !self.dropped.ends_with(MORE) {
            self.dropped.push_str(MORE);
        }
    }

    pub(crate) fn into_table(self) -> FieldTable {
        let Self {
            mut table, dropped, ..
        } = self;
        if !dropped.is_empty() {
            table.insert(DROPPED.into(), AMQPValue::LongString(dropped.into()));
        }
        table
    }
}

/// The properties without their largest headers, where they would not fit into a frame of
/// `frame_max`: RabbitMQ would close the connection. Those that a hand-off needs go last.
pub(crate) fn fit(mut properties: BasicProperties, frame_max: u32) -> BasicProperties {
    let room = (frame_max as usize).saturating_sub(FRAME_OVERHEAD + texts(&properties));
    let length = |(name, value): (&ShortString, &AMQPValue)| name.as_str().len() + size(value);
    let Some(headers) = properties.headers() else {
        return properties;
    };
    let mut bytes: usize = entries(headers).map(length).sum();
    if bytes <= room {
        return properties;
    }
    let is_needed = |name: &str| {
        name == "cloudEvents_id" || name == DEATH || name.starts_with("x-gw-") && name != ANSWER
    };
    let mut order: Vec<_> = entries(headers)
        .map(|entry| (is_needed(entry.0.as_str()), Reverse(length(entry)), entry.0))
        .collect();
    order.sort();
    let mut kept = headers.inner().clone();
    for (_, Reverse(length), name) in order {
        if bytes <= room {
            break;
        }
        kept.remove(name);
        bytes -= length;
    }
    properties = properties.with_headers(kept.into());
    properties
}

/// Bytes of all short strings.
fn texts(properties: &BasicProperties) -> usize {
    [
        properties.content_type(),
        properties.content_encoding(),
        properties.correlation_id(),
        properties.reply_to(),
        properties.expiration(),
        properties.message_id(),
        properties.kind(),
        properties.user_id(),
        properties.app_id(),
        properties.cluster_id(),
    ]
    .into_iter()
    .flatten()
    .map(|text| 1 + text.as_str().len())
    .sum()
}

/// At least the bytes of a value on the wire.
pub(crate) fn size(value: &AMQPValue) -> usize {
    let content = match value {
        AMQPValue::LongString(text) => text.as_bytes().len(),
        AMQPValue::ShortString(text) => text.as_str().len(),
        AMQPValue::ByteArray(bytes) => bytes.len(),
        AMQPValue::FieldArray(array) => size_of_array(array),
        AMQPValue::FieldTable(table) => {
            let entries = table.inner().iter();
            entries
                .map(|(name, value)| name.as_str().len() + size(value))
                .sum()
        }
        // Numbers have eight bytes at most.
        _ => 0,
    };
    content + ENTRY_OVERHEAD
}

fn size_of_array(array: &FieldArray) -> usize {
    array.as_slice().iter().map(size).sum()
}

/// The text under a header name, where there is one and it is a text.
pub(crate) fn text<'a>(headers: &'a FieldTable, name: &str) -> Option<&'a str> {
    as_text(headers.inner().get(name)?)
}

/// The value under a header name, or under one that differs in case alone.
pub(crate) fn named<'a>(headers: &'a FieldTable, name: &str) -> Option<&'a AMQPValue> {
    let in_any_case = || {
        let mut entries = entries(headers);
        entries.find(|(other, _)| other.as_str().eq_ignore_ascii_case(name))
    };
    let exact = headers.inner().get(name);
    exact.or_else(|| in_any_case().map(|(_, value)| value))
}

/// A value's text, where it is one.
pub(crate) fn as_text(value: &AMQPValue) -> Option<&str> {
    match value {
        AMQPValue::LongString(value) => std::str::from_utf8(value.as_bytes()).ok(),
        AMQPValue::ShortString(value) => Some(value.as_str()),
        _ => None,
    }
}

/// The list under a header name, where there is one and it is a list.
pub(crate) fn list<'a>(headers: &'a FieldTable, name: &str) -> Option<&'a [AMQPValue]> {
    match headers.inner().get(name)? {
        AMQPValue::FieldArray(list) => Some(list.as_slice()),
        _ => None,
    }
}

/// The whole number under a header name, of whatever width its sender chose.
pub(crate) fn integer(headers: &FieldTable, name: &str) -> Option<i64> {
    integer_of(headers.inner().get(name)?)
}

/// A whole number of whatever width.
pub(crate) fn integer_of(value: &AMQPValue) -> Option<i64> {
    match *value {
        AMQPValue::ShortShortInt(value) => Some(value.into()),
        AMQPValue::ShortShortUInt(value) => Some(value.into()),
        AMQPValue::ShortInt(value) => Some(value.into()),
        AMQPValue::ShortUInt(value) => Some(value.into()),
        AMQPValue::LongInt(value) => Some(value.into()),
        AMQPValue::LongUInt(value) => Some(value.into()),
        AMQPValue::LongLongInt(value) => Some(value),
        _ => None,
    }
}

/// Name and value of each header.
pub(crate) fn entries(headers: &FieldTable) -> impl Iterator<Item = (&ShortString, &AMQPValue)> {
    headers.inner().iter()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_frame_takes_what_a_hand_off_needs() {
        let mut headers = Headers::new();
        headers.insert_text("x-gw-attempt", "1");
        headers.insert_text("cloudEvents_id", &"i".repeat(255));
        for number in 0..200 {
            headers.insert_text(&format!("other-{number}"), &"x".repeat(number));
        }
        let properties = BasicProperties::default().with_headers(headers.into_table());
        assert_eq!(fit(properties.clone(), 131_072), properties);
        let fitted = fit(properties.with_type("t".into()), 4096);
        let table = fitted.headers().as_ref().unwrap();
        let bytes: usize = entries(table)
            .map(|(name, value)| name.as_str().len() + size(value))
            .sum();
        assert!(bytes > 3800 && bytes < 4096 - 64, "{bytes}");
        for name in ["x-gw-attempt", "cloudEvents_id", "other-0"] {
            assert!(table.contains_key(name), "{name}");
        }
    }

    #[test]
    fn what_does_not_fit_is_left_out_and_the_rest_stays() {
        let mut headers = Headers::new();
        headers.insert_text("first", "kept");
        headers.insert_text("first", "not taken twice");
        headers.insert_text("large", &"x".repeat(BYTES_MAX));
        let mut nested = FieldArray::default();
        nested.push(AMQPValue::LongString("x".repeat(BYTES_MAX).into()));
        headers.insert("nested", AMQPValue::FieldArray(nested));
        headers.insert_text(&"n".repeat(256), "");
        for number in 0..10_000 {
            headers.insert(&number.to_string(), AMQPValue::Boolean(true));
        }
        let table = headers.into_table();
        assert_eq!(text(&table, "first"), Some("kept"));
        assert!(!table.contains_key("large") && !table.contains_key("nested"));
        let bytes: usize = entries(&table)
            .map(|(name, value)| name.as_str().len() + size(value))
            .sum();
        assert!(bytes <= BYTES_MAX && bytes > BYTES_MAX - 1200, "{bytes}");
        let dropped = text(&table, DROPPED).unwrap();
        assert!(
            dropped.starts_with("large, nested, ") && dropped.ends_with(MORE),
            "{dropped}"
        );
        assert!(dropped.len() <= DROPPED_BYTES_MAX);
    }
}
