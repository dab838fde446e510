//! A response on its way to a client that may be slow to read it.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::body::{Body, HttpBody};
use axum::http::Response;
use axum::response::IntoResponse;
use budget::{Share, attach};
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tokio::sync::Notify;

use crate::activity::InFlight;
use crate::memory::{Keeping, Memory};

/// A smaller answer counts as part of its connection.
const COUNTED_BYTES: usize = 16 * 1024;
/// What hyper gets at one time. It takes the next piece when the client has read enough of the ones
/// before: that is the move of a client that reads.
const PIECE_BYTES: usize = 16 * 1024;

/// A response body that keeps its request in flight until all of it was handed to the connection.
/// Its bytes are part of the memory budget until they are written.
pub(crate) struct Leaving {
    body: Body,
    /// What was taken out of `body` and not handed over yet.
    rest: Bytes,
    kept: Option<Arc<Kept>>,
    request: InFlight,
}

struct Kept {
    keeping: Keeping,
    share: Share,
}

impl Leaving {
    fn new(body: Body, request: InFlight, kept: Option<Kept>) -> Self {
        Self {
            body,
            rest: Bytes::new(),
            kept: kept.map(Arc::new),
            request,
        }
    }

    /// `response` with its bytes counted; `end` ends its connection when others need them. Where
    /// there is no memory for it, it is a 503 if it can be had again.
    pub(crate) async fn with(
        response: Response<Body>,
        request: InFlight,
        memory: &Memory,
        end: &Arc<Notify>,
        is_safe: bool,
    ) -> Response<Self> {
        let size = response.body().size_hint().exact();
        let bytes = size.and_then(|size| usize::try_from(size).ok());
        let Some(bytes) = bytes.filter(|bytes| *bytes >= COUNTED_BYTES) else {
            return response.map(|body| Self::new(body, request, None));
        };
        match memory.take(bytes).await {
            Ok(share) => {
                let keeping = memory.keep(bytes, end.clone());
                let kept = Kept { keeping, share };
                response.map(|body| Self::new(body, request, Some(kept)))
            }
            Err(problem) if is_safe => {
                let refusal = problem.into_response();
                refusal.map(|body| Self::new(body, request, None))
            }
            // It says what was done, which nothing else may say otherwise.
            Err(_) => response.map(|body| Self::new(body, request, None)),
        }
    }

    /// The next piece of `rest`.
    fn piece(&mut self) -> Frame<Bytes> {
        let piece = self.rest.split_to(self.rest.len().min(PIECE_BYTES));
        // A last one is followed by the end of the request.
        if !self.is_end_stream() {
            self.request.set_at_work(false);
            self.request.moved();
            if let Some(kept) = &self.kept {
                kept.keeping.moved(kept.share.bytes());
            }
        }
        Frame::data(piece)
    }
}

impl HttpBody for Leaving {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if self.rest.is_empty() {
            let polled = Pin::new(&mut self.body).poll_frame(context);
            if polled.is_pending() {
                self.request.set_at_work(true);
            }
            match ready!(polled) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => {
                        self.rest = match &self.kept {
                            Some(kept) => attach(data, kept.clone()),
                            None => data,
                        };
                    }
                    Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
                },
                end => return Poll::Ready(end),
            }
        }
        Poll::Ready(Some(Ok(self.piece())))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let rest = self.rest.len() as u64;
        let body = self.body.size_hint();
        let mut hint = SizeHint::new();
        hint.set_lower(body.lower() + rest);
        if let Some(upper) = body.upper() {
            hint.set_upper(upper + rest);
        }
        hint
    }
}
