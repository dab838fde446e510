//! Which requests of one connection are in flight, from their head to the last byte of the answer.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, HttpBody};
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tokio::sync::watch;

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

    /// Returns when no request has begun or ended for `limit` and none is in flight.
    pub(crate) async fn idle(&self, limit: Duration) {
        let mut counts = self.0.subscribe();
        loop {
            let Counts { begun, ended } = *counts.borrow_and_update();
            let wait = if begun > ended { Duration::MAX } else { limit };
            if tokio::time::timeout(wait, counts.changed()).await.is_err() {
                return;
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

    #[tokio::test(start_paused = true)]
    async fn a_request_in_flight_holds_back_the_idle_limit() {
        let limit = Duration::from_secs(20);
        let activity = Activity::default();
        let started = tokio::time::Instant::now();
        let request = activity.begin();
        let idle = activity.idle(limit);
        tokio::pin!(idle);
        assert!(tokio::time::timeout(limit * 10, &mut idle).await.is_err());
        drop(request);
        idle.await;
        assert_eq!(started.elapsed(), limit * 11);
    }

    #[tokio::test(start_paused = true)]
    async fn a_short_request_restarts_the_idle_limit() {
        let limit = Duration::from_secs(20);
        let activity = Activity::default();
        let started = tokio::time::Instant::now();
        let idle = activity.idle(limit);
        tokio::pin!(idle);
        assert!(tokio::time::timeout(limit / 2, &mut idle).await.is_err());
        drop(activity.begin());
        idle.await;
        assert_eq!(started.elapsed(), limit * 3 / 2);
    }
}
