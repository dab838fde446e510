//! Where the answer to a request goes.

use crate::{
    Delivery,
    topology::{is_convention, queue_of_copies},
    wire::was_replaced,
};

/// What a requester names that wants RabbitMQ's direct reply-to. RabbitMQ makes an address of it.
pub(crate) const DIRECT: &str = "amq.rabbitmq.reply-to";
/// How such an address begins.
const DIRECT_ADDRESS: &str = "amq.rabbitmq.reply-to.";

/// The queue that the sender of a request waits at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplyTo(String);

/// Why a request cannot be answered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReplyToError {
    /// Nobody waits for an answer.
    #[error("it has no reply_to, so nobody would get the answer")]
    Missing,
    /// The name stands for an address that only RabbitMQ can fill in.
    #[error(
        "its reply_to, {DIRECT}, has not become an address: its sender did not consume from there \
         on the same channel"
    )]
    NoAddress,
    /// Its name was cleaned, and is another one now, which somebody else may have.
    #[error("its reply_to is not UTF-8, so no answer finds its way")]
    NotText,
    /// An answer must not become an event, a request or a dead letter.
    #[error("its reply_to, {0}, is a queue of this gateway, where no answer belongs")]
    Own(String),
}

impl ReplyTo {
    /// Where the answer to `request` goes. `is_consumed` says which queues the program consumes: a
    /// request must not be able to put messages into them, or into those with their copies.
    ///
    /// # Errors
    /// When the request cannot be answered.
    pub fn of(
        request: &Delivery,
        is_consumed: impl FnOnce(&str) -> bool,
    ) -> Result<Self, ReplyToError> {
        let queue = request.reply_to().unwrap_or_default();
        if queue.is_empty() {
            return Err(ReplyToError::Missing);
        }
        let headers = request.properties.headers().as_ref();
        if headers.is_some_and(|headers| was_replaced(headers, "reply_to")) {
            return Err(ReplyToError::NotText);
        }
        if queue == DIRECT {
            return Err(ReplyToError::NoAddress);
        }
        if is_convention(queue) || is_consumed(queue_of_copies(queue)) {
            return Err(ReplyToError::Own(queue.to_owned()));
        }
        Ok(Self(queue.to_owned()))
    }

    /// Its name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is an address of direct reply-to, which is no queue.
    pub(crate) fn is_direct(&self) -> bool {
        self.0.starts_with(DIRECT_ADDRESS)
    }
}

#[cfg(test)]
mod tests {
    use lapin::{BasicProperties, message::Delivery as Raw};

    use super::*;

    fn of(reply_to: &str) -> Result<ReplyTo, ReplyToError> {
        let mut raw = Raw::mock(1, "".into(), "rpc".into(), false, Vec::new());
        raw.properties = BasicProperties::default().with_reply_to(reply_to.into());
        ReplyTo::of(&Delivery::read("rpc", raw), |queue| queue == "rpc")
    }

    #[test]
    fn a_queue_of_the_senders_is_answered_and_one_of_the_suite_is_not() {
        for queue in [
            "replies",
            "amq.gen-X",
            "amq.rabbitmq.reply-to.g2dkABByYWJi",
            "orders.headers.exchange.response.queue.shop",
            "rpc.replies",
            "dead",
            "retry.5",
        ] {
            assert_eq!(of(queue).unwrap().as_str(), queue);
        }
        assert!(of("amq.rabbitmq.reply-to.x").unwrap().is_direct());
        assert_eq!(of(""), Err(ReplyToError::Missing));
        assert_eq!(of(DIRECT), Err(ReplyToError::NoAddress));
        for own in [
            "rpc",
            "rpc.dead",
            "rpc.retry.1000",
            "events.topic.exchange.queue.logger",
            "shop.fanout.exchange.queue.mailer",
            "auth-service.direct.exchange.request.queue",
            "elsewhere.dead",
            "elsewhere.retry.5",
        ] {
            assert_eq!(of(own), Err(ReplyToError::Own(own.to_owned())), "{own}");
        }
    }
}
