//! A message that a consumer took from its queue and has not acknowledged yet.

use std::time::Duration;

use bytes::Bytes;
use event::Event;
use lapin::{BasicProperties, types::AMQPValue};

use crate::{
    Message,
    death::Death,
    event::canonical,
    expiry::Expiry,
    handoff::{ATTEMPT, ORIGINAL_EXCHANGE, ORIGINAL_KEY},
    headers::{integer, named, text},
    topology::{KEY_BYTES_MAX, RETRY_EXCHANGE},
};

/// The header with the name of the service that sent a message, and that an answer is for.
pub(crate) const SENDER: &str = "service";

/// What a message has under the name of a header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Header {
    /// A text, or a value of another type in its canonical form.
    Text(String),
    /// A list or a table, or a number that is none.
    NoText,
}

/// A delivered message, read as an event. The consumer acknowledges it after its handler.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// The event that the message carries.
    pub event: Event,
    /// The queue it was consumed from.
    pub queue: String,
    /// Where it was published first, before any retry.
    pub exchange: String,
    /// The routing key it was published with first, before any retry.
    pub routing_key: String,
    /// 1 for the first attempt. It counts the hand-offs of this suite, not RabbitMQ's deliveries.
    pub attempt: u32,
    /// Why the event is not the one that the message says that it holds: no attempt is made.
    pub(crate) unreadable: Option<String>,
    /// Whether this is a copy that came through our own exchange.
    pub(crate) handed_off: bool,
    /// From when on it is delivered no more.
    pub(crate) expiry: Option<Expiry>,
    pub(crate) properties: BasicProperties,
}

impl Delivery {
    /// What a consumer of `queue` gets when `message` is delivered: to try a handler without a
    /// RabbitMQ.
    pub fn of(message: Message, queue: &str) -> Self {
        let Message {
            exchange,
            routing_key,
            properties,
            payload,
            ..
        } = message;
        let mut delivery =
            lapin::message::Delivery::mock(1, exchange, routing_key, false, payload.into());
        delivery.properties = properties;
        Self::read(queue, delivery)
    }

    pub(crate) fn read(queue: &str, delivery: lapin::message::Delivery) -> Self {
        let lapin::message::Delivery {
            exchange,
            routing_key,
            properties,
            data,
            ..
        } = delivery;
        let headers = properties.headers().as_ref();
        // These headers count only on what came through our own exchange; anyone may forge them.
        let handed_off = exchange.as_str() == RETRY_EXCHANGE;
        let trusted = headers.filter(|_| handed_off);
        let died = trusted.and_then(Death::last);
        let original = |name, died: Option<&str>, now: &str| {
            trusted
                .and_then(|headers| text(headers, name))
                .or(died)
                // No exchange and no key is longer: a forged one would crowd out the rest.
                .filter(|text| text.len() <= KEY_BYTES_MAX)
                .unwrap_or(now)
                .to_owned()
        };
        let attempt = trusted
            .and_then(|headers| integer(headers, ATTEMPT))
            .and_then(|attempt| u32::try_from(attempt).ok())
            .map_or(1, |attempt| attempt.max(1));
        let from = died.as_ref().and_then(|death| death.exchange);
        let exchange = original(ORIGINAL_EXCHANGE, from, exchange.as_str());
        let key = died.as_ref().and_then(|death| death.routing_key);
        let routing_key = original(ORIGINAL_KEY, key, routing_key.as_str());
        let (event, unreadable) =
            crate::event::read(&exchange, &routing_key, &properties, Bytes::from(data));
        Self {
            event,
            unreadable,
            queue: queue.to_owned(),
            exchange,
            routing_key,
            attempt,
            handed_off,
            expiry: Expiry::read(&properties, handed_off),
            properties,
        }
    }

    /// How long the message may wait in its queue, where its sender set a limit.
    pub fn expiration(&self) -> Option<Duration> {
        let milliseconds = self
            .properties
            .expiration()
            .as_ref()?
            .as_str()
            .parse()
            .ok()?;
        Some(Duration::from_millis(milliseconds))
    }

    /// The queue that a reply is expected on, where the message is a request.
    pub fn reply_to(&self) -> Option<&str> {
        self.properties
            .reply_to()
            .as_ref()
            .map(|queue| queue.as_str())
    }

    /// What its sender matches the answer to it with, or what else it relates to.
    pub fn correlation_id(&self) -> Option<&str> {
        let id = self.properties.correlation_id().as_ref()?;
        Some(id.as_str())
    }

    /// Its priority in a queue that has priorities.
    pub fn priority(&self) -> Option<u8> {
        *self.properties.priority()
    }

    /// The header of this name or, where there is none, one whose name differs in case alone. A void
    /// one is not there.
    pub fn header(&self, name: &str) -> Option<Header> {
        let value = named(self.properties.headers().as_ref()?, name)?;
        if *value == AMQPValue::Void {
            return None;
        }
        Some(canonical(value).map_or(Header::NoText, Header::Text))
    }

    /// Who sent it, as programs of the goamqp convention say. Its answer goes to a queue whose name
    /// ends in this, so what is longer than such a name is no sender.
    pub fn sender(&self) -> Option<&str> {
        let headers = self.properties.headers().as_ref()?;
        text(headers, SENDER).filter(|name| !name.is_empty() && name.len() <= KEY_BYTES_MAX)
    }
}
