//! How many attempts a route makes at one time: as many as its target copes with.
//!
//! The limit begins small and grows while it is what holds attempts back: with every answer until
//! the target first says that it is overloaded, or does not answer, and by one with every round of
//! answers from then on. An overload halves it, once for all attempts that were under way (additive
//! increase, multiplicative decrease, as TCP does it; RFC 5681, 3.1).
//!
//! It heeds no latency. A target that gathers concurrent requests into one write answers each the
//! later the more there are, and all of them the sooner.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::{Semaphore, SemaphorePermit};

/// What a route begins with.
const START: usize = 8;

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct Limit {
    max: usize,
    slots: Semaphore,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    limit: usize,
    /// Slots that there are: more than the limit after it fell, until they come back.
    slots: usize,
    /// Answers since the limit last rose.
    answers: usize,
    /// How often the limit fell.
    falls: u64,
}

/// Leave for one attempt.
#[derive(Debug)]
pub(crate) struct Slot<'a> {
    limit: &'a Limit,
    permit: Option<SemaphorePermit<'a>>,
    falls: u64,
}

impl Limit {
    /// A limit that never exceeds `max`.
    pub(crate) fn new(max: usize) -> Self {
        let limit = START.min(max);
        Self {
            max,
            slots: Semaphore::new(limit),
            state: Mutex::new(State {
                limit,
                slots: limit,
                answers: 0,
                falls: 0,
            }),
        }
    }

    /// Waits until an attempt may be made.
    pub(crate) async fn slot(&self) -> Slot<'_> {
        // Never closed, so there is one.
        let permit = self.slots.acquire().await.ok();
        let falls = self.lock().falls;
        Slot {
            limit: self,
            permit,
            falls,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic while it is held leaves whole numbers behind.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Slot<'_> {
    /// The target took the attempt.
    pub(crate) fn answered(&self) {
        let Limit { max, slots, .. } = self.limit;
        // One that holds nothing back has not shown that more would be taken.
        if slots.available_permits() > 0 {
            return;
        }
        let mut state = self.limit.lock();
        if self.falls != state.falls {
            return;
        }
        state.answers += 1;
        if state.falls == 0 || state.answers >= state.limit {
            state.answers = 0;
            state.limit = (state.limit + 1).min(*max);
            let more = state.limit.saturating_sub(state.slots);
            state.slots += more;
            slots.add_permits(more);
        }
    }

    /// The target could not take it.
    pub(crate) fn overloaded(&self) {
        let mut state = self.limit.lock();
        if self.falls == state.falls {
            state.falls += 1;
            state.answers = 0;
            state.limit = (state.limit / 2).max(1);
            let fewer = state.slots - state.limit.min(state.slots);
            state.slots -= self.limit.slots.forget_permits(fewer);
        }
    }
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        let mut state = self.limit.lock();
        if state.slots > state.limit
            && let Some(permit) = self.permit.take()
        {
            permit.forget();
            state.slots -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::RefCell, time::Duration};

    use futures_util::{FutureExt as _, future::join_all};
    use tokio::time::{Instant, sleep, timeout};

    use super::*;

    /// How many attempts begin in each second, of more than there can be, where each takes a second
    /// and is answered if it began in one of `answered`.
    async fn begun(limit: &Limit, answered: impl Fn(usize) -> bool) -> Vec<usize> {
        const SECONDS: usize = 8;
        let (start, begun) = (Instant::now(), RefCell::new(vec![0; SECONDS]));
        let attempts = (0..2_000).map(async |_| {
            let slot = limit.slot().await;
            let second = start.elapsed().as_millis() as usize / 1_000;
            begun.borrow_mut()[second] += 1;
            sleep(Duration::from_secs(1)).await;
            if answered(second) {
                slot.answered();
            } else {
                slot.overloaded();
            }
        });
        let end = Duration::from_millis(1_000 * SECONDS as u64 - 500);
        assert!(timeout(end, join_all(attempts)).await.is_err());
        begun.into_inner()
    }

    #[tokio::test(start_paused = true)]
    async fn grows_to_its_most_while_it_holds_attempts_back() {
        let all = begun(&Limit::new(100), |_| true).await;
        assert_eq!(all, [8, 16, 32, 64, 100, 100, 100, 100]);
        assert_eq!(begun(&Limit::new(1), |_| true).await, [1; 8]);
        let idle = Limit::new(100);
        for _ in 0..1_000 {
            idle.slot().await.answered();
        }
        assert_eq!(idle.lock().limit, START);
    }

    #[tokio::test(start_paused = true)]
    async fn falls_by_half_for_each_round_that_overloads_and_grows_slowly_then() {
        let all = begun(&Limit::new(100), |second| !(2..5).contains(&second)).await;
        assert_eq!(all, [8, 16, 32, 16, 8, 4, 5, 6]);
        let all = begun(&Limit::new(100), |_| false).await;
        assert_eq!(all, [8, 4, 2, 1, 1, 1, 1, 1]);
    }

    #[tokio::test]
    async fn what_is_under_way_when_it_falls_leaves_its_slots_to_nobody() {
        let limit = Limit::new(8);
        let mut slots = join_all((0..8).map(|_| limit.slot())).await;
        slots[0].overloaded();
        for _ in 0..4 {
            slots.pop();
            assert!(limit.slot().now_or_never().is_none());
        }
        drop(slots);
        let free = std::iter::from_fn(|| limit.slot().now_or_never());
        assert_eq!(free.collect::<Vec<_>>().len(), 4);
    }
}
