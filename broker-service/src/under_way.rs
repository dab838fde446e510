//! A publish under way, counted once as what became of it.

use std::{
    sync::{Arc, LazyLock},
    time::{Duration, Instant},
};

use event::{Event, EventType};
use messaging::{Message, PublishError, Unconfirmed};
use metrics::{Counter, Histogram};
use tokio::sync::OwnedSemaphorePermit;

use crate::{App, problems, publishers::Way};

impl App {
    /// Publishes `event`; `Ok` means that it is durable.
    pub(crate) async fn publish(
        self: &Arc<Self>,
        event: Event,
        key: &EventType,
        timeout: Duration,
    ) -> Result<(), PublishError> {
        let way = self.publishers.way(key);
        let under_way = self.send(way, event, key, timeout).await?;
        under_way.confirmed().await
    }

    /// The first half of [`Self::publish`]: the event has its place before all that are sent later.
    pub(crate) async fn send(
        self: &Arc<Self>,
        way: Way,
        event: Event,
        key: &EventType,
        timeout: Duration,
    ) -> Result<UnderWay, PublishError> {
        let begun = Instant::now();
        let message = Message::of(event, key);
        match self.publishers.send(way, message, timeout).await {
            Ok(unconfirmed) => Ok(UnderWay(Some(Sent {
                app: self.clone(),
                key: key.clone(),
                begun,
                unconfirmed,
                places: Vec::new(),
            }))),
            Err(error) => {
                let refused = Err(error.clone());
                record(&refused, begun);
                self.publishers.learn(key, &refused).await;
                Err(error)
            }
        }
    }
}

/// An event that was sent. A client that hangs up drops this, and RabbitMQ takes the event all the
/// same: then a task of its own finds out what became of it.
pub(crate) struct UnderWay(Option<Sent>);

struct Sent {
    app: Arc<App>,
    key: EventType,
    begun: Instant,
    unconfirmed: Unconfirmed,
    /// Among others under way, for as long.
    places: Vec<OwnedSemaphorePermit>,
}

impl UnderWay {
    /// Keeps `places` until its end.
    pub(crate) fn keeping(mut self, places: impl Into<Vec<OwnedSemaphorePermit>>) -> Self {
        if let Some(sent) = &mut self.0 {
            sent.places = places.into();
        }
        self
    }

    /// The second half of [`App::publish`].
    pub(crate) async fn confirmed(mut self) -> Result<(), PublishError> {
        let verdict = match &mut self.0 {
            Some(sent) => sent.unconfirmed.confirmed().await,
            None => Err(PublishError::Unknown),
        };
        if let Some(sent) = self.0.take() {
            sent.settle(&verdict).await;
        }
        verdict
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        if let Some(mut sent) = self.0.take() {
            tokio::spawn(async move {
                let verdict = sent.unconfirmed.confirmed().await;
                sent.settle(&verdict).await;
            });
        }
    }
}

impl Sent {
    async fn settle(self, verdict: &Result<(), PublishError>) {
        record(verdict, self.begun);
        self.app.publishers.learn(&self.key, verdict).await;
    }
}

/// Counts a publish and the time it took.
fn record(published: &Result<(), PublishError>, begun: Instant) {
    let took = begun.elapsed();
    match published {
        Ok(()) => ACCEPTED.record(took),
        Err(error) => Outcome::new(problems::code(error)).record(took),
    }
}

/// The metrics of publishes with one outcome.
struct Outcome {
    total: Counter,
    duration: Histogram,
}

/// Looked up once, for all that go well.
static ACCEPTED: LazyLock<Outcome> = LazyLock::new(|| Outcome::new("accepted"));

impl Outcome {
    fn new(outcome: &'static str) -> Self {
        Self {
            total: metrics::counter!("broker_publishes_total", "outcome" => outcome),
            duration: metrics::histogram!("broker_publish_duration_seconds", "outcome" => outcome),
        }
    }

    fn record(&self, took: Duration) {
        self.total.increment(1);
        self.duration.record(took);
    }
}
