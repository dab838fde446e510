//! How long to wait before trying again.
//!
//! The `backoff` crate serves as the policy only: its retry loops have no limit of attempts and
//! no cancellation, so the loops are this crate's own and ask here for the next wait.

use std::time::Duration;

use backoff::{ExponentialBackoff, ExponentialBackoffBuilder, backoff::Backoff as _};

/// Waits that double from 200 ms to about 4 s, each spread by ±50 % so that the services of a
/// whole cluster do not come back in step. It never gives up.
#[derive(Debug)]
pub struct Backoff {
    policy: ExponentialBackoff,
    attempt: u32,
}

impl Backoff {
    const FIRST: Duration = Duration::from_millis(200);
    const MAX: Duration = Duration::from_secs(4);

    /// A sequence at its start.
    pub fn new() -> Self {
        let policy = ExponentialBackoffBuilder::new()
            .with_initial_interval(Self::FIRST)
            .with_multiplier(2.0)
            .with_randomization_factor(0.5)
            .with_max_interval(Self::MAX)
            .with_max_elapsed_time(None)
            .build();
        Self { policy, attempt: 0 }
    }

    /// The next wait.
    pub fn next_wait(&mut self) -> Duration {
        self.attempt = self.attempt.saturating_add(1);
        // `None` means that the elapsed time is used up, and it is without limit here.
        self.policy.next_backoff().unwrap_or(Self::MAX)
    }

    /// How many waits were asked for since the start or the last reset.
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// Starts over, after a success.
    pub fn reset(&mut self) {
        self.policy.reset();
        self.attempt = 0;
    }
}

impl Default for Backoff {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grows_jittered_up_to_the_cap_and_never_ends() {
        let mut backoff = Backoff::new();
        let waits: Vec<_> = (0..1_000).map(|_| backoff.next_wait()).collect();
        assert!(waits[0] >= Duration::from_millis(100) && waits[0] <= Duration::from_millis(300));
        assert!(
            waits[20..]
                .iter()
                .all(|wait| *wait >= Duration::from_secs(2))
        );
        assert!(waits.iter().all(|wait| *wait <= Duration::from_secs(6)));
        assert!(
            waits[20..].windows(2).any(|pair| pair[0] != pair[1]),
            "no jitter"
        );
        assert_eq!(backoff.attempt(), 1_000);
        backoff.reset();
        assert!(backoff.next_wait() <= Duration::from_millis(300));
    }
}
