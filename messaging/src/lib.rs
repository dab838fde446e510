#![doc = include_str!("../README.md")]
//!
//! A caller never handles a lapin channel: channels die with their connection, and the crate
//! replaces both.

mod acker;
mod acks;
mod ahead;
mod amqp_url;
mod apart;
mod backoff;
mod breaker;
mod caught;
mod channel;
mod connection;
mod consumer;
mod dead_letter;
mod death;
mod declaration;
mod delivery;
mod event;
mod event_publisher;
mod expiry;
mod format;
mod forwarder;
mod handlers;
mod handoff;
mod headers;
mod identity;
mod incoming;
mod intake;
mod limit;
mod message;
mod node;
mod original;
mod outcome;
mod pace;
mod places;
#[cfg(test)]
mod properties;
mod publish_task;
mod publisher;
mod refusals;
mod reply_to;
mod requester;
mod returned;
mod schedule;
mod source;
mod status;
mod stream;
mod subscriber;
mod subscription;
pub mod topology;
mod verdicts;
mod window;
mod wire;

pub use amqp_url::{AmqpUrl, AmqpUrlError};
pub use backoff::Backoff;
pub use breaker::{Breaker, Cause, Pass};
pub use connection::Connection;
pub use consumer::{Consumer, ConsumerConfig, Handled};
pub use dead_letter::{DeadLetter, Replay, ReplayError};
pub use delivery::{Delivery, Header};
pub use event_publisher::{EventError, EventPublisher};
pub use format::{Answering, Format};
pub use handlers::{HandlerError, Handlers, Received};
pub use handoff::Failure;
pub use message::Message;
pub use outcome::Outcome;
pub use publisher::{PublishError, Publisher, Unconfirmed};
pub use reply_to::{ReplyTo, ReplyToError};
pub use requester::{Reply, RequestError, Requester};
pub use source::{Binding, Exchange, ExchangeKind, Queue, Source, Value};
pub use status::Status;
pub use subscriber::Subscriber;
pub use subscription::Subscription;
