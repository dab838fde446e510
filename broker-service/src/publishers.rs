//! Publishing such that a type of events that RabbitMQ refuses disturbs no other one.
//!
//! RabbitMQ answers what its permissions do not allow by closing the channel, and takes the
//! verdicts of all that is in flight on it along. So a type goes by a channel for the untried until
//! RabbitMQ has taken one event of it, or said that it has no queue for it.

use std::time::Duration;

use event::EventType;
use messaging::{Message, PublishError, Publisher, Status, Unconfirmed};
use moka::{future::Cache, policy::EvictionPolicy};

/// Types that are known to be allowed; beyond it the oldest are tried again.
const ALLOWED_MAX: u64 = 10_000;

#[derive(Clone)]
pub(crate) struct Publishers {
    allowed: Publisher,
    untried: Publisher,
    allowed_types: Cache<EventType, ()>,
}

impl Publishers {
    pub(crate) fn new(allowed: Publisher) -> Self {
        Self {
            untried: allowed.on_another_channel(),
            allowed,
            allowed_types: Cache::builder()
                .max_capacity(ALLOWED_MAX)
                .eviction_policy(EvictionPolicy::lru())
                .build(),
        }
    }

    /// Whether events can be published now.
    pub(crate) fn status(&self) -> Status {
        match self.allowed.status() {
            Status::Ready => self.untried.status(),
            away => away,
        }
    }

    /// Which channel an event of the type `key` goes by now.
    pub(crate) fn way(&self, key: &EventType) -> Way {
        if self.allowed_types.contains_key(key) {
            Way::Allowed
        } else {
            Way::Untried
        }
    }

    /// Sends an event by one of the two; see [`Publisher::send_unless_blocked`].
    pub(crate) async fn send(
        &self,
        way: Way,
        message: Message,
        deadline: Duration,
    ) -> Result<Unconfirmed, PublishError> {
        let publisher = match way {
            Way::Allowed => &self.allowed,
            Way::Untried => &self.untried,
        };
        publisher.send_unless_blocked(message, deadline).await
    }

    /// Notes whether RabbitMQ takes events of the type `key`.
    pub(crate) async fn learn(&self, key: &EventType, published: &Result<(), PublishError>) {
        match published {
            Ok(()) | Err(PublishError::Unroutable | PublishError::Nacked) => {
                if !self.allowed_types.contains_key(key) {
                    self.allowed_types.insert(key.clone(), ()).await;
                }
            }
            Err(PublishError::Forbidden(_)) => self.allowed_types.invalidate(key).await,
            Err(_) => {}
        }
    }
}

/// One of the two channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Allowed,
    Untried,
}
