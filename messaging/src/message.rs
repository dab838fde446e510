//! A message on its way to RabbitMQ.

use bytes::Bytes;
use lapin::{BasicProperties, types::ShortString};

/// A message with its destination. Build it from an [`event::Event`] or a [`crate::Delivery`].
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
