//! A subscription at work: its queue, its handler, and what becomes of each event.

use std::{future::Future, num::NonZeroU32, pin::pin, sync::Arc, time::Duration};

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::{
    Backoff, Connection, Consumer, ConsumerConfig, Delivery, Failure, Handled, Message, Outcome,
    Publisher, Status,
    breaker::Breaker,
    format::Format,
    pace::Pace,
    schedule::Schedule,
    source::{Queue, Source},
    topology::Topology,
};

/// For RabbitMQ to confirm one hand-off. No verdict is later than the publisher's own deadline, so
/// a copy is published again only when the first one's channel is gone.
const HANDOFF_DEADLINE: Duration =
    Publisher::CONFIRM_DEADLINE.saturating_add(Duration::from_secs(5));

/// How long deliveries are held while their target is down: less than RabbitMQ waits for an
/// acknowledgement (`consumer_timeout`, 30 minutes by default) before it closes the channel and
/// counts a failed delivery for each. At 50 of them it gives a message up.
const HOLD: Duration = Duration::from_secs(10 * 60);

/// What to subscribe to, and what becomes of events that fail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscription {
    /// Names it in logs and metrics.
    pub name: String,
    /// Where the events come from.
    pub source: Source,
    /// How its messages are read as events.
    pub format: Format,
    /// Waits between attempts. After the last one an event becomes a dead letter.
    pub retries: Vec<Duration>,
    /// Handlers at work at one time.
    pub concurrency: u16,
    /// Deliveries that RabbitMQ sends ahead of their acknowledgements, those at work included.
    pub prefetch: u16,
    /// Most attempts in a second.
    pub rate_per_second: Option<NonZeroU32>,
    /// One event at a time, each after the one before it is done or dead.
    pub ordered: bool,
}

impl Subscription {
    /// Waits between attempts where nothing else is said: six attempts within a quarter of an hour.
    pub const RETRIES: [Duration; 5] = [
        Duration::from_secs(1),
        Duration::from_secs(5),
        Duration::from_secs(30),
        Duration::from_secs(120),
        Duration::from_secs(600),
    ];
    /// Handlers at work where nothing else is said.
    pub const CONCURRENCY: u16 = 32;

    /// To the events of this suite whose types match one of `patterns`, in a queue of its own.
    pub fn events(name: &str, patterns: impl IntoIterator<Item = String>) -> Self {
        Self {
            name: name.to_owned(),
            source: Source::events(name, patterns),
            format: Format::CloudEvents,
            retries: Self::RETRIES.into(),
            concurrency: Self::CONCURRENCY,
            prefetch: Self::CONCURRENCY * 2,
            rate_per_second: None,
            ordered: false,
        }
    }

    /// Most time that the attempts of one event may take where it [waits in
    /// hand](Self::waits_in_hand).
    pub const IN_HAND_MAX: Duration = Duration::from_secs(15 * 60);

    /// Whether an event waits in the listener for its next attempt: one that went through a retry
    /// queue would lose its place, or come to another instance.
    pub fn waits_in_hand(&self) -> bool {
        self.ordered || matches!(self.source.queue, Queue::Exclusive(_))
    }

    /// How long one event may be in hand: such that all that is prefetched has had its turn within
    /// [`HOLD`], and what waits in hand all its attempts besides.
    fn hold(&self) -> Duration {
        if self.waits_in_hand() {
            return Self::IN_HAND_MAX + HOLD;
        }
        HOLD * u32::from(self.concurrency) / u32::from(self.prefetch)
    }

    /// What is declared for it.
    pub fn topology(&self) -> Topology {
        let retries = if self.waits_in_hand() {
            &[]
        } else {
            self.retries.as_slice()
        };
        Topology::subscription(&self.source, retries, self.ordered)
    }
}

/// A running subscription.
#[derive(Clone, Debug)]
pub struct Subscriber {
    consumer: Consumer,
    publisher: Publisher,
    breaker: Arc<Breaker>,
}

impl Subscriber {
    /// Starts to consume on `consuming`, and calls `handler` for each attempt; what fails is
    /// handed off on `publishing`. The two should not be one connection: RabbitMQ blocks one that
    /// publishes. What waits for its next attempt stops waiting at `shutdown`.
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
        let breaker = Arc::new(Breaker::new(&subscription.name, subscription.retries.len()));
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
            schedule: Schedule::new(subscription.retries.clone()),
            pace: subscription.rate_per_second.map(Pace::new),
            hold: subscription.hold(),
            publisher: publisher.clone(),
            subscription,
            handler,
            shutdown,
        });
        let consumer = Consumer::start(consuming, config, move |delivery| {
            let forwarder = forwarder.clone();
            async move { forwarder.forward(delivery).await }
        });
        Self {
            consumer,
            publisher,
            breaker,
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
    /// `deadline`. What was delivered ahead goes back to the queue.
    pub async fn drain(&self, deadline: Duration) {
        self.consumer.drain(deadline).await;
    }
}

/// What each delivery needs.
struct Forwarder<H> {
    subscription: Subscription,
    handler: H,
    breaker: Arc<Breaker>,
    schedule: Schedule,
    pace: Option<Pace>,
    hold: Duration,
    /// Of this subscription alone: a channel that ends takes nobody else's hand-offs along.
    publisher: Publisher,
    shutdown: CancellationToken,
}

/// What came of a delivery in hand.
enum Attempt {
    Made(Outcome),
    /// The target was down all the time.
    Held(Failure),
    /// The program stops.
    Stopped,
}

/// What becomes of it.
enum Verdict {
    Settled(Handled),
    /// Settled once RabbitMQ has this copy.
    HandOff(Box<Message>),
    /// Another attempt, without letting it go.
    WaitInHand(Duration),
}

impl<H, F> Forwarder<H>
where
    H: Fn(Arc<Delivery>) -> F + Send + Sync + 'static,
    F: Future<Output = Outcome> + Send + 'static,
{
    async fn forward(&self, mut delivery: Delivery) -> Handled {
        self.subscription.format.read(&mut delivery);
        let mut delivery = Arc::new(delivery);
        let end = Instant::now() + self.hold;
        loop {
            let attempt = self.attempt(&delivery, end).await;
            match self.decide(&delivery, attempt) {
                Verdict::Settled(handled) => return handled,
                Verdict::HandOff(copy) => return self.hand_off(*copy, &delivery.event.id).await,
                Verdict::WaitInHand(wait) => tokio::select! {
                    () = tokio::time::sleep(wait) => {
                        let delivery = Arc::make_mut(&mut delivery);
                        delivery.attempt = delivery.attempt.saturating_add(1);
                    }
                    () = self.shutdown.cancelled() => return Handled::Left,
                },
            }
        }
    }

    /// One attempt that counts. Those that an outage of the target fails do not: while the breaker
    /// is open the event stays in hand, until `end`.
    async fn attempt(&self, delivery: &Arc<Delivery>, end: Instant) -> Attempt {
        let mut failure = None;
        let mut held = pin!(tokio::time::sleep_until(end));
        loop {
            let pass = tokio::select! {
                pass = self.breaker.pass() => pass,
                () = &mut held => return Attempt::Held(failure.unwrap_or_else(|| self.outage())),
                () = self.shutdown.cancelled() => return Attempt::Stopped,
            };
            if let Some(pace) = &self.pace {
                tokio::select! {
                    () = pace.turn() => {}
                    () = self.shutdown.cancelled() => return Attempt::Stopped,
                }
            }
            let outcome = (self.handler)(delivery.clone()).await;
            match &outcome {
                Outcome::Down(failure, wait) => self.breaker.failed(&failure.reason, *wait),
                Outcome::Ignored => {} // the target was not asked
                _ => self.breaker.answered(),
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

    /// The one place that decides: acknowledge, another attempt, or dead letter.
    fn decide(&self, delivery: &Delivery, attempt: Attempt) -> Verdict {
        match attempt {
            Attempt::Made(Outcome::Delivered) => {
                self.count("delivered");
                let (route, number) = (&self.subscription.name, delivery.attempt);
                debug!(route, delivery.event.id, attempt = number, "delivered");
                Verdict::Settled(Handled::Done)
            }
            Attempt::Made(Outcome::Ignored) => {
                self.count("ignored");
                Verdict::Settled(Handled::Done)
            }
            Attempt::Made(Outcome::Retry(failure, wait) | Outcome::Down(failure, wait)) => {
                self.next_attempt(delivery, failure, wait)
            }
            Attempt::Made(Outcome::Reject(failure)) => self.dead_letter(delivery, &failure),
            Attempt::Held(failure) => self.held(delivery, &failure),
            Attempt::Stopped => Verdict::Settled(Handled::Left),
        }
    }

    fn next_attempt(
        &self,
        delivery: &Delivery,
        failure: Failure,
        retry_after: Option<Duration>,
    ) -> Verdict {
        let Delivery { event, attempt, .. } = delivery;
        let Some(wait) = self.schedule.after(*attempt, retry_after) else {
            let reason = format!("{}, in the last of {attempt} attempts", failure.reason);
            let failure = Failure { reason, ..failure };
            return self.dead_letter(delivery, &failure);
        };
        self.count("retried");
        warn!(
            route = self.subscription.name,
            event.id,
            attempt,
            wait_ms = wait.delay.as_millis(),
            reason = failure.reason,
            "not delivered, will be tried again"
        );
        if self.subscription.waits_in_hand() {
            return Verdict::WaitInHand(wait.delay);
        }
        Verdict::HandOff(Box::new(delivery.retry(wait.level, wait.delay, &failure)))
    }

    /// What cannot be held any longer.
    fn held(&self, delivery: &Delivery, failure: &Failure) -> Verdict {
        let route = &self.subscription.name;
        if matches!(self.subscription.source.queue, Queue::Exclusive(_)) {
            // Its queue is this instance's alone, and a copy would come to all of them.
            return self.dead_letter(delivery, failure);
        }
        self.count("put_back");
        debug!(route, delivery.event.id, "held for long, put back");
        if self.subscription.ordered {
            return Verdict::Settled(Handled::Returned); // to its place, before all others
        }
        Verdict::HandOff(Box::new(delivery.put_back(failure)))
    }

    fn dead_letter(&self, delivery: &Delivery, failure: &Failure) -> Verdict {
        self.count("dead");
        warn!(
            route = self.subscription.name,
            event.id = delivery.event.id,
            attempt = delivery.attempt,
            reason = failure.reason,
            "not delivered, becomes a dead letter"
        );
        Verdict::HandOff(Box::new(delivery.dead_letter(failure)))
    }

    fn count(&self, outcome: &'static str) {
        let route = self.subscription.name.clone();
        metrics::counter!("subscription_events_total", "route" => route, "outcome" => outcome)
            .increment(1);
    }

    /// Publishes the copy, as often as it takes: the original is acknowledged only after it, and
    /// the place among the handlers stays taken, so that a route without RabbitMQ does not run on.
    async fn hand_off(&self, copy: Message, id: &str) -> Handled {
        let route = &self.subscription.name;
        let mut backoff = Backoff::new();
        loop {
            let Err(error) = self.publisher.publish(copy.clone(), HANDOFF_DEADLINE).await else {
                return Handled::Done;
            };
            warn!(route, event.id = id, %error, "hand-off failed, trying again");
            tokio::select! {
                () = tokio::time::sleep(backoff.next_wait()) => {}
                () = self.shutdown.cancelled() => return Handled::Left,
            }
        }
    }
}
