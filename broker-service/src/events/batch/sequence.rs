//! The events of one batch on their way to RabbitMQ, in their order.

use std::sync::Arc;

use event::EventType;
use futures_util::{Stream, StreamExt as _, stream};
use messaging::PublishError;
use service_kit::problem::Problem;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout_at},
};

use super::{AT_ONCE, Outcome, Refused};
use crate::{App, problems, publication::Publication, publishers::Way, under_way::UnderWay};

/// Sends one event after the other.
///
/// RabbitMQ keeps the order of one channel. A type that is new to it takes another channel than the
/// others, so where two neighbours differ in this, the second one waits until all before it are
/// confirmed.
pub(super) struct Sequence<'a> {
    app: &'a Arc<App>,
    deadline: Instant,
    /// The channel of the last event.
    way: Option<Way>,
    /// A permit is an event in flight.
    in_flight: Arc<Semaphore>,
}

/// An event that has its place in the order, and no confirm yet.
pub(super) struct Sent {
    id: String,
    key: EventType,
    under_way: Result<UnderWay, PublishError>,
}

/// Among the events of the batch, and among those of all batches.
type Permits = [OwnedSemaphorePermit; 2];

impl<'a> Sequence<'a> {
    pub(super) fn new(app: &'a Arc<App>, deadline: Instant) -> Self {
        Self {
            app,
            deadline,
            way: None,
            in_flight: Arc::new(Semaphore::new(AT_ONCE)),
        }
    }

    /// Sends what `items` yields. Each is in flight until its [`Sent::confirmed`] ends, so these must
    /// be polled beside this stream.
    pub(super) fn send_all(
        self,
        items: impl Stream<Item = Result<Publication, Refused>> + Send + 'a,
    ) -> impl Stream<Item = Result<Sent, Refused>> + Send {
        let state = (self, items.boxed());
        stream::unfold(state, async |(mut sequence, mut items)| {
            let sent = match items.next().await? {
                Ok(publication) => sequence.send(publication).await,
                Err(refused) => Err(refused),
            };
            Some((sent, (sequence, items)))
        })
    }

    async fn send(&mut self, publication: Publication) -> Result<Sent, Refused> {
        let Publication {
            event, routing_key, ..
        } = publication;
        let id = event.id.clone();
        let permits = timeout_at(self.deadline, self.permits(&routing_key)).await;
        let left = self.deadline.saturating_duration_since(Instant::now());
        // A publish without time would be sent, and its fate unknown.
        let Some((way, permits)) = permits.ok().flatten().filter(|_| !left.is_zero()) else {
            return Err((Some(id), problems::too_late()));
        };
        let sent = self.app.send(way, event, &routing_key, left).await;
        Ok(Sent {
            id,
            key: routing_key,
            under_way: sent.map(|under_way| under_way.keeping(permits)),
        })
    }

    /// Waits for a place, and until the channel for `key` may be taken.
    async fn permits(&mut self, key: &EventType) -> Option<(Way, Permits)> {
        let mut way = self.app.publishers.way(key);
        if self.way.is_some_and(|last| last != way) {
            let all = u32::try_from(AT_ONCE).ok()?;
            drop(self.in_flight.acquire_many(all).await.ok()?);
            way = self.app.publishers.way(key);
        }
        self.way = Some(way);
        let own = self.in_flight.clone().acquire_owned().await.ok()?;
        let shared = self.app.batch_places.clone().acquire_owned().await.ok()?;
        Some((way, [own, shared]))
    }
}

impl Sent {
    /// What became of it.
    pub(super) async fn confirmed(self) -> Outcome {
        let published = match self.under_way {
            Ok(under_way) => under_way.confirmed().await,
            Err(error) => Err(error),
        };
        let problem = |error| -> Problem { problems::publish(&error, &self.key, &self.id) };
        match published.map_err(problem) {
            Ok(()) => Ok(self.id),
            Err(problem) => Err((Some(self.id), problem)),
        }
    }
}
