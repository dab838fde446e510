//! How many deliveries RabbitMQ sends a consumer ahead: as many as have room in its part of the
//! memory budget, by the sizes of those that came.
//!
//! It begins with one, since nobody knows how large the first one is, and grows fourfold with each
//! round of deliveries that leaves room for that. A large one counts for a while, so that a few among
//! many small ones do not come all at once.

/// Growth of one round.
const GROWTH: u16 = 4;
/// The largest size counts less by one part of so many with each delivery.
const DECAY: usize = 256;

/// The prefetch of a consumer.
#[derive(Debug)]
pub(crate) struct Ahead {
    most: u16,
    /// Bytes that it may be sent ahead.
    room: Option<usize>,
    now: u16,
    /// Of the largest delivery of late.
    size: usize,
    /// Deliveries since it last changed.
    round: u16,
}

impl Ahead {
    /// One that never exceeds `most`; without a bound in bytes it is that from the beginning.
    pub(crate) fn new(most: u16, room: Option<usize>) -> Self {
        Self {
            most,
            room,
            now: if room.is_some() { most.min(1) } else { most },
            size: 1,
            round: 0,
        }
    }

    pub(crate) fn now(&self) -> u16 {
        self.now
    }

    /// Notes the size of a delivery: whether the prefetch is another one now.
    pub(crate) fn note(&mut self, bytes: usize) -> bool {
        let Some(room) = self.room else { return false };
        self.size = (self.size - self.size.div_ceil(DECAY)).max(bytes).max(1);
        self.round = self.round.saturating_add(1);
        let fits = u16::try_from(room / self.size).unwrap_or(u16::MAX);
        let fits = fits.clamp(1, self.most);
        let grows = self.round >= self.now && (fits / 2 >= self.now || fits == self.most);
        let next = if fits <= self.now / 2 {
            fits
        } else if grows {
            fits.min(self.now.saturating_mul(GROWTH))
        } else {
            self.now
        };
        let changes = next != self.now;
        if changes {
            self.now = next;
            self.round = 0;
        }
        changes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changes(ahead: &mut Ahead, sizes: impl IntoIterator<Item = usize>) -> Vec<u16> {
        let sizes = sizes.into_iter();
        let noted = sizes.map(|bytes| (ahead.note(bytes), ahead.now()));
        noted
            .filter(|(changes, _)| *changes)
            .map(|(_, now)| now)
            .collect()
    }

    #[test]
    fn it_begins_with_one_and_grows_while_deliveries_are_small() {
        let mut ahead = Ahead::new(100, Some(10_000));
        assert_eq!(ahead.now(), 1);
        assert_eq!(changes(&mut ahead, [1; 84]), [4, 16, 64]);
        assert_eq!(changes(&mut ahead, [10; 1_000]), [100]);
    }

    #[test]
    fn a_large_one_makes_it_small_at_once_and_for_a_while() {
        let mut ahead = Ahead::new(100, Some(10_000));
        changes(&mut ahead, [10; 1_000]);
        assert_eq!(changes(&mut ahead, [20_000]), [1]);
        assert!(changes(&mut ahead, [10; 100]).is_empty());
        let grown = changes(&mut ahead, [10; 3_000]);
        assert_eq!((grown.len() < 10, grown.last()), (true, Some(&100)));
        // As many as fit, and no change for each that is a little larger.
        let mut ahead = Ahead::new(100, Some(10_000));
        assert_eq!(changes(&mut ahead, [1_000, 900, 1_100].repeat(100)), [4, 9]);
    }

    #[test]
    fn it_stays_between_one_and_the_most() {
        let mut ahead = Ahead::new(1, Some(10));
        assert!(changes(&mut ahead, [0, usize::MAX, 5]).is_empty());
        let mut unbound = Ahead::new(100, None);
        assert!(changes(&mut unbound, [usize::MAX]).is_empty());
        assert_eq!(unbound.now(), 100);
    }
}
