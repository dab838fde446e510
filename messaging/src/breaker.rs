//! The circuit breaker of a route: while its target as a whole is down, nothing is pulled.
//!
//! After a few failures in a row that speak of the target rather than of the event, the breaker
//! opens. Deliveries then wait in hand, unacknowledged, and the queue stands still behind them.
//! Every few seconds one of them is let through as a probe; the first answer that is not a failure
//! of the target closes the breaker. So an outage, however long, costs the events no attempts.

use std::time::Duration;

use tokio::{
    sync::{Semaphore, SemaphorePermit, watch},
    time::Instant,
};
use tracing::{info, warn};

use crate::Backoff;

/// Failures in a row that open the breaker; fewer where a route makes fewer attempts, so that no
/// event becomes a dead letter before it opens.
const FAILURES_MAX: usize = 5;
/// A target cannot put off its probes for longer than this by its `Retry-After`.
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// See the module's documentation.
#[derive(Debug)]
pub struct Breaker {
    route: String,
    threshold: usize,
    state: watch::Sender<State>,
    /// One probe at a time, in the order in which the deliveries came to wait.
    probe: Semaphore,
}

#[derive(Debug)]
enum State {
    Closed { failures: usize },
    Open(Outage),
}

#[derive(Debug)]
struct Outage {
    reason: String,
    backoff: Backoff,
    probe_at: Instant,
}

/// Leave for one attempt. Held until its result is known.
pub struct Pass<'a> {
    _probe: Option<SemaphorePermit<'a>>,
}

impl Breaker {
    /// A closed breaker for a route that tries again `retries` times.
    pub fn new(route: &str, retries: usize) -> Self {
        let breaker = Self {
            route: route.to_owned(),
            threshold: retries.clamp(1, FAILURES_MAX),
            state: watch::Sender::new(State::Closed { failures: 0 }),
            probe: Semaphore::new(1),
        };
        breaker.paused().set(0.0);
        breaker
    }

    /// Why the route is paused, while it is.
    pub fn open(&self) -> Option<String> {
        match &*self.state.borrow() {
            State::Closed { .. } => None,
            State::Open(outage) => Some(outage.reason.clone()),
        }
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
                _closed = state.wait_for(|state| matches!(state, State::Closed { .. })) => {}
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
        if matches!(*self.state.borrow(), State::Closed { failures: 0 }) {
            return;
        }
        self.state.send_if_modified(|state| match state {
            State::Closed { failures } => {
                *failures = 0;
                false
            }
            State::Open(_) => {
                info!(route = self.route, "the target is back, the route goes on");
                self.paused().set(0.0);
                *state = State::Closed { failures: 0 };
                true
            }
        });
    }

    /// The target as a whole failed, and may have said when to ask again.
    pub fn failed(&self, reason: &str, retry_after: Option<Duration>) {
        self.state.send_modify(|state| {
            if let State::Closed { failures } = state {
                *failures += 1;
                if *failures < self.threshold {
                    return;
                }
                warn!(
                    route = self.route,
                    reason, "the target is down, the route pauses"
                );
                self.paused().set(1.0);
                *state = State::Open(Outage {
                    reason: reason.to_owned(),
                    backoff: Backoff::new(),
                    probe_at: Instant::now(),
                });
            }
            if let State::Open(outage) = state {
                let wait = outage.backoff.next_wait();
                let asked = retry_after.unwrap_or_default().min(PAUSE_MAX);
                outage.probe_at = Instant::now() + wait.max(asked);
                reason.clone_into(&mut outage.reason);
            }
        });
    }

    /// Its route is at work no more, and so not paused.
    pub fn retire(&self) {
        self.paused().set(0.0);
    }

    fn paused(&self) -> metrics::Gauge {
        metrics::gauge!("subscription_paused", "route" => self.route.clone())
    }

    fn probe_at(&self) -> Option<Instant> {
        match &*self.state.borrow() {
            State::Closed { .. } => None,
            State::Open(outage) => Some(outage.probe_at),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use futures_util::FutureExt as _;

    use super::*;

    fn open() -> Arc<Breaker> {
        let breaker = Breaker::new("route", 5);
        for _ in 0..5 {
            breaker.failed("refused", None);
        }
        Arc::new(breaker)
    }

    #[tokio::test(start_paused = true)]
    async fn opens_after_failures_in_a_row_only() {
        let breaker = Breaker::new("route", 5);
        for _ in 0..100 {
            for _ in 0..4 {
                breaker.failed("refused", None);
            }
            breaker.answered();
        }
        assert!(breaker.open().is_none());
        assert!(breaker.pass().now_or_never().is_some());
        for _ in 0..5 {
            breaker.failed("refused", None);
        }
        assert_eq!(breaker.open().as_deref(), Some("refused"));
        assert!(breaker.pass().now_or_never().is_none());
    }

    #[test]
    fn opens_before_a_route_with_few_attempts_gives_up() {
        for (retries, threshold) in [(0, 1), (1, 1), (2, 2), (9, 5)] {
            assert_eq!(Breaker::new("route", retries).threshold, threshold);
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
            breaker.failed("refused", None);
        }
        for (asked, least, most) in [(20, 20, 20), (1_000_000, 60, 60)] {
            breaker.failed("busy", Some(Duration::from_secs(asked)));
            let start = Instant::now();
            drop(breaker.pass().await);
            let waited = start.elapsed().as_secs();
            assert!((least..=most).contains(&waited), "{waited}");
        }
    }
}
