//! What becomes of each event of a subscription.

use std::{future::Future, pin::pin, sync::Arc, time::Duration};

use metrics::Counter;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, warn};

use crate::{
    Backoff, Delivery, Failure, Handled, Message, Outcome, PublishError, Publisher, Subscription,
    breaker::{Breaker, Cause},
    expiry::Expiry,
    format::{Format, tell},
    limit::Limit,
    pace::Pace,
    schedule::Schedule,
};

/// For RabbitMQ to confirm one hand-off. No verdict is later than the publisher's own deadline, so
/// a copy is published again only when the first one's channel is gone.
const HANDOFF_DEADLINE: Duration =
    Publisher::CONFIRM_DEADLINE.saturating_add(Duration::from_secs(5));

/// What each delivery needs.
pub(crate) struct Forwarder<H> {
    pub(crate) subscription: Subscription,
    pub(crate) handler: H,
    pub(crate) breaker: Arc<Breaker>,
    pub(crate) limit: Limit,
    pub(crate) schedule: Schedule,
    pub(crate) pace: Option<Pace>,
    /// Looked up once, for all that go well; so the program must have its recorder by then.
    pub(crate) delivered: Counter,
    /// Of this subscription alone: a channel that ends takes nobody else's hand-offs along.
    pub(crate) publisher: Publisher,
    /// Whether RabbitMQ makes a dead letter of what is rejected.
    pub(crate) rejects: bool,
    pub(crate) stop: CancellationToken,
}

/// What came of a delivery in hand.
enum Attempt {
    Made(Outcome),
    /// The target was down all the time.
    Held(Failure),
    /// Its time was up before.
    Expired(Failure),
    /// The subscription stops.
    Stopped,
}

/// What becomes of it.
enum Verdict {
    Settled(Handled),
    /// Settled once RabbitMQ has this copy.
    HandOff(Box<Message>),
    /// The same, of a copy that goes back to the queue it came from.
    PutBack(Box<Message>),
    /// Another attempt, without letting it go.
    WaitInHand(Duration),
}

impl<H, F> Forwarder<H>
where
    H: Fn(Arc<Delivery>) -> F + Send + Sync + 'static,
    F: Future<Output = Outcome> + Send + 'static,
{
    /// Attempts, until it is known what becomes of the delivery.
    pub(crate) async fn forward(&self, mut delivery: Delivery) -> Handled {
        if let Some(reason) = delivery.unreadable.take() {
            return self.bury(&delivery, reason).await;
        }
        let expires = match self.subscription.format.read(&mut delivery) {
            Ok(expires) => expires.map(|at| Expiry(at.as_millisecond())),
            Err(reason) => return self.bury(&delivery, reason).await,
        };
        if !self.subscription.wants(&delivery.event.event_type) {
            // No attempt: it takes no turn of the pace, and waits for no target.
            self.count("ignored");
            self.tell_task("IGNORED", &delivery);
            return Handled::Done;
        }
        if let Some(at) = expires {
            // Whichever comes first: the attempts that follow look at it too.
            delivery.expiry = Some(delivery.expiry.map_or(at, |expiry| expiry.min(at)));
            if at.remaining().is_none() {
                return self.bury(&delivery, format!("it expired at {at}")).await;
            }
        }
        let mut delivery = Arc::new(delivery);
        let end = Instant::now() + self.subscription.hold();
        loop {
            let attempt = self.attempt(&delivery, end).await;
            match self.decide(&delivery, attempt) {
                Verdict::Settled(handled) => return handled,
                // Rare, and large: in a box it makes no room in every delivery.
                Verdict::HandOff(copy) => return self.settle(*copy, &delivery.event.id).await,
                Verdict::PutBack(copy) => {
                    let put_back = Box::pin(self.hand_off(*copy, &delivery.event.id)).await;
                    return put_back.unwrap_or(Handled::Returned);
                }
                // A target that asks for more time again and again gets what is left of it.
                Verdict::WaitInHand(wait) => tokio::select! {
                    () = tokio::time::sleep_until(end.min(Instant::now() + wait)) => {
                        let delivery = Arc::make_mut(&mut delivery);
                        delivery.attempt = delivery.attempt.saturating_add(1);
                    }
                    () = self.stop.cancelled() => return Handled::Left,
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
            // Who waits for the target to come back has its slot: nobody else could use it.
            let leave = async { (self.limit.slot().await, self.breaker.pass().await) };
            let (slot, pass) = tokio::select! {
                biased; // past the end there are no waits, and attempts all the same
                leave = leave => leave,
                () = &mut held => return Attempt::Held(failure.unwrap_or_else(|| self.outage())),
                () = self.stop.cancelled() => return Attempt::Stopped,
            };
            if let Some(pace) = &self.pace {
                tokio::select! {
                    () = pace.turn() => {}
                    () = self.stop.cancelled() => return Attempt::Stopped,
                }
            }
            if let Some(failure) = delivery.expired() {
                return Attempt::Expired(failure);
            }
            let outcome = (self.handler)(delivery.clone()).await;
            let cause = self.judge(&outcome, delivery);
            match cause {
                // Whatever the cause, it may have been too much at once.
                Some(_) => slot.overloaded(),
                None if !matches!(outcome, Outcome::Retry(..)) => slot.answered(),
                None => {}
            }
            // Whoever else waits has the next turn: the next probe is another event.
            drop((slot, pass));
            match (cause, outcome) {
                (Some(Cause::Target), Outcome::Down(down, _) | Outcome::Unclear(down, _)) => {
                    failure = Some(down);
                }
                (_, outcome) => return Attempt::Made(outcome),
            }
        }
    }

    /// What a failure is put down to, where the target did not answer for the event.
    fn judge(&self, outcome: &Outcome, delivery: &Delivery) -> Option<Cause> {
        let Delivery { event, attempt, .. } = delivery;
        match outcome {
            Outcome::Down(failure, wait) => {
                let last = self.schedule.after(*attempt, None).is_none();
                Some(self.breaker.failed(&failure.reason, *wait, last))
            }
            Outcome::Unclear(failure, wait) => {
                Some(self.breaker.doubted(&event.id, &failure.reason, *wait))
            }
            Outcome::Delivered | Outcome::Retry(..) | Outcome::Reject(_) => {
                self.breaker.answered();
                None
            }
        }
    }

    /// Why an event is held that has not been tried itself.
    fn outage(&self) -> Failure {
        Failure {
            reason: (self.breaker.open())
                .unwrap_or_else(|| "the target takes fewer at once than are in hand".to_owned()),
            status: None,
            answer: None,
        }
    }

    /// The one place that decides: acknowledge, another attempt, or dead letter.
    fn decide(&self, delivery: &Delivery, attempt: Attempt) -> Verdict {
        match attempt {
            Attempt::Made(Outcome::Delivered) => {
                self.delivered.increment(1);
                let (route, number) = (&self.subscription.name, delivery.attempt);
                debug!(route, delivery.event.id, attempt = number, "delivered");
                self.tell_task("PROCESSED", delivery);
                Verdict::Settled(Handled::Done)
            }
            Attempt::Made(
                Outcome::Retry(failure, wait)
                | Outcome::Unclear(failure, wait)
                | Outcome::Down(failure, wait),
            ) => self.next_attempt(delivery, failure, wait),
            Attempt::Made(Outcome::Reject(failure)) | Attempt::Expired(failure) => {
                self.dead_letter(delivery, &failure)
            }
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
        if self.subscription.source.queue.is_exclusive() {
            // Its queue is this instance's alone, and a copy would come to all of them.
            return self.dead_letter(delivery, failure);
        }
        self.count("put_back");
        debug!(route, delivery.event.id, "held for long, put back");
        if self.subscription.ordered {
            return Verdict::Settled(Handled::Returned); // to its place, before all others
        }
        Verdict::PutBack(Box::new(delivery.put_back(failure)))
    }

    /// What no attempt is made with.
    async fn bury(&self, delivery: &Delivery, reason: String) -> Handled {
        let failure = Failure {
            reason,
            status: None,
            answer: None,
        };
        match self.dead_letter(delivery, &failure) {
            Verdict::HandOff(copy) => self.settle(*copy, &delivery.event.id).await,
            Verdict::Settled(handled) => handled,
            Verdict::PutBack(_) | Verdict::WaitInHand(_) => Handled::Left,
        }
    }

    /// Publishes the copy that settles an event. A copy larger than RabbitMQ takes cannot be published
    /// at all, while RabbitMQ itself can move the message: a queue of this suite has dead letters.
    async fn settle(&self, copy: Message, id: &str) -> Handled {
        if let Some(handled) = Box::pin(self.hand_off(copy, id)).await {
            return handled;
        }
        if self.rejects {
            return Handled::Rejected;
        }
        // Of another queue nobody knows that it keeps what is rejected. So the message stays in it.
        tokio::select! {
            () = tokio::time::sleep(self.subscription.hold()) => Handled::Returned,
            () = self.stop.cancelled() => Handled::Left,
        }
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

    /// One line for each task of Celery, of which everybody gets all: what was this one's own.
    fn tell_task(&self, what: &str, delivery: &Delivery) {
        if self.subscription.format == Format::Celery {
            tell(what, &self.subscription.name, &delivery.event);
        }
    }

    fn count(&self, outcome: &'static str) {
        counter(&self.subscription.name, outcome).increment(1);
    }

    /// Publishes the copy, as often as it takes: the original is acknowledged only after it, and
    /// the place among the handlers stays taken, so that a route without RabbitMQ does not run on. None
    /// where RabbitMQ will never take it.
    async fn hand_off(&self, copy: Message, id: &str) -> Option<Handled> {
        let route = &self.subscription.name;
        let mut backoff = Backoff::new();
        loop {
            match self.publisher.publish(copy.clone(), HANDOFF_DEADLINE).await {
                Ok(()) => return Some(Handled::Done),
                Err(PublishError::TooLarge(reason)) => {
                    error!(route, event.id = id, %reason, "RabbitMQ takes no copy of an event");
                    return None;
                }
                Err(error) => {
                    warn!(route, event.id = id, %error, "hand-off failed, trying again");
                }
            }
            tokio::select! {
                () = tokio::time::sleep(backoff.next_wait()) => {}
                () = self.stop.cancelled() => return Some(Handled::Left),
            }
        }
    }
}

/// The events of a route with one outcome.
pub(crate) fn counter(route: &str, outcome: &'static str) -> Counter {
    metrics::counter!("subscription_events_total", "route" => route.to_owned(), "outcome" => outcome)
}

#[cfg(test)]
mod tests {
    use lapin::{BasicProperties, message::Delivery as Raw};
    use tokio::sync::mpsc::unbounded_channel;

    use super::*;
    use crate::{Connection, topology::Topology};

    /// RabbitMQ waits half an hour for an acknowledgement, a target may ask for more.
    #[tokio::test(start_paused = true)]
    async fn what_waits_in_hand_is_tried_in_time_whatever_its_target_asks_for() {
        const WAITS: [u64; 4] = [1, 1, 1, 800];
        let url = "amqp://127.0.0.1:1".parse().unwrap();
        let connection = Connection::open("nowhere", &url);
        let subscription = Subscription {
            ordered: true,
            retries: WAITS.map(Duration::from_secs).into(),
            ..Subscription::events("ordered", ["#".to_owned()])
        };
        let (sender, mut attempts) = unbounded_channel();
        let forwarder = Forwarder {
            breaker: Arc::new(Breaker::new("ordered", WAITS.len(), true)),
            limit: Limit::new(1),
            schedule: Schedule::new(subscription.retries.clone()),
            pace: None,
            delivered: Counter::noop(),
            publisher: Publisher::start(&connection, Topology::retries()),
            rejects: true,
            subscription,
            handler: move |_| {
                sender.send(Instant::now()).unwrap();
                let failure = Failure {
                    reason: "busy".to_owned(),
                    status: None,
                    answer: None,
                };
                std::future::ready(Outcome::Retry(failure, Some(Duration::from_secs(3_600))))
            },
            stop: CancellationToken::new(),
        };
        let mut raw = Raw::mock(1, "events".into(), "a".into(), false, b"{}".to_vec());
        raw.properties = BasicProperties::default();
        let begun = Instant::now();
        let made = async {
            for _ in 0..WAITS.len() {
                attempts.recv().await.unwrap();
            }
            attempts.recv().await.unwrap()
        };
        let last = tokio::select! {
            last = made => last,
            _ = forwarder.forward(Delivery::read("Q", raw)) => panic!("nobody took its dead letter"),
        };
        let waited = last - begun;
        assert!(waited > Subscription::IN_HAND_MAX, "{waited:?}");
        assert!(waited < Duration::from_secs(26 * 60), "{waited:?}");
    }
}
