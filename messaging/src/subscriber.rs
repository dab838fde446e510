//! A subscription at work.

use std::{future::Future, sync::Arc, time::Duration};

use tokio_util::sync::CancellationToken;

use crate::{
    Connection, Consumer, ConsumerConfig, Delivery, Outcome, Publisher, Status, Subscription,
    breaker::Breaker,
    forwarder::{self, Forwarder},
    limit::Limit,
    pace::Pace,
    schedule::Schedule,
    source::Queue,
    topology::Topology,
};

/// A running subscription.
#[derive(Clone, Debug)]
pub struct Subscriber {
    consumer: Consumer,
    publisher: Publisher,
    breaker: Arc<Breaker>,
    /// Ends the waits in hand; none where they cannot go on elsewhere.
    waits: Option<CancellationToken>,
}

impl Subscriber {
    /// Starts to consume on `consuming`, and calls `handler` for each attempt; what fails is
    /// handed off on `publishing`. The two should not be one connection: RabbitMQ blocks one that
    /// publishes. What waits for its next attempt stops waiting at `shutdown`. The program must have
    /// its recorder of metrics by now, or nothing that is delivered will ever be counted.
    pub fn start<H, F>(
        subscription: Subscription,
        consuming: &Connection,
        publishing: &Connection,
        shutdown: CancellationToken,
        handler: H,
    ) -> Self
    where
        H: Fn(Arc<Delivery>) -> F + Send + Sync + 'static,
        F: Future<Output = Outcome> + Send + 'static,
    {
        let breaker = Arc::new(Breaker::new(
            &subscription.name,
            subscription.retries.len(),
            subscription.ordered,
        ));
        // What waits in hand of an exclusive queue has no queue to go back to.
        let is_exclusive = subscription.source.queue.is_exclusive();
        let stop = shutdown.child_token();
        let waits = (!is_exclusive).then(|| stop.clone());
        let config = ConsumerConfig {
            queue: subscription.source.queue.name().to_owned(),
            topology: subscription.topology(),
            prefetch: subscription.prefetch,
            concurrency: subscription.concurrency.into(),
            ordered: subscription.ordered,
        };
        // The queues are the consumer's to declare, and there before it gets anything.
        let publisher = Publisher::start(publishing, Topology::retries());
        let forwarder = Arc::new(Forwarder {
            breaker: breaker.clone(),
            limit: Limit::new(subscription.concurrency.into()),
            schedule: Schedule::new(subscription.retries.clone()),
            pace: subscription.rate_per_second.map(Pace::new),
            delivered: forwarder::counter(&subscription.name, "delivered"),
            publisher: publisher.clone(),
            // By its own declaration; who provides a queue may have forgotten it.
            rejects: matches!(subscription.source.queue, Queue::Own(_)) && !consuming.looks_up(),
            subscription,
            handler,
            stop,
        });
        let consumer = Consumer::start(consuming, config, move |delivery| {
            let forwarder = forwarder.clone();
            async move { forwarder.forward(delivery).await }
        });
        Self {
            consumer,
            publisher,
            breaker,
            waits,
        }
    }

    /// Whether deliveries come in now, and what fails can be handed off.
    pub fn status(&self) -> Status {
        self.consumer.status().and(self.publisher.status())
    }

    /// Why nothing is pulled, while what handles the events is down.
    pub fn outage(&self) -> Option<String> {
        self.breaker.open()
    }

    /// Takes no more deliveries, waits for the handlers at work and their acknowledgements, up to
    /// `deadline`. What was delivered ahead, or waits for its target or its next attempt, goes back
    /// to the queue; of an exclusive queue what waits is gone on with.
    pub async fn drain(&self, deadline: Duration) {
        if let Some(waits) = &self.waits {
            waits.cancel();
        }
        self.consumer.drain(deadline).await;
        self.breaker.retire();
    }
}
