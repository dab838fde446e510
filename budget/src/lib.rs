//! One budget of bytes for a process: bodies being read, deliveries in hand and pages being written
//! share it, so that no number of them ends the process for want of memory.
//!
//! Who holds bytes for long takes a [`Share`] first, lets it grow as they arrive, and lets it travel
//! with them ([`attach`]). The budget counts each byte once, while a byte on its way is in memory up
//! to three times: as it arrived, as what was made of it, and in the frames it leaves in. Buffers of
//! connections, and what the allocator gives back a moment later, took as much again where 700 clients
//! were thrown out and came back at once. So the default is a sixth of the memory that the process may
//! use.

mod limit;
mod share;

use std::{
    fmt, fs, iter,
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::sync::Notify;

pub use share::{Share, attach};

/// Smallest budget: room for a few bodies of any service.
pub const BYTES_MIN: usize = 1024 * 1024;
/// Without a limit of memory: as with a limit of 1.5 GiB.
const UNLIMITED_BYTES: usize = 256 * 1024 * 1024;
/// The budget is one part of so many of the limit.
const LIMIT_PARTS: usize = 6;

/// So many bytes, to be shared. Clones are the same budget.
#[derive(Clone)]
pub struct Budget(Arc<Pool>);

struct Pool {
    bytes_max: usize,
    in_use: AtomicUsize,
    /// What this is a part of.
    whole: Option<Budget>,
    /// Of the whole: notified whenever bytes come back, also those of its parts.
    freed: Notify,
    /// Of the whole: held while bytes of it or of a part are taken.
    charging: Mutex<()>,
}

impl Budget {
    /// A budget of `bytes`.
    pub fn new(bytes: usize) -> Self {
        Self::with(bytes, None)
    }

    /// A sixth of the memory limit that the cgroups of this process set; without one 256 MiB, or a
    /// sixth of the machine's memory where that is less.
    pub fn of_process() -> Self {
        Self::new(default_bytes(Path::new("/")))
    }

    /// At most `bytes` of this budget: what is taken of the part is taken of the whole. It leaves
    /// the rest to others, whatever is taken of it.
    #[must_use]
    pub fn part(&self, bytes: usize) -> Self {
        Self::with(bytes.min(self.total()), Some(self.clone()))
    }

    fn with(bytes_max: usize, whole: Option<Self>) -> Self {
        Self(Arc::new(Pool {
            bytes_max,
            in_use: AtomicUsize::new(0),
            whole,
            freed: Notify::new(),
            charging: Mutex::new(()),
        }))
    }

    /// All bytes, free or not.
    pub fn total(&self) -> usize {
        self.0.bytes_max
    }

    /// Bytes that are taken; of a part, by that part.
    pub fn in_use(&self) -> usize {
        self.0.in_use.load(Ordering::Relaxed)
    }

    /// A share of nothing, to grow.
    pub fn empty_share(&self) -> Share {
        Share::new(self.clone(), 0)
    }

    /// Takes `bytes` if they are free now.
    pub fn try_take(&self, bytes: usize) -> Option<Share> {
        self.charge(bytes).then(|| Share::new(self.clone(), bytes))
    }

    /// Takes `bytes` once they are free. What is larger than the budget takes all of it, and so goes
    /// alone. Nobody waits in line: who needs little gets it first.
    ///
    /// Whoever waits here and holds a share meanwhile may wait for another one that does the same:
    /// put a deadline on it.
    pub async fn take(&self, bytes: usize) -> Share {
        let bytes = bytes.min(self.total());
        loop {
            let freed = self.freed();
            if let Some(share) = self.try_take(bytes) {
                return share;
            }
            freed.await;
        }
    }

    /// Returns when bytes come back after this call, even if it is awaited later.
    pub fn freed(&self) -> impl Future<Output = ()> + Send + '_ {
        self.root().freed.notified()
    }

    /// What this is a part of, itself included, up to the whole.
    fn wholes(&self) -> impl Iterator<Item = &Pool> {
        iter::successors(Some(&*self.0), |pool| {
            pool.whole.as_ref().map(|whole| &*whole.0)
        })
    }

    fn root(&self) -> &Pool {
        self.wholes().last().unwrap_or(&self.0)
    }

    fn charge(&self, bytes: usize) -> bool {
        // What is taken and given back would make others be refused meanwhile.
        let charging = self.root().charging.lock();
        let _charging = charging.unwrap_or_else(PoisonError::into_inner);
        let fits = |pool: &Pool| {
            let in_use = pool.in_use.load(Ordering::Acquire);
            in_use
                .checked_add(bytes)
                .is_some_and(|sum| sum <= pool.bytes_max)
        };
        let charged = self.wholes().all(fits);
        if charged {
            for pool in self.wholes() {
                pool.in_use.fetch_add(bytes, Ordering::AcqRel);
            }
        }
        charged
    }

    fn release(&self, bytes: usize) {
        for pool in self.wholes() {
            pool.in_use.fetch_sub(bytes, Ordering::AcqRel);
        }
        self.root().freed.notify_waiters();
    }
}

impl fmt::Debug for Budget {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Budget({} of {})", self.in_use(), self.total())
    }
}

/// Of the process whose files are below `root`, which is `/` but for tests.
fn default_bytes(root: &Path) -> usize {
    let machine = fs::read_to_string(root.join("proc/meminfo"));
    let machine = machine.ok().and_then(|text| limit::machine_bytes(&text));
    // Version 1 says "no limit" by a number larger than any machine.
    let limit = limit::cgroup_bytes(root).filter(|limit| machine.is_none_or(|all| *limit < all));
    let part = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX) / LIMIT_PARTS;
    let bytes = match (limit, machine) {
        (Some(limit), _) => part(limit),
        (None, Some(machine)) => part(machine).min(UNLIMITED_BYTES),
        (None, None) => UNLIMITED_BYTES,
    };
    bytes.max(BYTES_MIN)
}

#[cfg(test)]
mod tests;
