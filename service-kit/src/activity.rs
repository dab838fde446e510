//! Which requests of one connection are in flight, from their head to the last byte of the answer.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, HttpBody};
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until, timeout};

/// The requests of one connection.
#[derive(Clone)]
pub(crate) struct Activity(Arc<Shared>);

/// One request; it ends when this is dropped.
pub(crate) struct InFlight(Arc<Shared>);

struct Shared {
    counts: Mutex<Counts>,
    changed: Notify,
}

struct Counts {
    begun: u64,
    ended: u64,
    changed_at: Instant,
    /// Whether to tell the next change. Most changes come and go unseen by any timer.
    watched: bool,
}

impl Activity {
    pub(crate) fn new() -> Self {
        let counts = Counts {
            begun: 0,
            ended: 0,
            changed_at: Instant::now(),
            watched: false,
        };
        Self(Arc::new(Shared {
            counts: Mutex::new(counts),
            changed: Notify::new(),
        }))
    }

    pub(crate) fn begin(&self) -> InFlight {
        self.0.change(|counts| counts.begun += 1);
        InFlight(self.0.clone())
    }

    /// Returns when a request has begun.
    pub(crate) async fn first_request(&self) {
        self.0.until(|counts| counts.begun > 0).await;
    }

    /// Returns when no request is in flight and none has begun or ended for `limit`, or for
    /// `grace` already where `make_room` picks this connection, the one that idles the longest.
    pub(crate) async fn idle(&self, limit: Duration, grace: Duration, make_room: &Notify) {
        let Shared { counts, .. } = &*self.0;
        let grace = grace.min(limit);
        let watched_since = Instant::now();
        loop {
            let Counts {
                begun,
                ended,
                changed_at,
                ..
            } = *lock(counts);
            sleep_until(changed_at.max(watched_since) + grace).await;
            let changed = self.0.until(|now| (now.begun, now.ended) != (begun, ended));
            if begun > ended {
                changed.await;
                continue;
            }
            tokio::select! {
                biased; // a request that is there counts
                () = changed => {}
                // It wakes those who wait in the order in which they came.
                _ = timeout(limit - grace, make_room.notified()) => return,
            }
        }
    }
}

impl Shared {
    fn change(&self, change: impl FnOnce(&mut Counts)) {
        let mut counts = lock(&self.counts);
        change(&mut counts);
        counts.changed_at = Instant::now();
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

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.change(|counts| counts.ended += 1);
    }
}

fn lock(counts: &Mutex<Counts>) -> MutexGuard<'_, Counts> {
    counts.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A response body that keeps its request in flight until all of it was handed to the connection.
pub(crate) struct Tracked {
    body: Body,
    _request: InFlight,
}

impl Tracked {
    pub(crate) fn new(body: Body, request: InFlight) -> Self {
        Self {
            body,
            _request: request,
        }
    }
}

impl HttpBody for Tracked {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
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
    async fn a_request_in_flight_holds_back_the_idle_limit() {
        let activity = Activity::new();
        let started = tokio::time::Instant::now();
        let make_room = Notify::new();
        let request = activity.begin();
        make_room.notify_one();
        let idle = activity.idle(LIMIT, LIMIT, &make_room);
        tokio::pin!(idle);
        assert!(timeout(LIMIT * 10, &mut idle).await.is_err());
        drop(request);
        idle.await;
        assert_eq!(started.elapsed(), LIMIT * 11);
    }

    #[tokio::test(start_paused = true)]
    async fn a_short_request_restarts_the_idle_limit() {
        let activity = Activity::new();
        let started = tokio::time::Instant::now();
        let make_room = Notify::new();
        let idle = activity.idle(LIMIT, GRACE, &make_room);
        tokio::pin!(idle);
        assert!(timeout(LIMIT / 2, &mut idle).await.is_err());
        drop(activity.begin());
        idle.await;
        assert_eq!(started.elapsed(), LIMIT * 3 / 2);
    }

    #[tokio::test(start_paused = true)]
    async fn the_one_that_idles_the_longest_makes_room_and_none_within_its_grace() {
        let make_room = Notify::new();
        let (old, new) = (Activity::new(), Activity::new());
        let (old, new) = (
            old.idle(LIMIT, GRACE, &make_room),
            new.idle(LIMIT, GRACE, &make_room),
        );
        tokio::pin!(old, new);
        assert!(timeout(GRACE * 2, &mut old).await.is_err());
        assert!(timeout(GRACE / 2, &mut new).await.is_err());
        make_room.notify_one();
        old.await;
        make_room.notify_one();
        let started = tokio::time::Instant::now();
        new.await;
        assert_eq!(started.elapsed(), GRACE / 2);
    }
}
