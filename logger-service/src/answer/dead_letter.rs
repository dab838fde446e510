//! Dead letters as clients see them.

use serde::Serialize;

use crate::answer::DataView;
use crate::dead_letter::Message;
use crate::dead_letters::{Summary, Whole};

/// A page of a listing.
#[derive(Serialize)]
pub(crate) struct DeadLetterListing {
    pub(crate) dead_letters: Vec<Summary>,
    /// Rows on all pages.
    pub(crate) total: i64,
    pub(crate) next_cursor: Option<String>,
}

/// One dead letter, with its message.
#[derive(Serialize)]
pub(crate) struct DeadLetterView<'a> {
    #[serde(flatten)]
    summary: &'a Summary,
    #[serde(flatten)]
    message: Message,
    #[serde(flatten)]
    data: DataView<'a>,
}

impl<'a> DeadLetterView<'a> {
    /// With `exact`, the data is in base64 whatever it is.
    ///
    /// Fails if the stored message is not JSON, which only another program can have written.
    pub(crate) fn new(whole: &'a Whole, exact: bool) -> serde_json::Result<Self> {
        let message: Message = serde_json::from_str(&whole.message)?;
        let data = if exact {
            DataView::exact(&whole.data)
        } else {
            DataView::new(message.event.content_type.as_deref(), &whole.data)
        };
        Ok(Self {
            summary: &whole.summary,
            message,
            data,
        })
    }
}
