//! Reading a request body within a size and a time.

use std::time::Duration;

use axum::body::{Body, HttpBody};
use axum::http::StatusCode;
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;

use crate::problem::Problem;

/// What is read and thrown away of a refused body, so that the client, which often reads only
/// after writing, sees the answer instead of a connection reset.
const DISCARD_BYTES_MAX: usize = 8 * 1024 * 1024;
const DISCARD_TIMEOUT: Duration = Duration::from_secs(2);

/// Reads all of `body`: 413 past `limit` bytes (without keeping more), 408 past `deadline`.
pub(crate) async fn read(
    body: &mut Body,
    limit: usize,
    deadline: Duration,
) -> Result<Bytes, Problem> {
    // The lower bound is the Content-Length, so a body known to be too large is not begun.
    if body.size_hint().lower() > limit as u64 {
        return Err(too_large(limit));
    }
    match tokio::time::timeout(deadline, collect(body, limit)).await {
        Ok(result) => result,
        Err(_) => Err(Problem::new(
            StatusCode::REQUEST_TIMEOUT,
            "request-timeout",
            format!("the body did not arrive within {deadline:?}"),
        )),
    }
}

async fn collect(body: &mut Body, limit: usize) -> Result<Bytes, Problem> {
    let mut first = Bytes::new();
    let mut collected = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Problem::bad_request("the body ended early"))?;
        // Trailers are not data.
        let Ok(data) = frame.into_data() else {
            continue;
        };
        let length = first.len() + collected.len() + data.len();
        if length > limit {
            return Err(too_large(limit));
        }
        if first.is_empty() && collected.is_empty() {
            first = data;
            continue;
        }
        // Most bodies are one frame. From the second one on all are copied together.
        if collected.is_empty() {
            // To grow step by step would take up to twice the room, and copy anew each time.
            let to_come = usize::try_from(body.size_hint().lower()).unwrap_or(limit);
            collected.reserve(length.saturating_add(to_come).min(limit));
        }
        collected.extend_from_slice(&std::mem::take(&mut first));
        collected.extend_from_slice(&data);
    }
    Ok(if collected.is_empty() {
        first
    } else {
        collected.freeze()
    })
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
