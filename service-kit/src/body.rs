//! Reading a request body within a size, a time and the memory budget.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, HttpBody};
use axum::http::StatusCode;
use budget::{Share, attach};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use tokio::sync::Notify;

use crate::activity::MOVE_BYTES;
use crate::memory::{Keeping, Memory};
use crate::problem::Problem;

/// What is read and thrown away of a refused body, so that the client, which often reads only
/// after writing, sees the answer instead of a connection reset.
const DISCARD_BYTES_MAX: usize = 8 * 1024 * 1024;
const DISCARD_TIMEOUT: Duration = Duration::from_secs(2);

/// A body in memory, whose share of the budget travels with its bytes. To hold the share as well is
/// for who copies them.
pub(crate) struct Read {
    pub(crate) bytes: Bytes,
    pub(crate) share: Option<Arc<Share>>,
}

impl Read {
    pub(crate) fn nothing() -> Self {
        Self {
            bytes: Bytes::new(),
            share: None,
        }
    }

    fn new(bytes: Bytes, share: Share) -> Self {
        let share = Arc::new(share);
        Self {
            bytes: attach(bytes, share.clone()),
            share: Some(share),
        }
    }
}

/// What a body may take.
pub(crate) struct Limits {
    pub(crate) bytes_max: usize,
    /// A body that is declared to be larger than this waits unread until there is memory for all of
    /// it: several that had some each would wait for each other.
    pub(crate) large_bytes: usize,
    pub(crate) deadline: Duration,
}

/// Reads all of `body`: 413 past its limit (without keeping more), 408 past its deadline or when
/// others need the memory of a client that sends nothing, 503 when there is no memory for it.
pub(crate) async fn read(
    body: &mut Body,
    limits: Limits,
    memory: &Memory,
) -> Result<Read, Problem> {
    let limit = limits.bytes_max.min(memory.largest());
    // The lower bound is the Content-Length, so a body known to be too large is not begun.
    let declared = match usize::try_from(body.size_hint().lower()) {
        Ok(declared) if declared <= limit => declared,
        _ => return Err(too_large(limit)),
    };
    let mut share = memory.budget().empty_share();
    if declared > limits.large_bytes {
        let patience = limits.deadline;
        memory.grow_within(patience, &mut share, declared).await?;
    }
    let receiving = async {
        let Some(first) = next(body).await? else {
            return Ok(Read::nothing());
        };
        if first.len() > limit {
            return Err(too_large(limit));
        }
        memory.grow_to(&mut share, first.len()).await?;
        // Most bodies are one frame, which is not copied.
        if body.is_end_stream() {
            return Ok(Read::new(first, share));
        }
        rest(first, share, body, limit, memory).await
    };
    let received = tokio::time::timeout(limits.deadline, receiving).await;
    received.unwrap_or_else(|_| {
        let deadline = limits.deadline;
        Err(late(format!("the body did not arrive within {deadline:?}")))
    })
}

/// Of a body of several frames.
async fn rest(
    first: Bytes,
    share: Share,
    body: &mut Body,
    limit: usize,
    memory: &Memory,
) -> Result<Read, Problem> {
    let end = Arc::new(Notify::new());
    let receiving = Receiving {
        keeping: memory.keep(share.bytes(), end.clone()),
        share,
        length: first.len(),
        moved: first.len(),
        bytes: BytesMut::new(),
    };
    tokio::select! {
        read = receiving.rest(first, body, limit) => read,
        () = end.notified() => Err(late(
            "the body arrived too slowly for a service that is short of memory".to_owned(),
        )),
    }
}

/// The next piece of data, or nothing at the end. Trailers are not data.
async fn next(body: &mut Body) -> Result<Option<Bytes>, Problem> {
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Problem::bad_request("the body ended early"))?;
        if let Ok(data) = frame.into_data() {
            return Ok(Some(data));
        }
    }
    Ok(None)
}

/// What there is of a body.
struct Receiving {
    share: Share,
    keeping: Keeping,
    length: usize,
    /// Its length at the client's last move.
    moved: usize,
    bytes: BytesMut,
}

impl Receiving {
    async fn rest(mut self, first: Bytes, body: &mut Body, limit: usize) -> Result<Read, Problem> {
        let mut first = Some(first);
        while let Some(data) = next(body).await? {
            self.length += data.len();
            if self.length > limit {
                return Err(too_large(limit));
            }
            let memory = self.keeping.memory();
            memory.grow_to(&mut self.share, self.length).await?;
            if let Some(first) = first.take() {
                // To grow step by step would copy again and again. What is not written to takes no
                // memory.
                let to_come = usize::try_from(body.size_hint().lower()).unwrap_or(limit);
                let length = self.length.saturating_add(to_come);
                self.bytes.reserve(length.min(limit));
                self.bytes.extend_from_slice(&first);
            }
            self.bytes.extend_from_slice(&data);
            if self.length - self.moved >= MOVE_BYTES {
                self.moved = self.length;
                self.keeping.moved(self.share.bytes());
            }
        }
        let bytes = first.unwrap_or_else(|| self.bytes.freeze());
        Ok(Read::new(bytes, self.share))
    }
}

/// A body that [`read`] has read already, which is one frame.
pub(crate) async fn in_memory(mut body: Body) -> Bytes {
    let frame = body.frame().await;
    let data = frame
        .and_then(Result::ok)
        .and_then(|frame| frame.into_data().ok());
    data.unwrap_or_default()
}

fn too_large(limit: usize) -> Problem {
    Problem::content_too_large(format!("the body is larger than {limit} bytes"))
}

fn late(message: String) -> Problem {
    Problem::new(StatusCode::REQUEST_TIMEOUT, "request-timeout", message)
}

/// Whether [`discard`] reads all of a body, if its client sends it in time. One that does not say how
/// long it is may be longer.
pub(crate) fn is_discarded_whole(body: &Body) -> bool {
    let upper = body.size_hint().upper();
    upper.is_some_and(|bytes| bytes <= DISCARD_BYTES_MAX as u64)
}

/// Reads on after a refusal, up to a bound, while the answer is being sent. A body read to its
/// end also leaves the connection fit for the next request.
pub(crate) async fn discard(mut body: Body) {
    let discard = async {
        let mut discarded = 0;
        while let Some(Ok(frame)) = body.frame().await {
            discarded += frame.data_ref().map_or(0, Bytes::len);
            if discarded > DISCARD_BYTES_MAX {
                break;
            }
        }
    };
    // Whatever is left after the deadline is the client's loss: dropping the body closes it.
    let _ = tokio::time::timeout(DISCARD_TIMEOUT, discard).await;
}
