//! Publishing Rust values as events.

use std::time::Duration;

use event::{Event, Payload};

use crate::{Connection, Message, PublishError, Publisher, Status, topology::Topology};

/// From the call to the verdict.
const DEADLINE: Duration = Duration::from_secs(5);

/// Publishes the events of one service. Cheap to clone.
#[derive(Clone, Debug)]
pub struct EventPublisher {
    publisher: Publisher,
    source: String,
}

/// Why an event is not, or not surely, published.
#[derive(Debug, thiserror::Error)]
pub enum EventError {
    /// Its data cannot be written as JSON.
    #[error("the data cannot be written as JSON: {0}")]
    Data(#[from] serde_json::Error),
    /// RabbitMQ has not confirmed it.
    #[error("the event {id}: {error}")]
    Publish {
        /// Of the event.
        id: String,
        /// What became of it.
        #[source]
        error: PublishError,
    },
}

impl EventPublisher {
    /// Starts to publish on `connection`; `source` is the CloudEvents attribute.
    pub fn start(connection: &Connection, source: &str) -> Self {
        Self {
            publisher: Publisher::start(connection, Topology::events()),
            source: source.to_owned(),
        }
    }

    /// Whether an event could be published now.
    pub fn status(&self) -> Status {
        self.publisher.status()
    }

    /// Publishes a value as an event and returns the event's id: it is confirmed, and in at least
    /// one queue.
    ///
    /// # Errors
    /// See [`EventError`].
    pub async fn publish<P: Payload>(&self, payload: &P) -> Result<String, EventError> {
        let event = Event::of(&self.source, payload)?;
        let id = event.id.clone();
        let message = Message::of(event, &P::KEY);
        match self
            .publisher
            .publish_unless_blocked(message, DEADLINE)
            .await
        {
            Ok(()) => Ok(id),
            Err(error) => Err(EventError::Publish { id, error }),
        }
    }
}
