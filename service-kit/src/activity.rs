//! What one connection does: whether it waits for its client, and since when.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::HttpBody;
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until, timeout};

/// A client that sends less than this of a body since it moved the last time has not moved.
pub(crate) const MOVE_BYTES: usize = 4 * 1024;

/// The requests of one connection.
#[derive(Clone)]
pub(crate) struct Activity(Arc<Shared>);

/// One request, from its head to the last byte of the answer; it ends when all clones are dropped.
#[derive(Clone)]
pub(crate) struct InFlight(Arc<Request>);

struct Request {
    connection: Arc<Shared>,
    /// Whether the service has to do something, and not the client.
    at_work: AtomicBool,
}

struct Shared {
    counts: Mutex<Counts>,
    changed: Notify,
}

struct Counts {
    begun: u64,
    /// Requests that do not wait for the client.
    at_work: u64,
    moved_at: Instant,
    moves: u64,
    /// Whether to announce the next change. Most changes come and go unseen by any timer.
    watched: bool,
}

impl Activity {
    pub(crate) fn new() -> Self {
        let counts = Counts {
            begun: 0,
            at_work: 0,
            moved_at: Instant::now(),
            moves: 0,
            watched: false,
        };
        Self(Arc::new(Shared {
            counts: Mutex::new(counts),
            changed: Notify::new(),
        }))
    }

    pub(crate) fn begin(&self) -> InFlight {
        self.0.change(|counts| {
            counts.begun += 1;
            counts.at_work += 1;
            counts.moved();
        });
        InFlight(Arc::new(Request {
            connection: self.0.clone(),
            at_work: AtomicBool::new(true),
        }))
    }

    /// Returns when a request has begun.
    pub(crate) async fn first_request(&self) {
        self.0.until(|counts| counts.begun > 0).await;
    }

    /// Returns when the client has not moved for `limit` though all waits for it: it sends no
    /// request, no more of a body, or reads no more of an answer. After `grace` already where
    /// `make_room` picks this connection, the one that has waited the longest.
    pub(crate) async fn stalled(&self, limit: Duration, grace: Duration, make_room: &Notify) {
        let Shared { counts, .. } = &*self.0;
        let grace = grace.min(limit);
        let watched_since = Instant::now();
        loop {
            let (moves, moved_at) = {
                let counts = lock(counts);
                (counts.moves, counts.moved_at)
            };
            sleep_until(moved_at.max(watched_since) + grace).await;
            self.0.until(|now| now.at_work == 0).await;
            let changed = self.0.until(|now| now.moves != moves || now.at_work > 0);
            tokio::select! {
                biased; // a move that was made counts
                () = changed => {}
                // It wakes those who wait in the order in which they came.
                _ = timeout(limit - grace, make_room.notified()) => return,
            }
        }
    }
}

impl InFlight {
    /// The client has sent or read enough to count.
    pub(crate) fn moved(&self) {
        self.0.connection.change(Counts::moved);
    }

    pub(crate) fn set_at_work(&self, at_work: bool) {
        if self.0.at_work.swap(at_work, Ordering::AcqRel) == at_work {
            return;
        }
        self.0.connection.change(|counts| {
            if at_work {
                counts.at_work += 1;
            } else {
                counts.at_work -= 1;
            }
        });
    }
}

impl Counts {
    fn moved(&mut self) {
        self.moves += 1;
        self.moved_at = Instant::now();
    }
}

impl Shared {
    fn change(&self, change: impl FnOnce(&mut Counts)) {
        let mut counts = lock(&self.counts);
        change(&mut counts);
        if std::mem::take(&mut counts.watched) {
            self.changed.notify_waiters();
        }
    }

    /// Returns once the counts are so.
    async fn until(&self, so: impl Fn(&Counts) -> bool) {
        loop {
            let changed = self.changed.notified();
            {
                let mut counts = lock(&self.counts);
                if so(&counts) {
                    return;
                }
                counts.watched = true;
            }
            changed.await;
        }
    }
}

impl Drop for Request {
    fn drop(&mut self) {
        let at_work = *self.at_work.get_mut();
        self.connection.change(|counts| {
            counts.at_work -= u64::from(at_work);
            counts.moved();
        });
    }
}

fn lock(counts: &Mutex<Counts>) -> MutexGuard<'_, Counts> {
    counts.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A request body that says when it waits for its client.
pub(crate) struct Arriving {
    body: Incoming,
    request: InFlight,
    /// Bytes since the client's last move.
    unmoved: usize,
}

impl Arriving {
    pub(crate) fn new(body: Incoming, request: InFlight) -> Self {
        Self {
            body,
            request,
            unmoved: 0,
        }
    }
}

impl HttpBody for Arriving {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        self.request.set_at_work(polled.is_ready());
        if let Poll::Ready(Some(Ok(frame))) = &polled {
            self.unmoved += frame.data_ref().map_or(0, Bytes::len);
            if self.unmoved >= MOVE_BYTES {
                self.unmoved = 0;
                self.request.moved();
            }
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(20);
    const GRACE: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn work_on_a_request_holds_back_the_limit() {
        let activity = Activity::new();
        let started = Instant::now();
        let make_room = Notify::new();
        let request = activity.begin();
        make_room.notify_one();
        let stalled = activity.stalled(LIMIT, LIMIT, &make_room);
        tokio::pin!(stalled);
        assert!(timeout(LIMIT * 10, &mut stalled).await.is_err());
        drop(request);
        stalled.await;
        assert_eq!(started.elapsed(), LIMIT * 11);
    }

    #[tokio::test(start_paused = true)]
    async fn a_move_restarts_the_limit() {
        let activity = Activity::new();
        let started = Instant::now();
        let make_room = Notify::new();
        let slow = activity.begin();
        slow.set_at_work(false);
        let stalled = activity.stalled(LIMIT, GRACE, &make_room);
        tokio::pin!(stalled);
        assert!(timeout(LIMIT / 2, &mut stalled).await.is_err());
        drop(activity.begin());
        assert!(timeout(LIMIT / 2, &mut stalled).await.is_err());
        slow.moved();
        stalled.await;
        assert_eq!(started.elapsed(), LIMIT * 2);
    }

    #[tokio::test(start_paused = true)]
    async fn the_one_that_waits_the_longest_makes_room_and_none_within_its_grace() {
        let make_room = Notify::new();
        let (old, new) = (Activity::new(), Activity::new());
        let (old, new) = (
            old.stalled(LIMIT, GRACE, &make_room),
            new.stalled(LIMIT, GRACE, &make_room),
        );
        tokio::pin!(old, new);
        assert!(timeout(GRACE * 2, &mut old).await.is_err());
        assert!(timeout(GRACE / 2, &mut new).await.is_err());
        make_room.notify_one();
        old.await;
        make_room.notify_one();
        let started = Instant::now();
        new.await;
        assert_eq!(started.elapsed(), GRACE / 2);
    }
}
