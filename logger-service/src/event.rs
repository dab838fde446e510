//! An event as it is stored. Past this type every field is within its limits.

use std::fmt;

use bytes::Bytes;
use event::media_type::is_json;
use serde::Deserialize;
use serde_json::value::RawValue;
use service_kit::problem::Problem;

use crate::decoded::Decoded;

/// Longest id, in characters.
pub(crate) const ID_CHARS_MAX: usize = 256;
/// Longest text of any other indexed field, in bytes; PostgreSQL cannot index more than 2.7 KiB.
pub(crate) const TEXT_BYTES_MAX: usize = 1024;

/// One event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Event {
    pub(crate) id: String,
    pub(crate) event_type: String,
    pub(crate) source: String,
    /// What a listing can be filtered by; see [`name_in`].
    pub(crate) name: Option<String>,
    pub(crate) subject: Option<String>,
    /// Microseconds since 1970 UTC, like all times of the store.
    pub(crate) time_us: Option<i64>,
    pub(crate) received_at_us: i64,
    pub(crate) content_type: Option<String>,
    /// How the data is compressed.
    pub(crate) content_encoding: Option<String>,
    /// As it came.
    pub(crate) data: Data,
    /// What is shown and searched in its place, where it is compressed.
    pub(crate) decoded: Option<Decoded>,
    /// A JSON object of strings: the attributes that have no field here.
    pub(crate) attributes: String,
}

impl Event {
    /// Bytes of its data, both as it came and decompressed.
    pub(crate) fn len(&self) -> usize {
        self.data.len() + self.decoded.as_ref().map_or(0, Decoded::len)
    }
}

/// The body as it came, in one of two columns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Data {
    /// Searchable. PostgreSQL cannot hold U+0000 in text.
    Text(String),
    Bytes(Vec<u8>),
}

impl Data {
    pub(crate) fn new(body: &Bytes) -> Self {
        Self::from(body.to_vec())
    }

    /// The table has one of the two in every row.
    pub(crate) fn from_columns(text: Option<String>, bytes: Option<Vec<u8>>) -> Self {
        match text {
            Some(text) => Self::Text(text),
            None => Self::Bytes(bytes.unwrap_or_default()),
        }
    }

    /// The two columns, of which one is NULL.
    pub(crate) fn columns(&self) -> (Option<&str>, Option<&[u8]>) {
        match self {
            Self::Text(text) => (Some(text), None),
            Self::Bytes(bytes) => (None, Some(bytes)),
        }
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Text(text) => text.as_bytes(),
            Self::Bytes(bytes) => bytes,
        }
    }

    pub(crate) fn into_bytes(self) -> Vec<u8> {
        match self {
            Self::Text(text) => text.into_bytes(),
            Self::Bytes(bytes) => bytes,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.as_bytes().len()
    }
}

impl From<Vec<u8>> for Data {
    fn from(body: Vec<u8>) -> Self {
        match String::from_utf8(body) {
            Ok(text) if !text.contains('\0') => Self::Text(text),
            Ok(text) => Self::Bytes(text.into_bytes()),
            Err(error) => Self::Bytes(error.into_bytes()),
        }
    }
}

/// Checks an id, wherever it came from; `what` names it to the client.
pub(crate) fn check_id(what: &str, id: &str) -> Result<(), Problem> {
    check_text(what, id)?;
    if id.chars().count() > ID_CHARS_MAX {
        let message = format!("{what} is longer than {ID_CHARS_MAX} characters");
        return Err(Problem::bad_request(message));
    }
    Ok(())
}

/// Checks a text that goes into an indexed column; `what` names it to the client.
pub(crate) fn check_text(what: impl fmt::Display, text: &str) -> Result<(), Problem> {
    let fault = if text.is_empty() {
        "is empty".to_owned()
    } else if text.len() > TEXT_BYTES_MAX {
        format!("is longer than {TEXT_BYTES_MAX} bytes")
    } else if text.contains('\0') {
        "contains U+0000".to_owned()
    } else {
        return Ok(());
    };
    Err(Problem::bad_request(format!("{what} {fault}")))
}

/// The member `name` of a JSON object, if it is a string that can be indexed.
///
/// A name that cannot is left out, not refused: the data belongs to the sender, who was told
/// elsewhere that the event is accepted.
pub(crate) fn name_in(content_type: Option<&str>, text: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Named<'a> {
        #[serde(borrow)]
        name: &'a RawValue,
    }
    // A derived struct would also read an array of its fields' values.
    if !is_json(content_type?) || !text.trim_ascii_start().starts_with('{') {
        return None;
    }
    let named: Named = serde_json::from_str(text).ok()?;
    let name: String = serde_json::from_str(named.name.get()).ok()?;
    check_text("name", &name).is_ok().then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(data: &str) -> Option<String> {
        name_in(Some("application/json"), data)
    }

    #[test]
    fn the_name_is_the_top_level_string_member() {
        assert_eq!(
            name(r#"{"a":{"name":"no"},"name":"y\u00e9s"}"#).unwrap(),
            "yés"
        );
        for data in [
            r#"{"name":1}"#,
            r#"{"name":null}"#,
            r#"{"Name":"x"}"#,
            r#"["name"]"#,
            r#""name""#,
            r#"{"name":""}"#,
            r#"{"name":"\u0000"}"#,
            r#"{"name":"a","name":"b"}"#,
            "{",
            "",
        ] {
            assert_eq!(name(data), None, "{data}");
        }
        assert_eq!(name(&format!(r#"{{"name":"{}"}}"#, "x".repeat(1025))), None);
        let data = r#"{"name":"x"}"#;
        assert_eq!(name_in(Some("text/plain"), data), None);
        assert_eq!(name_in(None, data), None);
    }

    #[test]
    fn numbers_that_no_type_holds_do_not_hide_the_name() {
        assert_eq!(
            name(r#"{"n":1e400,"m":18446744073709551617,"name":"x"}"#).unwrap(),
            "x"
        );
    }

    #[test]
    fn only_clean_text_is_text() {
        assert_eq!(Data::new(&Bytes::from("é")), Data::Text("é".to_owned()));
        for bytes in [&b"a\0b"[..], b"\xff\xfe"] {
            let data = Data::new(&Bytes::from_static(bytes));
            assert_eq!(data, Data::Bytes(bytes.to_vec()));
        }
    }
}
