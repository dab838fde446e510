//! A message on its way to RabbitMQ.

use bytes::Bytes;
use lapin::{
    BasicProperties,
    types::{AMQPValue, FieldTable, ShortString},
};

/// A message with its destination. Build it from an [`crate::Event`] or a [`crate::Handoff`].
#[derive(Clone, Debug)]
pub struct Message {
    pub(crate) exchange: ShortString,
    pub(crate) routing_key: ShortString,
    /// Return it when no queue is bound for it, which is then told as unroutable.
    pub(crate) mandatory: bool,
    pub(crate) properties: BasicProperties,
    pub(crate) payload: Bytes,
}

/// `delivery_mode` 2 (AMQP 0-9-1, basic class): survives a restart of RabbitMQ.
pub(crate) const PERSISTENT: u8 = 2;
/// `delivery_mode` 1: may be lost with the node, and stays off the disk where it can.
pub(crate) const TRANSIENT: u8 = 1;

impl Message {
    /// What tells two messages in flight apart when RabbitMQ returns one of them.
    pub(crate) fn identity(&self) -> Identity {
        identity(&self.properties, &self.routing_key)
    }
}

/// The id and the routing key. Two publishes in flight that share both share their route, and so
/// their verdict.
pub(crate) type Identity = (Option<ShortString>, ShortString);

pub(crate) fn identity(properties: &BasicProperties, routing_key: &ShortString) -> Identity {
    (properties.message_id().clone(), routing_key.clone())
}

/// A text as a short string (AMQP 0-9-1, 4.2.5.3: at most 255 bytes), or none where it is longer.
pub(crate) fn short(text: &str) -> Option<ShortString> {
    ShortString::try_new(text.to_owned()).ok()
}

/// Adds a text header; one whose name is too long for AMQP is left out.
pub(crate) fn insert_text(headers: &mut FieldTable, name: &str, value: &str) {
    if let Some(name) = short(name) {
        headers.insert(name, AMQPValue::LongString(value.into()));
    }
}

/// The text under a header name, where there is one and it is a text.
pub(crate) fn text<'a>(headers: &'a FieldTable, name: &str) -> Option<&'a str> {
    match headers.inner().get(name)? {
        AMQPValue::LongString(value) => std::str::from_utf8(value.as_bytes()).ok(),
        AMQPValue::ShortString(value) => Some(value.as_str()),
        _ => None,
    }
}

/// The whole number under a header name, of whatever width its sender chose.
pub(crate) fn integer(headers: &FieldTable, name: &str) -> Option<i64> {
    match *headers.inner().get(name)? {
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
