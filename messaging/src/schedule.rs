//! When the next attempt of an event is due.

use std::time::Duration;

/// The waits between the attempts of a route, each a level with a queue of its own.
#[derive(Clone, Debug)]
pub(crate) struct Schedule {
    levels: Vec<Duration>,
}

/// Where a copy waits, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wait {
    /// The level, which names the queue and is the longest that the copy can be there.
    pub(crate) level: Duration,
    /// The wait itself.
    pub(crate) delay: Duration,
}

impl Schedule {
    pub(crate) fn new(levels: Vec<Duration>) -> Self {
        Self { levels }
    }

    /// The wait after attempt number `attempt` failed, or `None` where that was the last one.
    ///
    /// It is the attempt's level less up to a fifth, so that events which failed together do not
    /// come back together. A target that asks for more by `retry_after` is given it, up to the
    /// longest level: an attempt that it asked not to get would be a wasted one.
    pub(crate) fn after(&self, attempt: u32, retry_after: Option<Duration>) -> Option<Wait> {
        let made = usize::try_from(attempt).unwrap_or(usize::MAX);
        let own = *self.levels.get(made.saturating_sub(1))?;
        let asked = retry_after.unwrap_or_default();
        if asked <= own {
            let delay = own.mul_f64(rand::random_range(0.8..=1.0)).max(asked);
            return Some(Wait { level: own, delay });
        }
        let fitting = self.levels.iter().filter(|level| **level >= asked).min();
        let longest = self.levels.iter().max();
        let level = *fitting.or(longest).unwrap_or(&own);
        Some(Wait {
            level,
            delay: asked.min(level),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn each_attempt_has_its_level_and_the_last_one_has_none() {
        let schedule = Schedule::new(vec![seconds(1), seconds(5)]);
        for _ in 0..1_000 {
            for (attempt, level) in [(1, seconds(1)), (2, seconds(5))] {
                let wait = schedule.after(attempt, None).unwrap();
                assert_eq!(wait.level, level);
                assert!(
                    wait.delay <= level && wait.delay >= level * 79 / 100,
                    "{wait:?}"
                );
            }
        }
        assert_eq!(schedule.after(3, None), None);
        assert_eq!(schedule.after(u32::MAX, Some(seconds(1))), None);
        assert_eq!(Schedule::new(Vec::new()).after(1, Some(seconds(1))), None);
    }

    #[test]
    fn waits_differ() {
        let schedule = Schedule::new(vec![seconds(10)]);
        let first = schedule.after(1, None);
        assert!((0..100).any(|_| schedule.after(1, None) != first));
    }

    #[test]
    fn what_the_target_asks_for_is_honoured_up_to_the_longest_level() {
        let schedule = Schedule::new(vec![seconds(1), seconds(30), seconds(5)]);
        let after = |asked| schedule.after(1, Some(seconds(asked))).unwrap();
        let wait = |level, delay| Wait {
            level: seconds(level),
            delay: seconds(delay),
        };
        assert_eq!(after(3), wait(5, 3));
        assert_eq!(after(5), wait(5, 5));
        assert_eq!(after(20), wait(30, 20));
        assert_eq!(after(3_600), wait(30, 30));
        // Never sooner than asked, also within its own level.
        assert!((0..100).all(|_| after(1).delay == seconds(1)));
    }
}
