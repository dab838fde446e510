//! One route at work: its queue, its target, and what becomes of each event.

use std::{sync::Arc, time::Duration};

use messaging::{
    Backoff, Connection, Consumer, ConsumerConfig, Delivery, Failure, Handled, Message, Publisher,
    topology::{Topology, route_queue},
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::{outcome::Outcome, routes_file::EventRoute, target::Target};

/// For RabbitMQ to confirm one hand-off; then it is tried again.
const HANDOFF_DEADLINE: Duration = Duration::from_secs(5);

/// What each delivery needs.
struct Forwarder {
    route: String,
    target: Target,
    retries: Vec<Duration>,
    /// Of this route alone: a channel that ends takes nobody else's hand-offs along.
    publisher: Publisher,
    shutdown: CancellationToken,
}

/// Starts the route: consumes on `consuming`, hands off on `publishing`.
///
/// # Errors
/// When the target cannot be used as configured.
pub(crate) fn start(
    route: &EventRoute,
    consuming: &Connection,
    publishing: &Connection,
    shutdown: CancellationToken,
) -> anyhow::Result<Consumer> {
    let topology = Topology::route(&route.name, &route.bindings, &route.retries);
    let forwarder = Arc::new(Forwarder {
        route: route.name.clone(),
        target: Target::new(&route.target)?,
        retries: route.retries.clone(),
        publisher: Publisher::start(publishing, topology.clone()),
        shutdown,
    });
    let config = ConsumerConfig {
        queue: route_queue(&route.name),
        topology,
        prefetch: route.flow.prefetch,
        concurrency: route.flow.concurrency.into(),
    };
    Ok(Consumer::start(consuming, config, move |delivery| {
        let forwarder = forwarder.clone();
        async move { forwarder.forward(delivery).await }
    }))
}

impl Forwarder {
    /// The one place that decides: acknowledge, another attempt, or dead letter.
    async fn forward(&self, delivery: Delivery) -> Handled {
        let Delivery { event, attempt, .. } = &delivery;
        let copy = match self.target.deliver(&delivery).await {
            Outcome::Delivered => {
                debug!(route = self.route, event.id, attempt, "delivered");
                return Handled::Done;
            }
            Outcome::Retry(failure) => self.next_attempt(&delivery, failure),
            Outcome::Reject(failure) => self.dead_letter(&delivery, &failure),
        };
        self.hand_off(copy, &event.id).await
    }

    fn next_attempt(&self, delivery: &Delivery, failure: Failure) -> Message {
        let made = usize::try_from(delivery.attempt).unwrap_or(usize::MAX);
        match self.retries.get(made - 1) {
            Some(wait) => {
                warn!(
                    route = self.route,
                    event.id = delivery.event.id,
                    attempt = delivery.attempt,
                    wait_ms = wait.as_millis(),
                    reason = failure.reason,
                    "not delivered, will be tried again"
                );
                delivery.retry(*wait, &failure)
            }
            None => {
                let reason = format!("{}, in the last of {made} attempts", failure.reason);
                self.dead_letter(delivery, &Failure { reason, ..failure })
            }
        }
    }

    fn dead_letter(&self, delivery: &Delivery, failure: &Failure) -> Message {
        warn!(
            route = self.route,
            event.id = delivery.event.id,
            attempt = delivery.attempt,
            reason = failure.reason,
            "not delivered, becomes a dead letter"
        );
        delivery.dead_letter(failure)
    }

    /// Publishes the copy, as often as it takes: the original is acknowledged only after it, and
    /// the place among the handlers stays taken, so that a route without RabbitMQ does not run on.
    async fn hand_off(&self, copy: Message, id: &str) -> Handled {
        let mut backoff = Backoff::new();
        loop {
            let Err(error) = self.publisher.publish(copy.clone(), HANDOFF_DEADLINE).await else {
                return Handled::Done;
            };
            warn!(route = self.route, event.id = id, %error, "hand-off failed, trying again");
            tokio::select! {
                () = tokio::time::sleep(backoff.next_wait()) => {}
                () = self.shutdown.cancelled() => return Handled::Left,
            }
        }
    }
}
