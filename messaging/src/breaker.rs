//! The circuit breaker of a route: while its target as a whole is down, nothing is pulled.
//!
//! Some failures speak of the target, such as a refused connection. Others may be the fault of the
//! one event: a target that crashes on it, or waits for it in vain, fails the same way as one that
//! is down. Then other events show which it is:
//!
//! - A few failures in a row of different events, with no answer between them, open the breaker. One
//!   event alone does not, however often it fails, nor does it keep a breaker open that refused
//!   connections opened: a request that was sent shows that the target is there.
//! - An event that fails again although the target answered others since its last failure is the
//!   cause itself. From then on its failures say nothing of the target.
//!
//! While the breaker is open, deliveries wait in hand, unacknowledged, and the queue stands still
//! behind them. Every few seconds one of them is let through as a probe, each time another one; the
//! first answer closes the breaker. So an outage, however long, costs an event no attempt but that
//! which helped to open the breaker.

use std::{
    collections::{HashMap, HashSet, hash_map::RandomState},
    hash::BuildHasher as _,
    time::Duration,
};

use tokio::{
    sync::{Semaphore, SemaphorePermit, watch},
    time::Instant,
};
use tracing::{info, warn};

use crate::Backoff;

/// Failures in a row that open the breaker; fewer where a route makes fewer attempts, so that no
/// event becomes a dead letter before it opens.
const FAILURES_MAX: usize = 5;
/// The same for an ordered route. No other event can be asked there, so a few bad ones behind each
/// other look like an outage, and behind an open breaker they would stay for ever.
const ORDERED_FAILURES: usize = 10;
/// A target cannot put off its probes for longer than this by its `Retry-After`.
const PAUSE_MAX: Duration = Duration::from_secs(60);
/// Different events that are asked soon after each other, before the probes become rare: the target
/// may have failed on a few bad ones in a row, with good ones behind them.
const ASKED_SOON: usize = 16;
/// Events whose failures are remembered. What is forgotten is found out once more.
const SUSPECTS_MAX: usize = 4096;

/// See the module's documentation.
#[derive(Debug)]
pub struct Breaker {
    route: String,
    /// Failures of the target as a whole.
    threshold: usize,
    /// Failures that may be an event's fault.
    events_threshold: usize,
    /// Whether the route asks with one event at a time, so that only different ones count.
    ordered: bool,
    state: watch::Sender<State>,
    /// Of the ids of events.
    hasher: RandomState,
    /// One probe at a time, in the order in which the deliveries came to wait.
    probe: Semaphore,
}

#[derive(Debug, Default)]
struct State {
    /// While the breaker is open.
    outage: Option<Outage>,
    /// Failures of the target as a whole since the last answer. What opens the breaker and then
    /// lets a request be sent is no outage any more, and opens it again at once if it comes back.
    refused: usize,
    /// Failures since the last answer that may be an event's fault; those of one event, once.
    doubted: usize,
    /// Events among these, and the last of them.
    failed: HashSet<u64>,
    failed_last: Option<u64>,
    suspects: Suspects,
}

#[derive(Debug)]
struct Outage {
    reason: String,
    backoff: Backoff,
    probe_at: Instant,
}

/// Events that failed, by the hash of their ids, and since when.
#[derive(Debug, Default)]
struct Suspects {
    events: HashMap<u64, Suspicion>,
    /// Rows of failures that an answer ended.
    rows: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Suspicion {
    /// It failed in this row.
    Failed(u64),
    /// It failed again after others were answered.
    Confirmed,
}

/// What a failure is put down to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The target, which is down: no attempt of the event.
    Target,
    /// The event, as far as is known: an attempt of it.
    Event,
}

/// Leave for one attempt. Held until its result is known.
pub struct Pass<'a> {
    _probe: Option<SemaphorePermit<'a>>,
}

impl Breaker {
    /// A closed breaker for a route that tries again `retries` times.
    pub fn new(route: &str, retries: usize, ordered: bool) -> Self {
        let breaker = Self {
            route: route.to_owned(),
            threshold: retries.clamp(1, FAILURES_MAX),
            events_threshold: if ordered {
                ORDERED_FAILURES
            } else {
                retries.clamp(2, FAILURES_MAX)
            },
            ordered,
            state: watch::Sender::default(),
            hasher: RandomState::new(),
            probe: Semaphore::new(1),
        };
        breaker.paused().set(0.0);
        breaker
    }

    /// Why the route is paused, while it is.
    pub fn open(&self) -> Option<String> {
        let state = self.state.borrow();
        state.outage.as_ref().map(|outage| outage.reason.clone())
    }

    /// Waits until an attempt may be made.
    pub async fn pass(&self) -> Pass<'_> {
        if self.probe_at().is_none() {
            return Pass { _probe: None };
        }
        let mut state = self.state.subscribe();
        loop {
            if self.probe_at().is_none() {
                return Pass { _probe: None };
            }
            tokio::select! {
                // An error says that this breaker is gone, together with the caller.
                _closed = state.wait_for(|state| state.outage.is_none()) => {}
                probe = self.turn() => return Pass { _probe: probe },
            }
        }
    }

    /// Waits for the turn to probe.
    async fn turn(&self) -> Option<SemaphorePermit<'_>> {
        let probe = self.probe.acquire().await.ok();
        if let Some(at) = self.probe_at() {
            tokio::time::sleep_until(at).await;
        }
        probe
    }

    /// The target answered: it is there, whatever it said of the event.
    pub fn answered(&self) {
        if self.state.borrow().is_clear() {
            return;
        }
        self.state.send_if_modified(|state| {
            state.refused = 0;
            state.doubted = 0;
            state.failed.clear();
            state.failed_last = None;
            state.suspects.rows += 1;
            self.end_outage(state)
        });
    }

    /// The target as a whole failed, in the `last` attempt of an event or before, and may have said
    /// when to ask again. What it fails in its last attempt is not lost by that: the breaker opens.
    pub fn failed(&self, reason: &str, retry_after: Option<Duration>, last: bool) -> Cause {
        let mut cause = Cause::Event;
        self.state.send_if_modified(|state| {
            state.refused += 1;
            if last {
                state.refused = state.refused.max(self.threshold);
            }
            if state.outage.is_some() || state.refused >= self.threshold {
                self.put_off(state, reason, retry_after);
                cause = Cause::Target;
            }
            false
        });
        cause
    }

    /// An event failed, by its own fault or by that of the target, which may have said when to ask
    /// again.
    pub fn doubted(&self, event_id: &str, reason: &str, retry_after: Option<Duration>) -> Cause {
        let event = self.hasher.hash_one(event_id);
        let mut cause = Cause::Event;
        self.state.send_if_modified(|state| {
            // The target was there to be asked.
            state.refused = state.refused.min(self.threshold - 1);
            let own_fault = state.suspects.confirm(event);
            if !own_fault {
                self.count(state, event);
            }
            if state.doubted < self.events_threshold {
                return self.end_outage(state);
            }
            if !own_fault {
                self.put_off(state, reason, retry_after);
                cause = Cause::Target;
            } else if let Some(outage) = &mut state.outage {
                outage.wait(retry_after);
            }
            false
        });
        cause
    }

    /// Counts the failure of an event that may be the target's.
    fn count(&self, state: &mut State, event: u64) {
        let another = state.failed.insert(event);
        // Few events that fail in turn, as in an outage at night, say it as well as many.
        let in_turn = !self.ordered && state.failed_last != Some(event);
        state.failed_last = Some(event);
        state.doubted += usize::from(another || in_turn);
        if let Some(outage) = &mut state.outage
            && another
            && state.failed.len() <= ASKED_SOON
        {
            outage.backoff.reset();
        }
    }

    /// Opens the breaker; while it is open, puts the next probe off.
    fn put_off(&self, state: &mut State, reason: &str, retry_after: Option<Duration>) {
        if state.outage.is_none() {
            warn!(
                route = self.route,
                reason, "the target is down, the route pauses"
            );
            self.paused().set(1.0);
        }
        let outage = state.outage.get_or_insert_with(Outage::new);
        reason.clone_into(&mut outage.reason);
        outage.wait(retry_after);
    }

    /// Closes the breaker: whether it was open.
    fn end_outage(&self, state: &mut State) -> bool {
        let was_open = state.outage.take().is_some();
        if was_open {
            info!(route = self.route, "the target is back, the route goes on");
            self.paused().set(0.0);
        }
        was_open
    }

    /// Its route is at work no more, and so not paused.
    pub fn retire(&self) {
        self.paused().set(0.0);
    }

    fn paused(&self) -> metrics::Gauge {
        metrics::gauge!("subscription_paused", "route" => self.route.clone())
    }

    fn probe_at(&self) -> Option<Instant> {
        let state = self.state.borrow();
        state.outage.as_ref().map(|outage| outage.probe_at)
    }
}

impl State {
    /// Nothing failed since the last answer.
    fn is_clear(&self) -> bool {
        self.refused == 0 && self.doubted == 0 && self.outage.is_none()
    }
}

impl Outage {
    fn new() -> Self {
        Self {
            reason: String::new(),
            backoff: Backoff::new(),
            probe_at: Instant::now(),
        }
    }

    /// Puts the next probe off.
    fn wait(&mut self, retry_after: Option<Duration>) {
        let asked = retry_after.unwrap_or_default().min(PAUSE_MAX);
        self.probe_at = Instant::now() + self.backoff.next_wait().max(asked);
    }
}

impl Suspects {
    /// Notes one more failure of an event: whether it is known by now to fail by itself.
    fn confirm(&mut self, event: u64) -> bool {
        let suspicion = match self.events.get(&event) {
            Some(Suspicion::Failed(row)) if *row < self.rows => Suspicion::Confirmed,
            Some(suspicion) => *suspicion,
            None => Suspicion::Failed(self.rows),
        };
        if self.events.len() >= SUSPECTS_MAX && !self.events.contains_key(&event) {
            self.events.clear();
        }
        self.events.insert(event, suspicion);
        suspicion == Suspicion::Confirmed
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use futures_util::FutureExt as _;

    use super::*;

    fn open() -> Arc<Breaker> {
        let breaker = Breaker::new("route", 5, false);
        for _ in 0..5 {
            breaker.failed("refused", None, false);
        }
        Arc::new(breaker)
    }

    #[tokio::test(start_paused = true)]
    async fn opens_after_failures_in_a_row_only() {
        let breaker = Breaker::new("route", 5, false);
        for _ in 0..100 {
            for _ in 0..4 {
                breaker.failed("refused", None, false);
            }
            breaker.answered();
        }
        assert!(breaker.open().is_none());
        assert!(breaker.pass().now_or_never().is_some());
        for _ in 0..5 {
            breaker.failed("refused", None, false);
        }
        assert_eq!(breaker.open().as_deref(), Some("refused"));
        assert!(breaker.pass().now_or_never().is_none());
    }

    #[test]
    fn opens_before_a_route_with_few_attempts_gives_up() {
        for (retries, threshold) in [(0, 1), (1, 1), (2, 2), (9, 5)] {
            assert_eq!(Breaker::new("route", retries, false).threshold, threshold);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn lets_one_probe_through_at_a_time_and_all_once_it_succeeds() {
        let breaker = open();
        let waiting: Vec<_> = (0..10)
            .map(|_| {
                let breaker = breaker.clone();
                tokio::spawn(async move {
                    let _pass = breaker.pass().await;
                    tokio::time::sleep(Duration::from_secs(60)).await;
                    breaker.answered();
                })
            })
            .collect();
        tokio::time::sleep(Duration::from_secs(30)).await;
        assert_eq!(breaker.probe.available_permits(), 0, "nobody probes");
        assert!(waiting.iter().all(|task| !task.is_finished()));
        let start = Instant::now();
        for task in waiting {
            task.await.unwrap();
        }
        // The probe's minute, and then the minute of all others together.
        assert!(
            start.elapsed() <= Duration::from_secs(100),
            "{:?}",
            start.elapsed()
        );
        assert!(breaker.open().is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn probes_come_within_seconds_and_no_sooner_than_asked() {
        let breaker = open();
        for _ in 0..20 {
            let start = Instant::now();
            drop(breaker.pass().await);
            assert!(
                start.elapsed() <= Duration::from_secs(6),
                "{:?}",
                start.elapsed()
            );
            breaker.failed("refused", None, false);
        }
        for (asked, least, most) in [(20, 20, 20), (1_000_000, 60, 60)] {
            breaker.failed("busy", Some(Duration::from_secs(asked)), false);
            let start = Instant::now();
            drop(breaker.pass().await);
            let waited = start.elapsed().as_secs();
            assert!((least..=most).contains(&waited), "{waited}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn one_event_alone_does_not_open_it_and_different_ones_do() {
        let breaker = Breaker::new("route", 5, false);
        for _ in 0..100 {
            assert_eq!(breaker.doubted("poison", "hung up", None), Cause::Event);
        }
        for event in ["b", "c", "d"] {
            assert_eq!(breaker.doubted(event, "hung up", None), Cause::Event);
        }
        assert!(breaker.open().is_none());
        assert_eq!(breaker.doubted("e", "hung up", None), Cause::Target);
        assert_eq!(breaker.open().as_deref(), Some("hung up"));
        // Who failed before anything was answered is no more to blame than the others.
        for event in ["poison", "b", "f"] {
            assert_eq!(breaker.doubted(event, "hung up", None), Cause::Target);
        }
    }

    /// A route with little to do has few events in hand when its target goes away.
    #[test]
    fn a_few_events_that_fail_in_turn_open_it_where_others_could_be_asked() {
        let breaker = Breaker::new("route", 5, false);
        for event in ["a", "b", "c", "a"] {
            assert_eq!(breaker.doubted(event, "answered 503", None), Cause::Event);
        }
        assert_eq!(breaker.doubted("b", "answered 503", None), Cause::Target);
    }

    #[tokio::test(start_paused = true)]
    async fn what_fails_again_between_answers_is_the_cause_itself() {
        let breaker = Breaker::new("route", 2, false);
        let poison: Vec<_> = (0..20).map(|number| number.to_string()).collect();
        for event in &poison {
            breaker.doubted(event, "hung up", None);
        }
        assert!(breaker.open().is_some());
        breaker.answered();
        for _ in 0..10 {
            for event in &poison {
                assert_eq!(breaker.doubted(event, "hung up", None), Cause::Event);
            }
        }
        assert!(breaker.open().is_none());
        // An outage opens it all the same, and these are none of its attempts then either.
        assert_eq!(breaker.doubted("a", "hung up", None), Cause::Event);
        assert_eq!(breaker.doubted("b", "hung up", None), Cause::Target);
        let begun = Instant::now();
        assert_eq!(breaker.doubted("7", "hung up", None), Cause::Event);
        drop(breaker.pass().await);
        assert!(begun.elapsed() >= Duration::from_millis(100));
    }

    #[tokio::test(start_paused = true)]
    async fn others_are_asked_soon_and_the_same_ones_ever_less_often() {
        let breaker = Breaker::new("route", 2, false);
        breaker.doubted("0", "hung up", None);
        breaker.doubted("1", "hung up", None);
        let begun = Instant::now();
        for event in 2..ASKED_SOON {
            drop(breaker.pass().await);
            breaker.doubted(&event.to_string(), "hung up", None);
        }
        let took = begun.elapsed();
        assert!(took <= Duration::from_secs(5), "{took:?}");
        let begun = Instant::now();
        for event in 0..ASKED_SOON {
            drop(breaker.pass().await);
            breaker.doubted(&event.to_string(), "hung up", None);
        }
        let took = begun.elapsed();
        assert!(took >= Duration::from_secs(20), "{took:?}");
    }

    #[test]
    fn few_bad_events_in_order_are_no_outage_whatever_the_attempts() {
        let breaker = Breaker::new("route", 2, true);
        for number in 1..ORDERED_FAILURES {
            for _attempt in 0..3 {
                let cause = breaker.doubted(&number.to_string(), "hung up", None);
                assert_eq!(cause, Cause::Event);
            }
        }
        assert_eq!(breaker.doubted("last", "hung up", None), Cause::Target);
        let breaker = Breaker::new("route", 2, true);
        assert_eq!(breaker.failed("refused", None, false), Cause::Event);
        assert_eq!(breaker.failed("refused", None, false), Cause::Target);
    }

    /// A target that crashes on an event is away until somebody has started it again, and has no
    /// other event to answer meanwhile.
    #[test]
    fn one_event_that_crashes_its_target_makes_its_attempts_between_refusals() {
        for ordered in [false, true] {
            let breaker = Breaker::new("route", 2, ordered);
            for _attempt in 0..3 {
                assert_eq!(breaker.doubted("poison", "hung up", None), Cause::Event);
                assert!(breaker.open().is_none(), "its request was sent");
                breaker.failed("refused", None, false);
                assert_eq!(breaker.failed("refused", None, false), Cause::Target);
                assert!(breaker.open().is_some());
            }
            // Different ones say that it is no better than away.
            for event in 0..ORDERED_FAILURES {
                breaker.doubted(&event.to_string(), "answered 503", None);
            }
            assert_eq!(breaker.doubted("next", "answered 503", None), Cause::Target);
            assert_eq!(breaker.failed("refused", None, false), Cause::Target);
            assert_eq!(breaker.doubted("next", "answered 503", None), Cause::Target);
        }
    }

    /// What waits for an outage that is over is not left waiting.
    #[tokio::test(start_paused = true)]
    async fn a_request_that_was_sent_lets_all_go_on_and_a_refusal_holds_them_again() {
        let breaker = open();
        let waiting = tokio::spawn({
            let breaker = breaker.clone();
            async move {
                let _probe = breaker.pass().await;
                breaker.pass().await;
            }
        });
        tokio::time::sleep(Duration::from_secs(30)).await;
        assert!(!waiting.is_finished(), "one probes, the other waits");
        assert_eq!(breaker.doubted("a", "hung up", None), Cause::Event);
        waiting.await.unwrap();
        assert_eq!(breaker.failed("refused", None, false), Cause::Target);
    }

    /// Events that die behind each other, hours apart, are no outage of more than one event.
    #[test]
    fn an_event_that_fails_alone_opens_it_no_sooner_for_one_that_failed_before() {
        let breaker = Breaker::new("route", 5, false);
        for event in ["a", "b", "c", "d"] {
            for _attempt in 0..6 {
                assert_eq!(breaker.doubted(event, "hung up", None), Cause::Event);
            }
        }
        assert_eq!(breaker.doubted("e", "hung up", None), Cause::Target);
    }

    #[test]
    fn a_refusal_in_the_last_attempt_opens_it() {
        let breaker = Breaker::new("route", 5, false);
        for _ in 0..5 {
            assert_eq!(breaker.doubted("a", "hung up", None), Cause::Event);
        }
        assert_eq!(breaker.failed("refused", None, true), Cause::Target);
        assert!(breaker.open().is_some());
    }

    #[test]
    fn remembers_so_many_events_and_no_more() {
        let breaker = Breaker::new("route", 5, false);
        for number in 0..3 * SUSPECTS_MAX {
            breaker.doubted(&number.to_string(), "hung up", None);
            breaker.answered();
            let state = breaker.state.borrow();
            assert!(state.suspects.events.len() <= SUSPECTS_MAX && state.failed.is_empty());
        }
    }
}
