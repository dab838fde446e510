//! A limit of attempts in a second.

use std::{
    num::NonZeroU32,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// Gives out turns at even distances.
#[derive(Debug)]
pub(crate) struct Pace {
    distance: Duration,
    next: Mutex<Instant>,
}

impl Pace {
    pub(crate) fn new(per_second: NonZeroU32) -> Self {
        Self {
            distance: Duration::from_secs(1) / per_second.get(),
            next: Mutex::new(Instant::now()),
        }
    }

    /// Waits for the next turn. What was not used in time is not made up for.
    pub(crate) async fn turn(&self) {
        let at = {
            let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
            let at = (*next).max(Instant::now());
            *next = at + self.distance;
            at
        };
        tokio::time::sleep_until(at).await;
    }
}

#[cfg(test)]
mod tests {
    use futures_util::future::join_all;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn so_many_turns_in_a_second_and_no_more_after_a_pause() {
        let pace = Pace::new(NonZeroU32::new(500).unwrap());
        for _ in 0..2 {
            let start = Instant::now();
            join_all((0..1_001).map(|_| pace.turn())).await;
            assert_eq!(start.elapsed().as_millis(), 2_000);
            tokio::time::sleep(Duration::from_secs(60)).await;
        }
    }
}
