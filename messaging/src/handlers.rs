//! Handlers of events by their type.

use std::{collections::HashMap, fmt, future::Future, pin::Pin, sync::Arc, time::Duration};

use event::Payload;

use crate::{Delivery, Failure, Outcome, Subscription};

type Handling = Pin<Box<dyn Future<Output = Outcome> + Send>>;
type Handler = Box<dyn Fn(Arc<Delivery>) -> Handling + Send + Sync>;

/// One handler for each type of event, each with the Rust type of its data.
///
/// ```
/// # use serde::{Deserialize, Serialize};
/// # #[derive(Serialize, Deserialize)]
/// # struct OrderPlaced { id: u64 }
/// # event::payloads! { OrderPlaced => "order.placed" }
/// use messaging::{HandlerError, Handlers, Received};
///
/// let handlers = Handlers::new().on(async |order: Received<OrderPlaced>| {
///     if order.payload.id == 0 {
///         return Err(HandlerError::reject("no order has the id 0"));
///     }
///     println!("order {} in event {}", order.payload.id, order.delivery.event.id);
///     Ok(())
/// });
/// let subscription = handlers.subscription("mailer");
/// assert_eq!(subscription.source.queue.name(), "events.topic.exchange.queue.mailer");
/// ```
#[derive(Default)]
pub struct Handlers {
    by_type: HashMap<String, Handler>,
}

/// An event with its data read.
#[derive(Clone, Debug)]
pub struct Received<P> {
    /// The data.
    pub payload: P,
    /// The event as it came, and which attempt this is.
    pub delivery: Arc<Delivery>,
}

/// Why a handler did not do its work, and what is to become of the event. Any other error becomes
/// [`Self::Retry`] by `?`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HandlerError {
    /// Another time it may succeed, no sooner than the duration says. In the last attempt the event
    /// becomes a dead letter.
    Retry(String, Option<Duration>),
    /// What the handler needs is away as a whole, such as its database: the subscription pauses,
    /// and an outage costs the events no attempts.
    Down(String),
    /// It will never succeed: a dead letter now.
    Reject(String),
}

impl Handlers {
    /// No handler yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Handles the events of `P` with `handler`; one that was there for them is replaced. An event
    /// whose data is no `P` is rejected without it.
    #[must_use]
    pub fn on<P, H, F>(mut self, handler: H) -> Self
    where
        P: Payload,
        H: Fn(Received<P>) -> F + Send + Sync + 'static,
        F: Future<Output = Result<(), HandlerError>> + Send + 'static,
    {
        let handle = move |delivery: Arc<Delivery>| -> Handling {
            match serde_json::from_slice(&delivery.event.data) {
                Ok(payload) => {
                    let handled = handler(Received { payload, delivery });
                    Box::pin(async move {
                        handled
                            .await
                            .map_or_else(Outcome::from, |()| Outcome::Delivered)
                    })
                }
                Err(error) => {
                    // Where it is wrong, and nothing of what it says.
                    let place = format!("line {}, column {}", error.line(), error.column());
                    let reason = format!("the data is not that of {}: see {place}", P::KEY);
                    Box::pin(std::future::ready(HandlerError::Reject(reason).into()))
                }
            }
        };
        self.by_type.insert(P::KEY.to_string(), Box::new(handle));
        self
    }

    /// A subscription of `name` to the events that have a handler, with the default retries and
    /// limits.
    pub fn subscription(&self, name: &str) -> Subscription {
        Subscription::events(name, self.by_type.keys().cloned())
    }

    /// What [`Subscriber::start`](crate::Subscriber::start) takes. An event without a handler is rejected: a
    /// queue may hold what an earlier version of a service was bound to.
    pub fn into_handler(self) -> impl Fn(Arc<Delivery>) -> Handling + Send + Sync + 'static {
        move |delivery| match self.by_type.get(&delivery.event.event_type) {
            Some(handler) => handler(delivery),
            None => {
                let reason = format!("there is no handler for {}", delivery.event.event_type);
                Box::pin(std::future::ready(HandlerError::Reject(reason).into()))
            }
        }
    }
}

impl HandlerError {
    /// Another time it may succeed.
    pub fn retry(reason: impl Into<String>) -> Self {
        Self::Retry(reason.into(), None)
    }

    /// What the handler needs is away as a whole.
    pub fn down(reason: impl Into<String>) -> Self {
        Self::Down(reason.into())
    }

    /// It will never succeed.
    pub fn reject(reason: impl Into<String>) -> Self {
        Self::Reject(reason.into())
    }
}

impl<E: std::error::Error> From<E> for HandlerError {
    fn from(error: E) -> Self {
        Self::Retry(error.to_string(), None)
    }
}

impl From<HandlerError> for Outcome {
    fn from(error: HandlerError) -> Self {
        let failure = |reason| Failure {
            reason,
            status: None,
            answer: None,
        };
        match error {
            HandlerError::Retry(reason, after) => Self::Retry(failure(reason), after),
            HandlerError::Down(reason) => Self::Down(failure(reason), None),
            HandlerError::Reject(reason) => Self::Reject(failure(reason)),
        }
    }
}

impl fmt::Debug for Handlers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.by_type.keys()).finish()
    }
}

#[cfg(test)]
mod tests {
    use lapin::{BasicProperties, message::Delivery as Raw};
    use serde::{Deserialize, Serialize};

    use super::*;

    #[derive(Debug, Serialize, Deserialize)]
    struct Placed {
        id: u64,
    }

    event::payloads! { Placed => "order.placed" }

    fn delivery(key: &str, body: &str) -> Arc<Delivery> {
        let mut raw = Raw::mock(1, "events".into(), key.into(), false, body.into());
        raw.properties = BasicProperties::default();
        Arc::new(Delivery::read("Q", raw))
    }

    #[tokio::test]
    async fn an_event_gets_to_the_handler_of_its_type_or_is_rejected() {
        let handlers =
            Handlers::new().on(async |placed: Received<Placed>| match placed.payload.id {
                1 => Ok(()),
                2 => Err(std::io::Error::other("busy").into()),
                3 => Err(HandlerError::down("the database is away")),
                _ => Err(HandlerError::reject("no such order")),
            });
        let handle = handlers.into_handler();
        let reason = |outcome: Outcome| match outcome {
            Outcome::Delivered => "delivered".to_owned(),
            Outcome::Retry(failure, None) => format!("retry: {}", failure.reason),
            Outcome::Down(failure, None) => format!("down: {}", failure.reason),
            Outcome::Reject(failure) => format!("reject: {}", failure.reason),
            other => panic!("{other:?}"),
        };
        for (key, body, expected) in [
            ("order.placed", r#"{"id":1}"#, "delivered"),
            ("order.placed", r#"{"id":2}"#, "retry: busy"),
            ("order.placed", r#"{"id":3}"#, "down: the database is away"),
            ("order.placed", r#"{"id":4}"#, "reject: no such order"),
            (
                "order.placed",
                r#"{"id":"secret"}"#,
                "reject: the data is not that of order.placed: see line 1, column 14",
            ),
            (
                "order.lost",
                r#"{"id":1}"#,
                "reject: there is no handler for order.lost",
            ),
        ] {
            assert_eq!(reason(handle(delivery(key, body)).await), expected);
        }
    }
}
