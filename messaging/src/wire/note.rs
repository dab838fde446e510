//! The record of changes in a cleaned message.

use lapin::types::FieldTable;

use crate::headers::text;

/// The header that lists what was replaced in a message, or left out, before it was read.
pub(crate) const CLEANED: &str = "x-gw-cleaned";
/// Most bytes of its text.
pub(crate) const NOTE_BYTES_MAX: usize = 255;

/// The text for replaced bytes.
const REPLACED: &str = "replaced bytes in ";
/// Separators between statements, and between properties in the first.
const NEXT: &str = "; ";
const AND: &str = ", ";
/// Bytes reserved for the number of entries that are not listed.
const REST: usize = 24;

/// Its text under construction. Lists all properties, because only ten are texts; of the rest,
/// lists the first ones and counts the others.
#[derive(Default)]
pub(super) struct Note {
    properties: Vec<&'static str>,
    more: Vec<String>,
    unnamed: usize,
}

/// Whether bytes of this property were replaced, according to the message's headers.
pub(crate) fn was_replaced(headers: &FieldTable, property: &str) -> bool {
    let note = text(headers, CLEANED).and_then(|note| note.strip_prefix(REPLACED));
    let first = note.and_then(|note| note.split(NEXT).next());
    first.is_some_and(|names| names.split(AND).any(|name| name == property))
}

impl Note {
    pub(super) fn replaced_property(&mut self, name: &'static str) {
        self.properties.push(name);
    }

    pub(super) fn replaced_header(&mut self, name: &[u8]) {
        self.add(&format!("{REPLACED}the header"), name);
    }

    pub(super) fn dropped(&mut self, what: &str, name: &[u8]) {
        self.add(&format!("left out {what}"), name);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.properties.is_empty() && self.more.is_empty()
    }

    fn add(&mut self, what: &str, name: &[u8]) {
        let space = if name.is_empty() { "" } else { " " };
        // More never fit.
        if self.more.len() < NOTE_BYTES_MAX / REST {
            self.more.push(format!("{what}{space}{}", printable(name)));
        } else {
            self.unnamed += 1;
        }
    }

    pub(super) fn into_text(self) -> String {
        let mut unnamed = self.unnamed;
        let mut text = String::new();
        if !self.properties.is_empty() {
            text = format!("{REPLACED}{}", self.properties.join(AND));
        }
        let mut more = self.more.iter();
        for statement in more.by_ref() {
            let separator = if text.is_empty() { "" } else { NEXT };
            if text.len() + separator.len() + statement.len() > NOTE_BYTES_MAX - REST {
                unnamed += 1;
                break;
            }
            text = text + separator + statement;
        }
        unnamed += more.count();
        if unnamed > 0 {
            text.push_str(&format!("{NEXT}{unnamed} more"));
        }
        text
    }
}

/// The beginning of a name, in ASCII.
fn printable(name: &[u8]) -> String {
    let graphic = |byte: &u8| if byte.is_ascii_graphic() { *byte } else { b'?' };
    name.iter().take(48).map(graphic).map(char::from).collect()
}

#[cfg(test)]
mod tests {
    use lapin::types::AMQPValue;

    use super::*;

    #[test]
    fn it_stays_short_and_counts_the_rest() {
        let mut note = Note::default();
        assert!(note.is_empty());
        note.replaced_property("message_id");
        for _ in 0..5000 {
            note.dropped("the header", &[b'\n'; 255]);
        }
        let text = note.into_text();
        assert!(text.starts_with("replaced bytes in message_id; left out the header ???"));
        assert!(text.ends_with("; 4998 more"), "{text}");
        assert!(text.len() <= NOTE_BYTES_MAX);
    }

    #[test]
    fn every_property_is_named_however_many_headers_are() {
        let names = [
            "content_type",
            "content_encoding",
            "correlation_id",
            "reply_to",
            "expiration",
            "message_id",
            "type",
            "user_id",
            "app_id",
            "cluster_id",
        ];
        let mut note = Note::default();
        for name in names {
            note.replaced_property(name);
            for _ in 0..1000 {
                note.replaced_header(&[b'x'; 255]);
            }
        }
        let text = note.into_text();
        assert!(text.ends_with(" more"), "{text}");
        assert!(text.len() <= NOTE_BYTES_MAX);
        let headers = |text: &str| {
            let mut headers = FieldTable::default();
            headers.insert(CLEANED.into(), AMQPValue::LongString(text.into()));
            headers
        };
        for name in names {
            assert!(was_replaced(&headers(&text), name), "{name}");
        }
        for text in [
            "",
            "left out the header reply_to",
            "replaced bytes in the header reply_to",
        ] {
            assert!(!was_replaced(&headers(text), "reply_to"), "{text}");
        }
    }
}
