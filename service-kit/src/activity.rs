//! Which requests of one connection are in flight, from their head to the last byte of the answer.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, HttpBody};
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tokio::sync::{Notify, watch};
use tokio::time::timeout;

#[derive(Clone, Copy, Default)]
struct Counts {
    begun: u64,
    ended: u64,
}

/// The requests of one connection.
#[derive(Clone, Default)]
pub(crate) struct Activity(watch::Sender<Counts>);

/// One request; it ends when this is dropped.
pub(crate) struct InFlight(watch::Sender<Counts>);

impl Activity {
    pub(crate) fn begin(&self) -> InFlight {
        self.0.send_modify(|counts| counts.begun += 1);
        InFlight(self.0.clone())
    }

    /// Returns when a request has begun.
    pub(crate) async fn first_request(&self) {
        // The sender is `self`, so the channel cannot be closed.
        let _ = self.0.subscribe().wait_for(|counts| counts.begun > 0).await;
    }

    /// Returns when no request is in flight and none has begun or ended for `limit`, or for
    /// `grace` already where `make_room` picks this connection, the one that idles the longest.
    pub(crate) async fn idle(&self, limit: Duration, grace: Duration, make_room: &Notify) {
        let mut counts = self.0.subscribe();
        loop {
            let Counts { begun, ended } = *counts.borrow_and_update();
            let idles = async {
                if begun > ended {
                    return std::future::pending().await;
                }
                tokio::time::sleep(grace.min(limit)).await;
                // It wakes those who wait in the order in which they came.
                let _ = timeout(limit.saturating_sub(grace), make_room.notified()).await;
            };
            tokio::select! {
                // The sender is `self`, so the channel cannot be closed.
                _ = counts.changed() => {}
                () = idles => return,
            }
        }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.send_modify(|counts| counts.ended += 1);
    }
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
        let activity = Activity::default();
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
        let activity = Activity::default();
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
        let (old, new) = (Activity::default(), Activity::default());
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
