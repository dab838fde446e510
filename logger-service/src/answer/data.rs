//! Data inside a JSON answer.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use event::media_type::is_json;
use serde::Serialize;
use serde_json::value::RawValue;
use service_kit::json;

use crate::decoded::Decoded;
use crate::event::{Data, Event};

/// Data stands inside an event, in a list, in an answer; all of it must parse at the client.
pub(super) const DATA_DEPTH_MAX: usize = json::DEPTH_MAX - 3;

/// One of two members: `data` where the data can be read as it is, or else `data_base64`.
#[derive(Serialize)]
pub(crate) struct DataView<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Readable<'a>>,
    /// Data that is not text, or is JSON nested too deep to stand here.
    #[serde(skip_serializing_if = "Option::is_none")]
    data_base64: Option<String>,
}

/// Data that needs no encoding of its own.
#[derive(Serialize)]
#[serde(untagged)]
enum Readable<'a> {
    /// Byte for byte as it was sent.
    Json(&'a RawValue),
    Text(&'a str),
}

impl<'a> DataView<'a> {
    /// Base64 whatever it is, for who must have the same bytes.
    pub(crate) fn exact(data: &'a Data) -> Self {
        Self {
            data: None,
            data_base64: Some(STANDARD.encode(data.as_bytes())),
        }
    }

    /// Of an event: decompressed, where that could be done.
    pub(crate) fn of(event: &'a Event) -> Self {
        let content_type = event.content_type.as_deref();
        let decoded = match &event.decoded {
            Some(Decoded::Text(text)) => readable(content_type, text),
            Some(Decoded::Not(_)) | None => None,
        };
        match decoded {
            Some(data) => Self {
                data: Some(data),
                data_base64: None,
            },
            None => Self::new(content_type, &event.data),
        }
    }

    pub(crate) fn new(content_type: Option<&str>, data: &'a Data) -> Self {
        let readable = match data {
            Data::Text(text) => readable(content_type, text),
            Data::Bytes(_) => None,
        };
        let data_base64 = readable.is_none().then(|| STANDARD.encode(data.as_bytes()));
        Self {
            data: readable,
            data_base64,
        }
    }
}

fn readable<'a>(content_type: Option<&str>, text: &'a str) -> Option<Readable<'a>> {
    let declared_json = content_type.is_some_and(is_json);
    match serde_json::from_str(text) {
        Ok(_) if declared_json && json::depth(text.as_bytes()) > DATA_DEPTH_MAX => None,
        Ok(raw) if declared_json => Some(Readable::Json(raw)),
        _ => Some(Readable::Text(text)),
    }
}
