//! Acknowledges the deliveries of a channel, as many together as are done within a moment.
//!
//! Each `basic.ack` costs a wake of lapin's thread, a write, and the work of the queue in RabbitMQ.
//! So a delivery that is done waits for others: until there are enough of them, or nothing is in
//! hand that could follow, or a few milliseconds are over.

use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::future::join_all;
use lapin::options::BasicAckOptions;
use tokio::{sync::Notify, time::timeout};
use tracing::debug;

use crate::{
    acks::{Ack, Acks},
    channel::call,
};

/// How long one that is done waits for others; twice that where one before it is still in hand.
const GROUP_WAIT: Duration = Duration::from_millis(5);

/// Groups of a prefetch. RabbitMQ has the others to send meanwhile.
const GROUPS_AHEAD: usize = 4;

/// The acknowledgements of one channel.
#[derive(Debug)]
pub(crate) struct Acker {
    state: Mutex<State>,
    /// There is something to acknowledge, or no reason to wait any more.
    changed: Notify,
    /// So many done ones wait for no others.
    enough: AtomicUsize,
}

#[derive(Debug, Default)]
struct State {
    acks: Acks,
    /// Nothing comes in any more.
    finished: bool,
}

impl Acker {
    pub(crate) fn new(prefetch: u16) -> Self {
        Self {
            state: Mutex::default(),
            changed: Notify::new(),
            enough: AtomicUsize::new(enough(prefetch)),
        }
    }

    /// So many are sent ahead from now on.
    pub(crate) fn change(&self, prefetch: u16) {
        self.enough.store(enough(prefetch), Ordering::Relaxed);
    }

    /// A delivery came in.
    pub(crate) fn take(&self, tag: u64) {
        self.lock().acks.take(tag);
    }

    /// Its event is safe elsewhere: it will be acknowledged.
    pub(crate) fn done(&self, tag: u64) {
        let mut state = self.lock();
        state.acks.done(tag);
        let is_first = state.acks.waiting() == 1;
        let wakes = is_first || self.is_full(&state);
        drop(state);
        if wakes {
            self.changed.notify_one();
        }
    }

    /// It was answered otherwise.
    pub(crate) fn gone(&self, tag: u64) {
        let mut state = self.lock();
        state.acks.gone(tag);
        let wakes = state.acks.waiting() > 0 && state.acks.is_idle();
        drop(state);
        if wakes {
            self.changed.notify_one();
        }
    }

    /// Nothing comes in any more: [`Self::run`] ends once all that is done is acknowledged.
    pub(crate) fn finish(&self) {
        self.lock().finished = true;
        self.changed.notify_one();
    }

    /// Sends the acknowledgements, one group after the other: a tag must not come after a later one
    /// that covers it. Ends after [`Self::finish`] alone.
    pub(crate) async fn run(&self, channel: lapin::Channel) {
        loop {
            self.something().await;
            // The group fills meanwhile.
            let _waited = timeout(GROUP_WAIT, self.full()).await;
            let (group, is_last) = {
                let mut state = self.lock();
                let group = state.acks.group();
                (group, state.finished && state.acks.waiting() == 0)
            };
            let acks = group.into_iter().map(|Ack { tag, multiple }| {
                call(channel.basic_ack(tag, BasicAckOptions { multiple }))
            });
            for acked in join_all(acks).await {
                if let Err(error) = acked {
                    // The channel is gone, as its deliveries tell, and the events come once more.
                    debug!(%error, "could not acknowledge");
                }
            }
            if is_last {
                return;
            }
        }
    }

    async fn something(&self) {
        loop {
            {
                let state = self.lock();
                if state.finished || state.acks.waiting() > 0 {
                    return;
                }
            }
            self.changed.notified().await;
        }
    }

    async fn full(&self) {
        loop {
            if self.is_full(&self.lock()) {
                return;
            }
            self.changed.notified().await;
        }
    }

    /// Whether a group waits for no others.
    fn is_full(&self, state: &State) -> bool {
        let enough = self.enough.load(Ordering::Relaxed);
        state.finished || state.acks.waiting() >= enough || state.acks.is_idle()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic while it is held leaves whole collections behind.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn enough(prefetch: u16) -> usize {
    (usize::from(prefetch) / GROUPS_AHEAD).max(1)
}
