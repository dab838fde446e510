//! Every name of an exchange and a queue, and what they are declared with.
//!
//! Names follow one convention: `<name>.<kind>.exchange`, and `<exchange>.queue.<service>` for a
//! queue bound to it. Both sides declare what they need, so services start in any order.
//!
//! | object | name |
//! |---|---|
//! | exchange of all events | `events.topic.exchange` |
//! | queue of a route, Q | `<exchange>.queue.<route>`, unless the route names another |
//! | exchange of retries and dead letters | `gw.retry` |
//! | queue of one retry delay | `Q.retry.<milliseconds>` |
//! | dead letters of a route | `Q.dead` |
//! | requests to a service | `<service>.direct.exchange.request`, queue `<that>.queue` |
//! | its answers to whom no reply queue is known | `<service>.headers.exchange.response` |

use std::time::Duration;

use crate::source::{Binding, Exchange, ExchangeKind, Queue, Source, Value};

/// Most bytes of a routing key, and of a name (AMQP 0-9-1, 4.2.5.3: a short string).
pub const KEY_BYTES_MAX: usize = 255;
/// The topic exchange that every event is published to.
pub const EVENTS_EXCHANGE: &str = "events.topic.exchange";
/// The direct exchange between a route's queue, its retry queues and its dead letters.
pub const RETRY_EXCHANGE: &str = "gw.retry";
/// The routing key of a request to authenticate somebody.
pub const AUTHENTICATE: &str = "authenticate";
/// The service that answers [`AUTHENTICATE`].
pub const AUTH_SERVICE: &str = "auth-service";

/// The queue of the route `route` from the exchange of all events.
pub fn route_queue(route: &str) -> String {
    queue_of(EVENTS_EXCHANGE, route)
}

/// The queue of `service` from `exchange`.
pub fn queue_of(exchange: &str, service: &str) -> String {
    format!("{exchange}.queue.{service}")
}

/// The queue where copies of messages of `queue` wait for `delay` before the next attempt.
pub fn retry_queue(queue: &str, delay: Duration) -> String {
    format!("{queue}.retry.{}", delay.as_millis())
}

/// The queue of the messages of `queue` that no attempt could deliver.
pub fn dead_queue(queue: &str) -> String {
    format!("{queue}.dead")
}

/// The queue whose copies wait in `queue`, or lie there dead; `queue` itself where it has none.
pub fn queue_of_copies(queue: &str) -> &str {
    if let Some(of) = queue.strip_suffix(".dead") {
        return of;
    }
    match queue.rsplit_once(".retry.") {
        Some((of, delay)) if delay.bytes().all(|byte| byte.is_ascii_digit()) => of,
        _ => queue,
    }
}

/// Whether a queue of this name holds events, requests, copies or dead letters by the convention,
/// whichever program it belongs to.
pub(crate) fn is_convention(queue: &str) -> bool {
    queue.contains(".exchange.queue.")
        || queue.ends_with(".exchange.request.queue")
        || queue_of_copies(queue) != queue
}

/// The direct exchange of requests to `service`.
pub fn request_exchange(service: &str) -> String {
    format!("{service}.direct.exchange.request")
}

/// The queue of requests to `service`.
pub fn request_queue(service: &str) -> String {
    format!("{service}.direct.exchange.request.queue")
}

/// The headers exchange of answers from `service`; each requester binds a queue by its own name.
pub fn response_exchange(service: &str) -> String {
    format!("{service}.headers.exchange.response")
}

/// A list of things to declare, in order. Declaring is idempotent; a thing that exists with
/// other arguments is an error that names it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Topology {
    declarations: Vec<Declaration>,
}

/// One thing to declare.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Declaration {
    /// A durable exchange without arguments, or one that must be there.
    Exchange(Exchange),
    /// A durable queue.
    Queue {
        /// Its name.
        name: String,
        /// In the words of RabbitMQ.
        arguments: Vec<(&'static str, Value)>,
    },
    /// A queue that must be there, whoever declares it.
    ExistingQueue(String),
    /// A queue of one connection alone, which is called so until RabbitMQ names it.
    ExclusiveQueue(String),
    /// A binding of a queue.
    Binding {
        /// The queue.
        queue: String,
        /// The exchange.
        exchange: String,
        /// What comes from the one into the other.
        binding: Binding,
    },
}

impl Topology {
    /// What a publisher of events needs.
    pub fn events() -> Self {
        // Other programs of this convention declare the exchange with no arguments either.
        Self::default().exchange(Exchange::events())
    }

    /// What a subscription to `source` needs: its queue, the queues of its `retries`, and its dead
    /// letters. With `ordered` the queue has one consumer at a time.
    pub fn subscription(source: &Source, retries: &[Duration], ordered: bool) -> Self {
        let queue = source.queue.name();
        let mut topology = Self::dead_letters(queue);
        for delay in retries {
            let waiting = retry_queue(queue, *delay);
            topology = topology
                .queue(&waiting, retry_arguments(queue, *delay))
                .bind(&waiting, RETRY_EXCHANGE, key(&waiting));
        }
        let dead = dead_queue(queue);
        topology
            .source(source, route_arguments(&dead, ordered))
            .bind(queue, RETRY_EXCHANGE, key(queue))
    }

    /// What whoever takes the dead letters of `queue` needs.
    pub fn dead_letters(queue: &str) -> Self {
        let dead = dead_queue(queue);
        Self::retries()
            .queue(&dead, dead_arguments())
            .bind(&dead, RETRY_EXCHANGE, key(&dead))
    }

    /// What hand-offs and replays need. The queues that they go to belong to their routes.
    pub fn retries() -> Self {
        Self::default().exchange(declared(RETRY_EXCHANGE, ExchangeKind::Direct))
    }

    /// What a requester needs: the exchange of requests to `service`.
    pub fn request_exchange(service: &str) -> Self {
        Self::default().exchange(declared(&request_exchange(service), ExchangeKind::Direct))
    }

    /// What whoever answers the requests that come from `source` needs. An own queue is a classic
    /// one: requests are transient, and a quorum queue would write them to disk all the same.
    pub fn requests(source: &Source) -> Self {
        Self::default().source(source, Vec::new())
    }

    /// What whoever answers requests by the exchange of responses of `service` needs.
    pub fn responses(service: &str) -> Self {
        Self::default().exchange(declared(&response_exchange(service), ExchangeKind::Headers))
    }

    /// What is declared, in this order.
    pub fn declarations(&self) -> &[Declaration] {
        &self.declarations
    }

    /// The same with the bindings of `queue` for `name`, which RabbitMQ gave it.
    pub(crate) fn with_exclusive_queue(&self, queue: &str, name: &str) -> Self {
        let mut declarations = self.declarations.clone();
        for declaration in &mut declarations {
            if let Declaration::Binding { queue: bound, .. } = declaration
                && bound == queue
            {
                name.clone_into(bound);
            }
        }
        Self { declarations }
    }

    /// Whether RabbitMQ is to name `queue`.
    pub(crate) fn is_exclusive(&self, queue: &str) -> bool {
        self.declarations.iter().any(
            |declaration| matches!(declaration, Declaration::ExclusiveQueue(name) if name == queue),
        )
    }

    /// Whether `queue` is declared with its type, so that it cannot be a queue of another one.
    pub(crate) fn declares(&self, queue: &str) -> bool {
        self.declarations.iter().any(
            |declaration| matches!(declaration, Declaration::Queue { name, .. } if name == queue),
        )
    }

    fn source(mut self, source: &Source, arguments: Vec<(&'static str, Value)>) -> Self {
        let Source {
            exchange,
            queue,
            bindings,
        } = source;
        if let Some(exchange) = exchange {
            self = self.exchange(exchange.clone());
        }
        self = match queue {
            Queue::Own(name) => self.queue(name, arguments),
            Queue::Existing(name) => self.declare(Declaration::ExistingQueue(name.clone())),
            Queue::Exclusive(name) => self.declare(Declaration::ExclusiveQueue(name.clone())),
        };
        for (exchange, binding) in exchange
            .iter()
            .flat_map(|exchange| bindings.iter().map(move |binding| (exchange, binding)))
        {
            self = self.bind(queue.name(), &exchange.name, binding.clone());
        }
        self
    }

    fn exchange(self, exchange: Exchange) -> Self {
        self.declare(Declaration::Exchange(exchange))
    }

    fn queue(self, name: &str, arguments: Vec<(&'static str, Value)>) -> Self {
        let name = name.to_owned();
        self.declare(Declaration::Queue { name, arguments })
    }

    fn bind(self, queue: &str, exchange: &str, binding: Binding) -> Self {
        self.declare(Declaration::Binding {
            queue: queue.to_owned(),
            exchange: exchange.to_owned(),
            binding,
        })
    }

    fn declare(mut self, declaration: Declaration) -> Self {
        self.declarations.push(declaration);
        self
    }
}

fn declared(name: &str, kind: ExchangeKind) -> Exchange {
    Exchange {
        name: name.to_owned(),
        kind,
        existing: false,
    }
}

fn key(key: &str) -> Binding {
    Binding::Key(key.to_owned())
}

/// Dead-lettering by RabbitMQ itself is the safety net here: the listener hands retries and dead
/// letters over on its own, confirmed, and what it could not (a message that kills it each time)
/// leaves through the delivery limit. At-least-once needs reject-publish, or RabbitMQ silently
/// falls back to at-most-once.
fn route_arguments(dead: &str, ordered: bool) -> Vec<(&'static str, Value)> {
    // What is ordered goes back to its place while its target is down, and is counted each time.
    let limit = if ordered { 1_000 } else { 50 };
    let mut arguments = vec![
        ("x-queue-type", text("quorum")),
        ("x-delivery-limit", Value::Integer(limit)),
        ("x-dead-letter-exchange", text(RETRY_EXCHANGE)),
        ("x-dead-letter-routing-key", text(dead)),
        ("x-dead-letter-strategy", text("at-least-once")),
        ("x-overflow", text("reject-publish")),
    ];
    if ordered {
        arguments.push(("x-single-active-consumer", Value::Boolean(true)));
    }
    arguments
}

/// A message goes back to its queue when its time is up. RabbitMQ expires messages at the head
/// of a queue only, hence one queue per delay.
fn retry_arguments(queue: &str, delay: Duration) -> Vec<(&'static str, Value)> {
    let milliseconds = i64::try_from(delay.as_millis()).unwrap_or(i64::MAX);
    vec![
        ("x-queue-type", text("quorum")),
        ("x-message-ttl", Value::Integer(milliseconds)),
        ("x-dead-letter-exchange", text(RETRY_EXCHANGE)),
        ("x-dead-letter-routing-key", text(queue)),
        ("x-dead-letter-strategy", text("at-least-once")),
        ("x-overflow", text("reject-publish")),
    ]
}

/// RabbitMQ 4 drops a message after 20 deliveries where no limit is set and nowhere to go, and
/// 3.10 takes "no limit" (-1) for zero: so the limit is set out of reach.
fn dead_arguments() -> Vec<(&'static str, Value)> {
    vec![
        ("x-queue-type", text("quorum")),
        ("x-delivery-limit", Value::Integer(1_000_000)),
    ]
}

fn text(value: &str) -> Value {
    Value::Text(value.to_owned())
}
