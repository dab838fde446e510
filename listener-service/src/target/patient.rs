//! The body of a repeated request: it waits for an early answer before it sends most of itself.
//!
//! A target that refuses a large body without reading it closes the connection while the body is
//! still being written. The client then gets an error and stops reading, so the answer is lost. A
//! body that waits lets the answer arrive first.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::time::{Instant, Sleep, sleep};

/// Sent at once. It fits into the buffers of a connection, so writing it cannot fail.
const BEGINNING_BYTES: usize = 64 * 1024;

pub(super) struct Patient {
    rest: Bytes,
    begun: bool,
    patience: Duration,
    pause: Pin<Box<Sleep>>,
}

impl Patient {
    pub(super) fn new(body: Bytes, patience: Duration) -> Self {
        Self {
            rest: body,
            begun: false,
            patience,
            pause: Box::pin(sleep(patience)),
        }
    }
}

impl Body for Patient {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.rest.is_empty() {
            return Poll::Ready(None);
        }
        let next = if self.begun {
            ready!(self.pause.as_mut().poll(cx));
            self.rest.len()
        } else {
            self.begun = true;
            // Starts now, because connecting took time too.
            let end = Instant::now() + self.patience;
            self.pause.as_mut().reset(end);
            self.rest.len().min(BEGINNING_BYTES)
        };
        let frame = Frame::data(self.rest.split_to(next));
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.rest.len() as u64)
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn all_of_it_is_sent_and_a_small_one_at_once() {
        for (bytes, expected) in [
            (0, Duration::ZERO),
            (BEGINNING_BYTES, Duration::ZERO),
            (BEGINNING_BYTES + 1, Duration::from_secs(1)),
            (10 * BEGINNING_BYTES, Duration::from_secs(1)),
        ] {
            let body = Bytes::from_iter((0..bytes).map(|number| (number % 251) as u8));
            let begun = Instant::now();
            let patient = Patient::new(body.clone(), Duration::from_secs(1));
            assert_eq!(patient.size_hint().exact(), Some(bytes as u64));
            let sent = patient.collect().await.unwrap().to_bytes();
            assert_eq!(sent, body);
            let took = begun.elapsed();
            assert!(
                took >= expected && took < expected + Duration::from_millis(10),
                "{bytes} bytes: {took:?}"
            );
        }
    }
}
