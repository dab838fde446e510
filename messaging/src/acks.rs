//! Which deliveries of a channel are done with, and which of them to acknowledge together.
//!
//! One `basic.ack` with `multiple` answers for every delivery up to its tag (AMQP 0-9-1, 1.8.3.13),
//! so its tag lies below every delivery that is in hand. What is done behind one in hand is held
//! back once, for a group that may take it along, and then acknowledged alone.

use std::{collections::BTreeSet, mem};

/// The deliveries of one channel. Each is in hand first, and then done or gone.
#[derive(Debug, Default)]
pub(crate) struct Acks {
    /// All up to this tag have come in.
    complete: u64,
    /// Those that came in before one with a smaller tag.
    early: BTreeSet<u64>,
    in_hand: BTreeSet<u64>,
    /// Done since the last group.
    done: Vec<u64>,
    /// Done before it, behind one that was in hand.
    held: Vec<u64>,
}

/// One `basic.ack`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ack {
    pub(crate) tag: u64,
    /// For all deliveries up to this one.
    pub(crate) multiple: bool,
}

impl Acks {
    /// A delivery came in. Those of one consumer come in the order of their tags, which begin with 1;
    /// where a second one follows the first on the channel, what that was sent comes before.
    pub(crate) fn take(&mut self, tag: u64) {
        self.in_hand.insert(tag);
        self.early.insert(tag);
        while self.early.remove(&(self.complete + 1)) {
            self.complete += 1;
        }
    }

    /// Its event is safe elsewhere.
    pub(crate) fn done(&mut self, tag: u64) {
        if self.in_hand.remove(&tag) {
            self.done.push(tag);
        }
    }

    /// It was answered otherwise, and RabbitMQ knows its tag no more.
    pub(crate) fn gone(&mut self, tag: u64) {
        self.in_hand.remove(&tag);
    }

    /// How many are done and not acknowledged.
    pub(crate) fn waiting(&self) -> usize {
        self.done.len() + self.held.len()
    }

    /// Whether nothing is in hand, so that a group gets no larger by waiting.
    pub(crate) fn is_idle(&self) -> bool {
        self.in_hand.is_empty()
    }

    /// What to acknowledge now, in the order in which it must be sent.
    pub(crate) fn group(&mut self) -> Vec<Ack> {
        let (done, held) = (mem::take(&mut self.done), mem::take(&mut self.held));
        // None of those to come may be answered for either.
        let to_come = self.complete + 1;
        let end = (self.in_hand.first()).map_or(to_come, |first| to_come.min(*first));
        let together = done.iter().chain(&held).filter(|tag| **tag < end).max();
        let together = together.map(|tag| Ack {
            tag: *tag,
            multiple: true,
        });
        let alone = held.iter().filter(|tag| **tag > end).map(|tag| Ack {
            tag: *tag,
            multiple: false,
        });
        let group = together.into_iter().chain(alone).collect();
        self.held = done;
        self.held.retain(|tag| *tag > end);
        group
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const fn up_to(tag: u64) -> Ack {
        Ack {
            tag,
            multiple: true,
        }
    }

    const fn alone(tag: u64) -> Ack {
        Ack {
            tag,
            multiple: false,
        }
    }

    fn taken(count: u64) -> Acks {
        let mut acks = Acks::default();
        (1..=count).for_each(|tag| acks.take(tag));
        acks
    }

    #[test]
    fn what_is_done_in_whatever_order_is_one_group() {
        let mut acks = taken(5);
        for tag in [3, 1, 2] {
            acks.done(tag);
        }
        assert_eq!(acks.group(), [up_to(3)]);
        assert!(acks.group().is_empty() && !acks.is_idle());
        acks.done(5);
        acks.gone(4); // rejected
        assert!(acks.is_idle());
        assert_eq!(acks.group(), [up_to(5)]);
    }

    #[test]
    fn none_answers_for_one_that_comes_later() {
        let mut acks = Acks::default();
        for tag in [1, 2, 5] {
            acks.take(tag);
            acks.done(tag);
        }
        assert_eq!(acks.group(), [up_to(2)]);
        assert_eq!(acks.group(), [alone(5)]);
        acks.take(3);
        acks.take(4);
        acks.done(4);
        assert!(acks.group().is_empty());
        acks.done(3);
        assert_eq!(acks.group(), [up_to(4)]);
    }

    #[test]
    fn what_is_done_behind_a_slow_one_is_held_back_once() {
        let mut acks = taken(5);
        acks.done(2);
        acks.done(3);
        assert!(acks.group().is_empty());
        acks.done(5);
        assert_eq!(acks.waiting(), 3);
        assert_eq!(acks.group(), [alone(2), alone(3)]);
        acks.done(1);
        assert_eq!(acks.group(), [up_to(1), alone(5)]);
        acks.done(4);
        assert_eq!(acks.group(), [up_to(4)]);
        assert_eq!(acks.waiting(), 0);
    }

    #[test]
    fn what_is_told_twice_is_acknowledged_once() {
        let mut acks = taken(1);
        acks.done(1);
        assert_eq!(acks.group(), [up_to(1)]);
        acks.done(1);
        assert!(acks.group().is_empty());
    }

    proptest! {
        /// Whatever happens in whatever order, RabbitMQ is told of the done ones alone, of each by
        /// the second group at the latest, and of no tag that it does not know.
        #[test]
        fn only_what_is_done_is_acknowledged_and_all_of_it(
            steps in proptest::collection::vec((0..4_u8, any::<prop::sample::Index>()), 1..200),
        ) {
            let mut acks = Acks::default();
            let (mut last, mut in_hand, mut done) = (0, Vec::new(), BTreeSet::new());
            let check = |acks: &mut Acks, in_hand: &[u64], done: &mut BTreeSet<u64>| {
                for Ack { tag, multiple } in acks.group() {
                    prop_assert!(done.remove(&tag), "{tag} is unknown");
                    if multiple {
                        prop_assert!(in_hand.iter().all(|other| *other > tag));
                        done.retain(|other| *other > tag);
                    }
                }
                Ok(())
            };
            for (what, which) in steps {
                match what {
                    0 | 1 => {
                        last += 1;
                        acks.take(last);
                        in_hand.push(last);
                    }
                    2 if !in_hand.is_empty() => {
                        let tag = in_hand.remove(which.index(in_hand.len()));
                        acks.done(tag);
                        done.insert(tag);
                    }
                    _ => check(&mut acks, &in_hand, &mut done)?,
                }
            }
            check(&mut acks, &in_hand, &mut done)?;
            check(&mut acks, &in_hand, &mut done)?;
            prop_assert!(done.is_empty(), "{done:?} are never acknowledged");
        }
    }
}
