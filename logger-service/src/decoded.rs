//! The content of compressed data. It is decompressed once, on arrival, for display and search; the
//! data itself stays as it came.

use event::coding;

/// Most bytes of decompressed data: the default limit of a body.
const BYTES_MAX: usize = 1024 * 1024;

/// Data that arrived compressed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Decoded {
    Text(String),
    /// Why there is no text.
    Not(String),
}

impl Decoded {
    pub(crate) fn new(codings: &str, data: &[u8]) -> Self {
        let decoded = coding::decode(codings, data, BYTES_MAX).map(String::from_utf8);
        match decoded {
            // PostgreSQL cannot hold U+0000 in text.
            Ok(Ok(text)) if !text.contains('\0') => Self::Text(text),
            Ok(_) => Self::Not("it is no text when it is decompressed".to_owned()),
            Err(undecoded) => Self::Not(undecoded.to_string()),
        }
    }

    /// A row has one of the two, or none if its data is not compressed.
    pub(crate) fn from_columns(text: Option<String>, reason: Option<String>) -> Option<Self> {
        text.map(Self::Text).or_else(|| reason.map(Self::Not))
    }

    /// The two columns.
    pub(crate) fn columns(decoded: Option<&Self>) -> (Option<&str>, Option<&str>) {
        match decoded {
            Some(Self::Text(text)) => (Some(text), None),
            Some(Self::Not(reason)) => (None, Some(reason)),
            None => (None, None),
        }
    }

    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Text(text) | Self::Not(text) => text.len(),
        }
    }
}
