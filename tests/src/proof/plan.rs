//! What a trial consists of.

use crate::proof::Destination;

/// How much is published, where to, and what is done to the publisher meanwhile.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Messages, each of which is published once.
    pub publishes: usize,
    /// Of them, those whose key has no queue.
    pub unroutable_percent: usize,
    /// Of them, those to each of the two queues that are full now and then.
    pub full_percent: usize,
    /// Connections that are broken under the publisher.
    pub losses: usize,
    /// Callers, each of which waits for its verdict before it publishes again.
    pub in_flight: usize,
    /// Publishers, each with a channel of its own on the one connection.
    pub channels: usize,
}

/// How often the queues that can be full are emptied.
pub(super) const EMPTIED: usize = 40;

impl Plan {
    /// Where a number goes. The numbers of a destination are spread evenly.
    pub fn destination(&self, number: usize) -> Destination {
        // Steps by the golden ratio fall everywhere alike and repeat nowhere (Knuth, 6.4).
        let spread = (number as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32;
        let percent = usize::try_from((spread * 100) >> 32).unwrap_or_default();
        let quorum = self.unroutable_percent;
        let classic = quorum + self.full_percent;
        let bound = classic + self.full_percent;
        match percent {
            percent if percent < quorum => Destination::Nowhere,
            percent if percent < classic => Destination::FullQuorum,
            percent if percent < bound => Destination::FullClassic,
            _ => Destination::Bound,
        }
    }

    /// How many messages make a queue full that can be: about half of what comes to it before it is
    /// emptied again.
    pub(super) fn full_at(&self) -> usize {
        (self.publishes * self.full_percent / 100 / EMPTIED / 2).max(1)
    }

    /// The number with which the loss `index` is due, or the end. The losses are spread evenly.
    pub(super) fn due(&self, index: usize) -> usize {
        self.publishes * (index + 1) / (self.losses + 1)
    }

    /// The publishes that may run on after a loss is due and before it comes, so that it comes under
    /// full load: what the callers have on their way twice over, but no more than half of the way
    /// to the next loss.
    pub(super) fn lead(&self) -> usize {
        (2 * self.in_flight).min(self.publishes / (self.losses + 1) / 2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn destinations_have_their_shares() {
        let plan = Plan {
            publishes: 100_000,
            unroutable_percent: 1,
            full_percent: 2,
            losses: 0,
            in_flight: 1,
            channels: 1,
        };
        let share = |destination| {
            let numbers = (0..plan.publishes).filter(|n| plan.destination(*n) == destination);
            numbers.count()
        };
        for (destination, expected) in [
            (Destination::Nowhere, 1_000),
            (Destination::FullQuorum, 2_000),
            (Destination::FullClassic, 2_000),
            (Destination::Bound, 95_000),
        ] {
            let share = share(destination);
            assert!(share.abs_diff(expected) < 20, "{destination:?}: {share}");
        }
    }
}
