//! What a request passes before its handler runs: the head's limits, the guard, the reading of
//! its body, and a place among the requests in flight.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, HttpBody};
use axum::extract::{Request, State};
use axum::http::header;
use axum::middleware::Next;
use axum::response::Response;
use bytes::Bytes;
use tokio::sync::Semaphore;

use crate::body;
use crate::config::HttpConfig;
use crate::guard::Guard;
use crate::limits;
use crate::problem::Problem;

const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Shared by all connections of one server.
pub(crate) struct Admission {
    guard: Guard,
    /// Bodies being read. Apart from `in_flight`, so that slow bodies do not use up its places.
    reading: Semaphore,
    in_flight: Semaphore,
    max_body_bytes: usize,
    read_timeout: Duration,
    request_timeout: Duration,
}

impl Admission {
    pub(crate) fn new(guard: Guard, config: &HttpConfig) -> Self {
        Self {
            guard,
            // HTTP/2 puts many requests on one connection, so connections alone do not bound this.
            reading: Semaphore::new(config.max_connections),
            in_flight: Semaphore::new(config.max_in_flight),
            max_body_bytes: config.max_body_bytes,
            read_timeout: config.read_timeout,
            request_timeout: config.request_timeout,
        }
    }

    async fn read_body(&self, body: &mut Body) -> Result<Bytes, Problem> {
        if body.is_end_stream() {
            return Ok(Bytes::new());
        }
        let _place = self.reading.try_acquire().map_err(|_| overloaded())?;
        body::read(body, self.max_body_bytes, self.read_timeout).await
    }
}

/// Middleware of every route: after it the request is allowed and its body is in memory.
pub(crate) async fn admit(
    State(admission): State<Arc<Admission>>,
    request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let (parts, mut body) = request.into_parts();
    let allowed =
        limits::check_head(&parts.uri, &parts.headers).and_then(|()| admission.guard.check(&parts));
    let read = match allowed {
        Ok(()) => admission.read_body(&mut body).await,
        Err(problem) => Err(problem),
    };
    match read {
        Ok(bytes) => Ok(next.run(Request::from_parts(parts, bytes.into())).await),
        Err(problem) => {
            // A client that waits for "100 Continue" has sent nothing, and reading would ask it to.
            if !body.is_end_stream() && !parts.headers.contains_key(header::EXPECT) {
                tokio::spawn(body::discard(body));
            }
            Err(problem)
        }
    }
}

/// Middleware of the service's own routes: sheds what exceeds the cap, and ends what takes too
/// long. Health and metrics stay outside, since they matter most under load.
pub(crate) async fn work(
    State(admission): State<Arc<Admission>>,
    request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let _place = admission
        .in_flight
        .try_acquire()
        .map_err(|_| overloaded())?;
    let timeout = admission.request_timeout;
    tokio::time::timeout(timeout, next.run(request))
        .await
        .map_err(|_| {
            let message = format!("the request was not finished within {timeout:?}");
            Problem::unavailable(message, RETRY_AFTER)
        })
}

fn overloaded() -> Problem {
    Problem::unavailable("too many requests at once", RETRY_AFTER)
}
