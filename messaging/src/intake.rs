//! What the deliveries of one connection take of the memory budget.
//!
//! AMQP bounds deliveries by their number alone. A consumer lets RabbitMQ send few ahead while they
//! are large (`ahead.rs`), but what comes first, or is much larger than what came before, comes all
//! the same, and all routes share the connection. So each delivery takes its bytes before lapin gets it
//! (`wire/frames.rs`). One that finds no room arrives without its body, and goes back to its queue, to
//! come again once there is room. Nothing that is read waits: other routes and heartbeats get through.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use budget::{Budget, Share};
use tokio::{sync::oneshot, time::timeout};

/// One part of so many of the budget is for one consumer to be sent ahead.
const CONSUMER_PARTS: usize = 4;
/// Large deliveries that wait for room leave one part of so many.
const RESERVE_PARTS: usize = 8;
/// Headers in memory take so many times the bytes that they came in: each entry is a node of a tree.
const HEADER_COST: usize = 16;
/// A delivery that comes again says how often it came (`x-delivery-count`), and so takes more.
const COUNT_BYTES: usize = 64 * HEADER_COST;
/// How long room is kept for a delivery that was given back. It may come to another instance.
const KEPT_FOR: Duration = Duration::from_secs(5);

/// The deliveries of one connection.
#[derive(Debug)]
pub(crate) struct Intake {
    budget: Budget,
    lanes: Mutex<HashMap<u16, Lane>>,
    /// One delivery gathers room at a time: two that each held half of it would wait for ever.
    turn: tokio::sync::Mutex<()>,
}

/// The deliveries of one channel.
#[derive(Debug)]
struct Lane {
    part: Budget,
    /// By delivery tag, those that lapin has.
    deliveries: HashMap<u64, Taken>,
    kept: Option<Kept>,
}

/// Room for the next delivery that comes again and fits in.
#[derive(Debug)]
struct Kept {
    share: Share,
    _used: oneshot::Sender<()>,
}

/// How a delivery came in.
#[derive(Debug)]
pub(crate) enum Taken {
    /// Whole, with its bytes of the budget.
    Whole(Share),
    /// Without its body, for want of so many bytes.
    LeftOut(usize),
}

impl Taken {
    /// What the delivery takes, or would take.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Whole(share) => share.bytes(),
            Self::LeftOut(bytes) => *bytes,
        }
    }
}

impl Intake {
    pub(crate) fn new(budget: Budget) -> Self {
        Self {
            budget,
            lanes: Mutex::default(),
            turn: tokio::sync::Mutex::default(),
        }
    }

    /// Bytes that one consumer may be sent ahead.
    pub(crate) fn per_consumer(budget: &Budget) -> usize {
        budget.total() / CONSUMER_PARTS
    }

    /// Takes the bytes of a delivery with these many in its header frame and its body. `false` where
    /// there is no room for it: its body is to be left out. Room that is kept is for one that comes
    /// `again`: a new one in its place would make it go back once more.
    ///
    /// A channel may hold as much as is free beside it, so that whoever holds nothing finds room
    /// however many hold much.
    pub(crate) fn admit(
        &self,
        channel: u16,
        tag: u64,
        again: bool,
        header: usize,
        body: u64,
    ) -> bool {
        let body = usize::try_from(body).unwrap_or(usize::MAX);
        let bytes = header.saturating_mul(HEADER_COST).saturating_add(body);
        let need = self.need(bytes);
        let free = self.free();
        let mut lanes = self.lock();
        let lane = self.lane(&mut lanes, channel);
        let fits = |kept: &mut Kept| again && kept.share.bytes() >= need;
        let kept = lane.kept.take_if(fits);
        let share = match kept {
            Some(Kept { mut share, .. }) => {
                share.shrink(need);
                Some(share)
            }
            None if lane.part.in_use().saturating_add(need) <= free => lane.part.try_take(need),
            None => None,
        };
        let is_whole = share.is_some();
        let taken = share.map_or(Taken::LeftOut(bytes), Taken::Whole);
        lane.deliveries.insert(tag, taken);
        is_whole
    }

    /// What a delivery took, for whoever has it from now on.
    pub(crate) fn take(&self, channel: u16, tag: u64) -> Option<Taken> {
        self.lock().get_mut(&channel)?.deliveries.remove(&tag)
    }

    /// The channel is closed: nobody takes its deliveries any more.
    pub(crate) fn forget(&self, channel: u16) {
        self.lock().remove(&channel);
    }

    /// Waits until there is room for a delivery that was left out for want of `bytes`, calls `give_back`,
    /// and keeps the room until the delivery is there again, or for a moment.
    pub(crate) async fn with_room<F: Future<Output = ()>>(
        &self,
        channel: u16,
        bytes: usize,
        give_back: impl FnOnce() -> F,
    ) {
        let (sender, used) = oneshot::channel();
        let bytes = bytes.saturating_add(COUNT_BYTES);
        let share = self.gather(channel, self.need(bytes)).await;
        let kept = Kept {
            share,
            _used: sender,
        };
        self.lane(&mut self.lock(), channel).kept = Some(kept);
        give_back().await;
        // It ends with an error when the sender is dropped: with the room that was used.
        if timeout(KEPT_FOR, used).await.is_err() {
            self.lane(&mut self.lock(), channel).kept = None;
        }
    }

    /// Takes what comes free, but for the reserve, until it is enough.
    async fn gather(&self, channel: u16, need: usize) -> Share {
        let _turn = self.turn.lock().await;
        let mut share = {
            let mut lanes = self.lock();
            self.lane(&mut lanes, channel).part.empty_share()
        };
        loop {
            let freed = self.budget.freed();
            let missing = need - share.bytes();
            let more = missing.min(self.free().saturating_sub(self.reserve()));
            if share.try_grow(more) && more == missing {
                return share;
            }
            freed.await;
        }
    }

    /// What is larger than the budget takes nearly all of it, and so goes alone.
    fn need(&self, bytes: usize) -> usize {
        bytes.min(self.budget.total() - self.reserve())
    }

    fn reserve(&self) -> usize {
        self.budget.total() / RESERVE_PARTS
    }

    fn free(&self) -> usize {
        self.budget.total().saturating_sub(self.budget.in_use())
    }

    fn lane<'a>(&self, lanes: &'a mut HashMap<u16, Lane>, channel: u16) -> &'a mut Lane {
        lanes.entry(channel).or_insert_with(|| Lane {
            part: self.budget.part(usize::MAX),
            deliveries: HashMap::new(),
            kept: None,
        })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u16, Lane>> {
        // A panic while it is held leaves whole entries behind.
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    const ALL: usize = 8_000;

    fn intake() -> Arc<Intake> {
        Arc::new(Intake::new(Budget::new(ALL)))
    }

    #[test]
    fn a_channel_holds_at_most_as_much_as_it_leaves_to_others() {
        let intake = intake();
        let admitted = |channel, body| {
            let mut tags = 1..;
            tags.find(|tag| !intake.admit(channel, *tag, false, 0, body))
                .unwrap_or(0)
                - 1
        };
        assert_eq!(admitted(1, 1_000), 4);
        assert_eq!(admitted(2, 1_000), 2);
        // Others find room all the same.
        assert!(intake.admit(3, 1, false, 0, 1_000) && intake.admit(4, 1, false, 10, 100));
        assert!(matches!(intake.take(1, 5), Some(Taken::LeftOut(1_000))));
        drop(intake.take(1, 1));
        assert!(intake.admit(5, 1, false, 0, 1_000));
        for channel in 1..6 {
            intake.forget(channel);
        }
        assert_eq!(intake.budget.in_use(), 0);
    }

    #[test]
    fn what_is_larger_than_all_goes_alone_and_leaves_a_reserve() {
        let intake = intake();
        assert!(intake.admit(1, 1, false, usize::MAX, u64::MAX));
        assert!(!intake.admit(2, 1, false, 0, u64::MAX));
        assert!(intake.admit(2, 2, false, 0, 500));
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_left_out_comes_again_when_there_is_room() {
        let intake = intake();
        assert!(intake.admit(1, 1, false, 0, 3_000) && intake.admit(2, 1, false, 0, 2_000));
        assert!(!intake.admit(3, 1, false, 0, 6_000));
        let held = [intake.take(1, 1), intake.take(2, 1)];
        let waiting = intake.clone();
        let given_back = tokio::spawn(async move {
            let again = waiting.clone();
            let again = || async move { assert!(again.admit(3, 2, true, 30, 6_000)) };
            waiting.with_room(3, 6_000, again).await;
        });
        tokio::task::yield_now().await;
        // It gathers what comes free, which nobody takes before it.
        assert!(!intake.admit(1, 2, false, 0, 1_500));
        drop(held);
        timeout(Duration::from_secs(1), given_back)
            .await
            .unwrap()
            .unwrap();
        assert!(matches!(intake.take(3, 2), Some(Taken::Whole(_))));
        assert_eq!(intake.budget.in_use(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn room_that_nobody_comes_for_is_free_again() {
        let intake = intake();
        intake.with_room(1, 6_000, async || {}).await;
        assert_eq!(intake.budget.in_use(), 0);
    }
}
