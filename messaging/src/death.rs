//! What RabbitMQ writes about a message that it moved to another queue itself: the header
//! `x-death` of its dead-letter exchanges, the last death first.

use lapin::types::{AMQPValue, FieldTable};

use crate::headers::{as_text, list, text};

const DEATHS: &str = "x-death";

/// One entry of `x-death`.
pub(crate) struct Death<'a> {
    /// `delivery_limit`, `expired`, `maxlen` or `rejected`.
    pub(crate) reason: Option<&'a str>,
    /// Where the message had been published before.
    pub(crate) exchange: Option<&'a str>,
    /// The routing key it had been published with.
    pub(crate) routing_key: Option<&'a str>,
}

impl<'a> Death<'a> {
    /// The last one. Only what came through our own exchange tells the truth.
    pub(crate) fn last(headers: &'a FieldTable) -> Option<Self> {
        let AMQPValue::FieldTable(entry) = list(headers, DEATHS)?.first()? else {
            return None;
        };
        let routing_keys = list(entry, "routing-keys");
        Some(Self {
            reason: text(entry, "reason"),
            exchange: text(entry, "exchange"),
            routing_key: routing_keys.and_then(|keys| as_text(keys.first()?)),
        })
    }
}
