//! Where the deliveries of a subscription come from: an exchange, a queue, and what binds the two.

use std::collections::BTreeMap;

use lapin::types::AMQPValue;

use crate::topology::{EVENTS_EXCHANGE, route_queue};

/// An exchange, a queue, and what binds the two.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// None where the queue is bound by its owner, or gets its messages through the default
    /// exchange.
    pub exchange: Option<Exchange>,
    /// The queue that is consumed.
    pub queue: Queue,
    /// What of the exchange comes into the queue.
    pub bindings: Vec<Binding>,
}

/// An exchange. It is durable and has no arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exchange {
    /// At most 255 bytes.
    pub name: String,
    /// By what it routes.
    pub kind: ExchangeKind,
    /// Somebody else declares it; it is only looked up.
    pub existing: bool,
}

/// By what an exchange routes (AMQP 0-9-1, 3.1.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExchangeKind {
    /// By patterns of routing keys.
    Topic,
    /// By whole routing keys.
    Direct,
    /// By nothing: every queue gets all.
    Fanout,
    /// By the headers of a message.
    Headers,
}

/// A queue, by the name that its retry queues and its dead letters are called after.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Queue {
    /// A quorum queue of this subscription, declared by it.
    Own(String),
    /// Somebody else's queue; it is only looked up.
    Existing(String),
    /// A queue of this connection alone, named by RabbitMQ and gone with it: each instance of a
    /// service gets its own copy of every message.
    Exclusive(String),
}

/// What comes from an exchange into a queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Binding {
    /// A routing key, of a topic exchange a pattern of them, of a fanout empty.
    Key(String),
    /// Headers of a message.
    Headers {
        /// Whether all of them must match, or any one.
        match_all: bool,
        /// Their names and values.
        headers: BTreeMap<String, Value>,
    },
}

/// What a header is compared with, or an argument set to. RabbitMQ compares the types of headers
/// too: 3 is not "3".
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// A text.
    Text(String),
    /// A whole number.
    Integer(i64),
    /// Yes or no.
    Boolean(bool),
}

impl Source {
    /// Events of this suite: the queue of the route `route`, bound by `patterns` of event types.
    pub fn events(route: &str, patterns: impl IntoIterator<Item = String>) -> Self {
        Self {
            exchange: Some(Exchange::events()),
            queue: Queue::Own(route_queue(route)),
            bindings: patterns.into_iter().map(Binding::Key).collect(),
        }
    }
}

impl Exchange {
    /// The topic exchange of all events of this suite.
    pub fn events() -> Self {
        Self {
            name: EVENTS_EXCHANGE.to_owned(),
            kind: ExchangeKind::Topic,
            existing: false,
        }
    }
}

impl Queue {
    /// The name that its retry queues and its dead letters are called after.
    pub fn name(&self) -> &str {
        match self {
            Self::Own(name) | Self::Existing(name) | Self::Exclusive(name) => name,
        }
    }

    /// Whether it is of one connection alone.
    pub fn is_exclusive(&self) -> bool {
        matches!(self, Self::Exclusive(_))
    }
}

impl From<&Value> for AMQPValue {
    fn from(value: &Value) -> Self {
        match value {
            Value::Text(text) => Self::LongString(text.as_str().into()),
            // 32 bits wherever they are enough, as most clients send a number in a header.
            Value::Integer(number) => {
                i32::try_from(*number).map_or(Self::LongLongInt(*number), Self::LongInt)
            }
            Value::Boolean(yes) => Self::Boolean(*yes),
        }
    }
}
