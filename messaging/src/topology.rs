//! Every name of an exchange, a queue and a header, and what they are declared with.
//!
//! Names follow one convention: `<name>.<kind>.exchange`, and `<exchange>.queue.<service>` for a
//! queue bound to it. Both sides declare what they need, so services start in any order.
//!
//! | object | name |
//! |---|---|
//! | exchange of all events | `events.topic.exchange` |
//! | queue of a route, Q | `events.topic.exchange.queue.<route>` |
//! | exchange of retries and dead letters | `gw.retry` |
//! | queue of one retry delay | `Q.retry.<milliseconds>` |
//! | dead letters of a route | `Q.dead` |
//! | requests to a service | `<service>.direct.exchange.request`, queue `<that>.queue` |

use std::time::Duration;

use lapin::{
    ExchangeKind,
    options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions},
    types::{AMQPValue, FieldTable},
};

use crate::channel::{ChannelError, call};

/// The topic exchange that every event is published to.
pub const EVENTS_EXCHANGE: &str = "events.topic.exchange";
/// The direct exchange between a route's queue, its retry queues and its dead letters.
pub const RETRY_EXCHANGE: &str = "gw.retry";
/// The routing key of a request to authenticate somebody.
pub const AUTHENTICATE: &str = "authenticate";
/// The service that answers [`AUTHENTICATE`].
pub const AUTH_SERVICE: &str = "auth-service";

/// The queue of the route `route`.
pub fn route_queue(route: &str) -> String {
    format!("{EVENTS_EXCHANGE}.queue.{route}")
}

/// The queue where copies of messages of `queue` wait for `delay` before the next attempt.
pub fn retry_queue(queue: &str, delay: Duration) -> String {
    format!("{queue}.retry.{}", delay.as_millis())
}

/// The queue of the messages of `queue` that no attempt could deliver.
pub fn dead_queue(queue: &str) -> String {
    format!("{queue}.dead")
}

/// The direct exchange of requests to `service`.
pub fn request_exchange(service: &str) -> String {
    format!("{service}.direct.exchange.request")
}

/// The queue of requests to `service`.
pub fn request_queue(service: &str) -> String {
    format!("{service}.direct.exchange.request.queue")
}

/// A list of things to declare, in order. Declaring is idempotent; a thing that exists with
/// other arguments is an error that names it.
#[derive(Clone, Debug, Default)]
pub struct Topology {
    steps: Vec<Step>,
}

#[derive(Clone, Debug)]
enum Step {
    Exchange(String, ExchangeKind),
    Queue(String, FieldTable),
    Bind {
        queue: String,
        exchange: String,
        key: String,
    },
}

impl Topology {
    /// What a publisher of events needs.
    pub fn events() -> Self {
        // Other programs of this convention declare the exchange with no arguments either.
        Self::default().exchange(EVENTS_EXCHANGE, ExchangeKind::Topic)
    }

    /// What the route `route` needs: its queue, bound to the events by `bindings`, the queues of
    /// its `retries`, and its dead letters.
    pub fn route(route: &str, bindings: &[String], retries: &[Duration]) -> Self {
        let queue = route_queue(route);
        let dead = dead_queue(&queue);
        let mut topology = Self::dead_letters(route).exchange(EVENTS_EXCHANGE, ExchangeKind::Topic);
        for delay in retries {
            let waiting = retry_queue(&queue, *delay);
            topology = topology
                .queue(&waiting, retry_arguments(&queue, *delay))
                .bind(&waiting, RETRY_EXCHANGE, &waiting);
        }
        topology =
            topology
                .queue(&queue, route_arguments(&dead))
                .bind(&queue, RETRY_EXCHANGE, &queue);
        for key in bindings {
            topology = topology.bind(&queue, EVENTS_EXCHANGE, key);
        }
        topology
    }

    /// What whoever takes the dead letters of the route `route` needs.
    pub fn dead_letters(route: &str) -> Self {
        let dead = dead_queue(&route_queue(route));
        Self::retries()
            .queue(&dead, dead_arguments())
            .bind(&dead, RETRY_EXCHANGE, &dead)
    }

    /// What hand-offs and replays need. The queues that they go to belong to their routes.
    pub fn retries() -> Self {
        Self::default().exchange(RETRY_EXCHANGE, ExchangeKind::Direct)
    }

    /// What a requester needs: the exchange of requests to `service`.
    pub fn request_exchange(service: &str) -> Self {
        Self::default().exchange(&request_exchange(service), ExchangeKind::Direct)
    }

    /// What whoever answers requests to `service` under the routing key `key` needs. The queue is a classic one:
    /// requests are transient, and a quorum queue would write them to disk all the same.
    pub fn requests(service: &str, key: &str) -> Self {
        let exchange = request_exchange(service);
        let queue = request_queue(service);
        Self::request_exchange(service)
            .queue(&queue, FieldTable::default())
            .bind(&queue, &exchange, key)
    }

    fn exchange(mut self, name: &str, kind: ExchangeKind) -> Self {
        self.steps.push(Step::Exchange(name.to_owned(), kind));
        self
    }

    fn queue(mut self, name: &str, arguments: FieldTable) -> Self {
        self.steps.push(Step::Queue(name.to_owned(), arguments));
        self
    }

    fn bind(mut self, queue: &str, exchange: &str, key: &str) -> Self {
        self.steps.push(Step::Bind {
            queue: queue.to_owned(),
            exchange: exchange.to_owned(),
            key: key.to_owned(),
        });
        self
    }

    pub(crate) async fn declare(&self, channel: &lapin::Channel) -> Result<(), ChannelError> {
        for step in &self.steps {
            step.declare(channel)
                .await
                .map_err(|source| ChannelError::Declare {
                    name: step.name(),
                    source: Box::new(source),
                })?;
        }
        Ok(())
    }
}

impl Step {
    fn name(&self) -> String {
        match self {
            Self::Exchange(name, _) => format!("exchange {name}"),
            Self::Queue(name, _) => format!("queue {name}"),
            Self::Bind {
                queue, exchange, ..
            } => format!("binding of {queue} to {exchange}"),
        }
    }

    async fn declare(&self, channel: &lapin::Channel) -> Result<(), ChannelError> {
        match self {
            Self::Exchange(name, kind) => {
                let options = ExchangeDeclareOptions {
                    durable: true,
                    passive: false,
                    auto_delete: false,
                    internal: false,
                    nowait: false,
                };
                let name = name.as_str().into();
                call(channel.exchange_declare(name, kind.clone(), options, FieldTable::default()))
                    .await
            }
            Self::Queue(name, arguments) => {
                let options = QueueDeclareOptions {
                    durable: true,
                    passive: false,
                    exclusive: false,
                    auto_delete: false,
                    nowait: false,
                };
                let name = name.as_str().into();
                call(channel.queue_declare(name, options, arguments.clone())).await?;
                Ok(())
            }
            Self::Bind {
                queue,
                exchange,
                key,
            } => {
                let bind = channel.queue_bind(
                    queue.as_str().into(),
                    exchange.as_str().into(),
                    key.as_str().into(),
                    QueueBindOptions { nowait: false },
                    FieldTable::default(),
                );
                call(bind).await
            }
        }
    }
}

/// Dead-lettering by RabbitMQ itself is the safety net here: the listener hands retries and dead
/// letters over on its own, confirmed, and what it could not (a message that kills it each time)
/// leaves through the delivery limit. At-least-once needs reject-publish, or RabbitMQ silently
/// falls back to at-most-once.
fn route_arguments(dead: &str) -> FieldTable {
    arguments([
        ("x-queue-type", text("quorum")),
        ("x-delivery-limit", AMQPValue::LongInt(50)),
        ("x-dead-letter-exchange", text(RETRY_EXCHANGE)),
        ("x-dead-letter-routing-key", text(dead)),
        ("x-dead-letter-strategy", text("at-least-once")),
        ("x-overflow", text("reject-publish")),
    ])
}

/// A message goes back to its queue when its time is up. RabbitMQ expires messages at the head
/// of a queue only, hence one queue per delay.
fn retry_arguments(queue: &str, delay: Duration) -> FieldTable {
    let milliseconds = i64::try_from(delay.as_millis()).unwrap_or(i64::MAX);
    arguments([
        ("x-queue-type", text("quorum")),
        ("x-message-ttl", AMQPValue::LongLongInt(milliseconds)),
        ("x-dead-letter-exchange", text(RETRY_EXCHANGE)),
        ("x-dead-letter-routing-key", text(queue)),
        ("x-dead-letter-strategy", text("at-least-once")),
        ("x-overflow", text("reject-publish")),
    ])
}

/// RabbitMQ 4 drops a message after 20 deliveries where no limit is set and nowhere to go, and
/// 3.10 takes "no limit" (-1) for zero: so the limit is set out of reach.
fn dead_arguments() -> FieldTable {
    arguments([
        ("x-queue-type", text("quorum")),
        ("x-delivery-limit", AMQPValue::LongInt(1_000_000)),
    ])
}

fn arguments<const N: usize>(pairs: [(&str, AMQPValue); N]) -> FieldTable {
    let mut table = FieldTable::default();
    for (name, value) in pairs {
        table.insert(name.into(), value);
    }
    table
}

fn text(value: &str) -> AMQPValue {
    AMQPValue::LongString(value.into())
}
