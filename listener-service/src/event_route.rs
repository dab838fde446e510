//! One route at work: its queue, its target, and what becomes of each event.

use std::{pin::pin, sync::Arc, time::Duration};

use messaging::{
    Backoff, Connection, Consumer, ConsumerConfig, Delivery, Failure, Handled, Message, Publisher,
    topology::{Topology, route_queue},
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::{
    breaker::Breaker, outcome::Outcome, routes::EventRoute, schedule::Schedule, target::Target,
};

/// For RabbitMQ to confirm one hand-off. No verdict is later than the publisher's own deadline, so
/// a copy is published again only when the first one's channel is gone.
const HANDOFF_DEADLINE: Duration =
    Publisher::CONFIRM_DEADLINE.saturating_add(Duration::from_secs(5));

/// How long deliveries are held while their target is down: less than RabbitMQ waits for an
/// acknowledgement (`consumer_timeout`, 30 minutes by default) before it closes the channel and
/// counts a failed delivery for each. At 50 of them it gives a message up.
const HOLD: Duration = Duration::from_secs(10 * 60);

/// A route at work.
pub(crate) struct EventForwarding {
    pub(crate) consumer: Consumer,
    pub(crate) breaker: Arc<Breaker>,
}

/// What each delivery needs.
struct Forwarder {
    route: String,
    target: Target,
    breaker: Arc<Breaker>,
    schedule: Schedule,
    /// For each handler, such that all that is prefetched has had its turn within [`HOLD`].
    hold: Duration,
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
) -> anyhow::Result<EventForwarding> {
    let topology = Topology::route(&route.name, &route.bindings, &route.retries);
    let breaker = Arc::new(Breaker::new(&route.name, route.retries.len()));
    let forwarder = Arc::new(Forwarder {
        route: route.name.clone(),
        target: Target::new(&route.target)?,
        breaker: breaker.clone(),
        schedule: Schedule::new(route.retries.clone()),
        hold: HOLD * u32::from(route.flow.concurrency) / u32::from(route.flow.prefetch),
        // The queues are the consumer's to declare, and there before it gets anything.
        publisher: Publisher::start(publishing, Topology::retries()),
        shutdown,
    });
    let config = ConsumerConfig {
        queue: route_queue(&route.name),
        topology,
        prefetch: route.flow.prefetch,
        concurrency: route.flow.concurrency.into(),
    };
    let consumer = Consumer::start(consuming, config, move |delivery| {
        let forwarder = forwarder.clone();
        async move { forwarder.forward(delivery).await }
    });
    Ok(EventForwarding { consumer, breaker })
}

/// What came of a delivery in hand.
enum Attempt {
    Made(Outcome),
    /// The target was down all the time.
    Held(Failure),
    /// The listener stops.
    Stopped,
}

impl Forwarder {
    /// The one place that decides: acknowledge, another attempt, or dead letter.
    async fn forward(&self, delivery: Delivery) -> Handled {
        let Delivery { event, attempt, .. } = &delivery;
        let copy = match self.attempt(&delivery).await {
            Attempt::Made(Outcome::Delivered) => {
                self.count("delivered");
                debug!(route = self.route, event.id, attempt, "delivered");
                return Handled::Done;
            }
            Attempt::Made(Outcome::Retry(failure, wait) | Outcome::Down(failure, wait)) => {
                self.next_attempt(&delivery, failure, wait)
            }
            Attempt::Made(Outcome::Reject(failure)) => self.dead_letter(&delivery, &failure),
            Attempt::Held(failure) => {
                self.count("put_back");
                debug!(route = self.route, event.id, "held for long, put back");
                delivery.put_back(&failure)
            }
            Attempt::Stopped => return Handled::Left,
        };
        self.hand_off(copy, &event.id).await
    }

    /// One attempt that counts. Those that an outage of the target fails do not: while the breaker
    /// is open the event stays in hand.
    async fn attempt(&self, delivery: &Delivery) -> Attempt {
        let mut failure = None;
        let mut held = pin!(tokio::time::sleep(self.hold));
        loop {
            let pass = tokio::select! {
                pass = self.breaker.pass() => pass,
                () = &mut held => return Attempt::Held(failure.unwrap_or_else(|| self.outage())),
                () = self.shutdown.cancelled() => return Attempt::Stopped,
            };
            let outcome = self.target.deliver(delivery).await;
            if let Outcome::Down(failure, wait) = &outcome {
                self.breaker.failed(&failure.reason, *wait);
            } else {
                self.breaker.answered();
            }
            drop(pass);
            match outcome {
                Outcome::Down(down, _) if self.breaker.open().is_some() => failure = Some(down),
                outcome => return Attempt::Made(outcome),
            }
        }
    }

    /// Why an event is held that has not been tried itself.
    fn outage(&self) -> Failure {
        Failure {
            reason: self.breaker.open().unwrap_or_default(),
            status: None,
            answer: None,
        }
    }

    fn next_attempt(
        &self,
        delivery: &Delivery,
        failure: Failure,
        retry_after: Option<Duration>,
    ) -> Message {
        let Delivery { event, attempt, .. } = delivery;
        let Some(wait) = self.schedule.after(*attempt, retry_after) else {
            let reason = format!("{}, in the last of {attempt} attempts", failure.reason);
            return self.dead_letter(delivery, &Failure { reason, ..failure });
        };
        self.count("retried");
        warn!(
            route = self.route,
            event.id,
            attempt,
            wait_ms = wait.delay.as_millis(),
            reason = failure.reason,
            "not delivered, will be tried again"
        );
        delivery.retry(wait.level, wait.delay, &failure)
    }

    fn dead_letter(&self, delivery: &Delivery, failure: &Failure) -> Message {
        self.count("dead");
        warn!(
            route = self.route,
            event.id = delivery.event.id,
            attempt = delivery.attempt,
            reason = failure.reason,
            "not delivered, becomes a dead letter"
        );
        delivery.dead_letter(failure)
    }

    fn count(&self, outcome: &'static str) {
        let route = self.route.clone();
        metrics::counter!("listener_events_total", "route" => route, "outcome" => outcome)
            .increment(1);
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
