//! Bringing one dead letter back into the queue of its route.
//!
//! First the event is published and confirmed, then the dead letter is marked. Whoever dies in
//! between leaves a dead letter that can be replayed once more: an event may come twice, with the
//! same id, and none is lost.

use std::time::Duration;

use event::dead_letter::Base64;
use messaging::{Connection, PublishError, Publisher, topology::Topology};
use tokio_util::sync::CancellationToken;

use crate::dead_letters::{
    letter::State,
    patience::patiently,
    store::{Store, StoreError},
};

/// For RabbitMQ to confirm one event. A verdict never comes later than this.
const PUBLISH_DEADLINE: Duration = Publisher::CONFIRM_DEADLINE;

/// Replays dead letters. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Replayer {
    pub(super) store: Store,
    publisher: Publisher,
    pub(super) shutdown: CancellationToken,
}

/// Why a dead letter was not replayed, or not surely.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReplayError {
    /// It was replayed before.
    #[error("it was replayed before, and has not died again since")]
    Replayed,
    /// Its sender wants it no more, or it is damaged.
    #[error("{0}")]
    Refused(messaging::ReplayError),
    /// The queue of its route is gone.
    #[error("there is no queue {0}: a listener with its route makes it")]
    NoQueue(String),
    /// RabbitMQ did not take it.
    #[error("{0}")]
    Publish(PublishError),
    /// logger-service did not give it.
    #[error("{0}")]
    Store(#[from] StoreError),
    /// It is on its way, and logger-service does not know.
    #[error("it was replayed, but not marked, so that it may be replayed again: {0}")]
    Unmarked(StoreError),
}

impl ReplayError {
    /// Whether RabbitMQ or logger-service is away, so that trying again later may help.
    pub(super) fn is_passing(&self) -> bool {
        match self {
            Self::Publish(error) => !matches!(error, PublishError::TooLarge(_)),
            Self::Store(error) => error.is_passing(),
            Self::Replayed | Self::Refused(_) | Self::NoQueue(_) | Self::Unmarked(_) => false,
        }
    }
}

impl Replayer {
    /// Publishes on `publishing`.
    pub(crate) fn new(store: Store, publishing: &Connection, shutdown: CancellationToken) -> Self {
        Self {
            store,
            publisher: Publisher::start(publishing, Topology::retries()),
            shutdown,
        }
    }

    /// Replays the dead letter `id`, or the only one of the event `id`; one that was replayed before
    /// only if `again`.
    pub(super) async fn replay(&self, id: &str, again: bool) -> Result<(), ReplayError> {
        let letter = self.store.letter(id).await?;
        if letter.state == State::Replayed && !again {
            return Err(ReplayError::Replayed);
        }
        let message = messaging::Replay {
            event: letter.event.with_data(letter.data_base64.0),
            queue: letter.queue.clone(),
            exchange: letter.exchange,
            routing_key: letter.routing_key,
            first_failure: letter.first_failure,
            original: letter.original_base64.map(|Base64(bytes)| bytes),
        };
        let message = message.into_message().map_err(ReplayError::Refused)?;
        match self.publisher.publish(message, PUBLISH_DEADLINE).await {
            Ok(()) => {}
            Err(PublishError::Unroutable) => return Err(ReplayError::NoQueue(letter.queue)),
            Err(error) => return Err(ReplayError::Publish(error)),
        }
        // Patiently: what is not marked would be replayed twice.
        let mark = || self.store.mark_replayed(&letter.id, &letter.death);
        let marked = patiently(&self.shutdown, StoreError::is_passing, mark).await;
        marked.map_err(ReplayError::Unmarked)
    }
}
