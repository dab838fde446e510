//! The memory budget as HTTP uses it.
//!
//! A client decides how long its body and its answer stay in memory. While bytes are free nobody is
//! hurried. Once there are none, whoever needs some gets those of the client that has kept the most
//! of them for the longest without sending or reading anything.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use budget::{Budget, Share};
use slab::Slab;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout};

use crate::problem::Problem;

/// What a client has not moved for less than this is never taken from it: packets need their time.
const GRACE: Duration = Duration::from_millis(250);
/// How long a request waits for bytes before it is refused.
const PATIENCE: Duration = Duration::from_secs(1);
/// Pause between two looks for free bytes, and for somebody to end.
const LOOK: Duration = Duration::from_millis(20);
/// A request with no more than this is a small one: most events are, and most pages.
const SMALL_BYTES: usize = 32 * 1024;
/// Large ones leave one part of so many of the budget.
const RESERVE_PARTS: usize = 16;
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// The budget of a service, and the clients that keep bytes of it waiting. Clones are the same one.
#[derive(Clone, Debug)]
pub struct Memory {
    budget: Budget,
    kept: Arc<Mutex<Kept>>,
}

#[derive(Debug)]
struct Kept {
    by_clients: Slab<ByClient>,
    /// Of those that are being ended: they will come free without doing more.
    ending_bytes: usize,
    look_at: Instant,
}

/// Bytes that wait for one client: a body that it sends, or an answer that it reads.
#[derive(Debug)]
struct ByClient {
    bytes: usize,
    moved_at: Instant,
    end: Arc<Notify>,
    ending: bool,
}

impl Memory {
    /// Of a service that may hold so much.
    pub fn new(budget: Budget) -> Self {
        let kept = Kept {
            by_clients: Slab::new(),
            ending_bytes: 0,
            look_at: Instant::now(),
        };
        Self {
            budget,
            kept: Arc::new(Mutex::new(kept)),
        }
    }

    /// For what is held elsewhere.
    pub fn budget(&self) -> &Budget {
        &self.budget
    }

    /// Takes bytes for what a request is about to hold, if need be those of a client that makes no
    /// progress.
    ///
    /// # Errors
    /// 503 when none came free in time, or there never are as many.
    pub async fn take(&self, bytes: usize) -> Result<Share, Problem> {
        let mut share = self.budget.empty_share();
        self.grow_to(&mut share, bytes).await?;
        Ok(share)
    }

    /// Most bytes that one request can have.
    pub fn largest(&self) -> usize {
        self.budget.total() - self.reserve()
    }

    /// Logs where there is less for one request than a body may have, and what to do.
    pub(crate) fn warn_of_bodies(&self, bytes_max: usize) {
        let largest = self.largest();
        if largest < bytes_max {
            let enough = bytes_max + bytes_max.div_ceil(RESERVE_PARTS - 1);
            tracing::warn!(
                "the memory budget has room for bodies of {largest} bytes: larger ones, up to \
                 {bytes_max}, are refused with 413; MEMORY_BUDGET_BYTES={enough}, in a process that \
                 may use about six times as much, takes all"
            );
        }
    }

    /// What is left to small requests, whatever large ones hold.
    fn reserve(&self) -> usize {
        self.budget.total() / RESERVE_PARTS
    }

    fn try_grow(&self, share: &mut Share, more: usize) -> bool {
        let free = self.budget.total() - self.budget.in_use();
        let is_small = share.bytes() + more <= SMALL_BYTES;
        (is_small || free.saturating_sub(self.reserve()) >= more) && share.try_grow(more)
    }

    /// The same for a share that holds some already.
    pub(crate) async fn grow_to(&self, share: &mut Share, bytes: usize) -> Result<(), Problem> {
        let more = bytes.saturating_sub(share.bytes());
        if self.try_grow(share, more) {
            return Ok(());
        }
        // Boxed: hardly anybody waits, and every request would carry room for it.
        Box::pin(self.grow_within(PATIENCE, share, more)).await
    }

    /// The same for `more` bytes, which are waited for as long as `patience`.
    pub(crate) async fn grow_within(
        &self,
        patience: Duration,
        share: &mut Share,
        more: usize,
    ) -> Result<(), Problem> {
        let possible = share.bytes().saturating_add(more) <= self.largest();
        let patience = if possible { patience } else { Duration::ZERO };
        let grown = timeout(patience, async {
            // By the clock: to wake hundreds who wait, for the few bytes of one request that is
            // done, would cost more than the request.
            while !self.try_grow(share, more) {
                self.end_slowest(more);
                sleep(LOOK).await;
            }
        });
        grown.await.map_err(|_| {
            metrics::counter!("memory_budget_refusals_total").increment(1);
            Problem::unavailable(
                "the service has no free memory for this request now",
                RETRY_AFTER,
            )
        })
    }

    /// Notes that `bytes` wait for a client, which [`end`](Notify) ends.
    pub(crate) fn keep(&self, bytes: usize, end: Arc<Notify>) -> Keeping {
        let key = self.lock().by_clients.insert(ByClient {
            bytes,
            moved_at: Instant::now(),
            end,
            ending: false,
        });
        let memory = self.clone();
        Keeping { memory, key }
    }

    /// Ends the client that costs the most: bytes times the time since they moved. Does nothing
    /// where enough is coming free already.
    fn end_slowest(&self, needed: usize) {
        let mut kept = self.lock();
        let now = Instant::now();
        if kept.ending_bytes >= needed || now < kept.look_at {
            return;
        }
        let still = |client: &ByClient| now - client.moved_at;
        let candidates = kept.by_clients.iter_mut().map(|(_, client)| client);
        let slowest = candidates
            .filter(|client| !client.ending && client.bytes > 0 && still(client) >= GRACE)
            .max_by_key(|client| client.bytes as u128 * still(client).as_millis());
        let Some(slowest) = slowest else {
            kept.look_at = now + LOOK;
            return;
        };
        slowest.ending = true;
        slowest.end.notify_one();
        let bytes = slowest.bytes;
        kept.ending_bytes += bytes;
        metrics::counter!("memory_budget_ended_total").increment(1);
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Bytes that wait for a client, until this is dropped.
#[derive(Debug)]
pub(crate) struct Keeping {
    memory: Memory,
    key: usize,
}

impl Keeping {
    pub(crate) fn memory(&self) -> &Memory {
        &self.memory
    }

    /// The client has moved, and now this much waits for it.
    pub(crate) fn moved(&self, bytes: usize) {
        let mut kept = self.memory.lock();
        let client = &mut kept.by_clients[self.key];
        client.moved_at = Instant::now();
        // What is being ended is counted as it was.
        if !client.ending {
            client.bytes = bytes;
        }
    }
}

impl Drop for Keeping {
    fn drop(&mut self) {
        let mut kept = self.memory.lock();
        let client = kept.by_clients.remove(self.key);
        if client.ending {
            kept.ending_bytes -= client.bytes;
        }
    }
}
