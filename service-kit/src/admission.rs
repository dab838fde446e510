//! What a request passes before its handler runs: the head's limits, the guard, the reading of
//! its body, and a place among the requests in flight. All in one middleware: each one more would
//! cost a request two allocations and the copying of its head.

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::{Body, HttpBody};
use axum::extract::{MatchedPath, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode, Version, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;
use tokio::sync::Semaphore;

use crate::body::{self, Limits, Read};
use crate::config::HttpConfig;
use crate::guard::Guard;
use crate::limits;
use crate::memory::Memory;
use crate::metrics;
use crate::operations;
use crate::problem::Problem;
use crate::routes::LargeBodies;

const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Shared by all connections of one server.
pub(crate) struct Admission {
    guard: Guard,
    /// At work, with their bodies in memory: slow bodies do not use up its places.
    in_flight: Semaphore,
    memory: Memory,
    max_body_bytes: usize,
    /// By the path template of their route.
    large: HashMap<&'static str, LargeBodies>,
    read_timeout: Duration,
    request_timeout: Duration,
}

impl Admission {
    pub(crate) fn new(
        guard: Guard,
        config: &HttpConfig,
        memory: Memory,
        large: HashMap<&'static str, LargeBodies>,
    ) -> Self {
        Self {
            guard,
            in_flight: Semaphore::new(config.max_in_flight),
            memory,
            max_body_bytes: config.max_body_bytes,
            large,
            read_timeout: config.read_timeout,
            request_timeout: config.request_timeout,
        }
    }

    async fn read_body(
        &self,
        route: Option<&MatchedPath>,
        body: &mut Body,
    ) -> Result<Read, Problem> {
        if body.is_end_stream() {
            return Ok(Read::nothing());
        }
        let large = route.and_then(|route| self.large.get(route.as_str()));
        let limits = Limits {
            bytes_max: large.map_or(self.max_body_bytes, |large| large.bytes_max),
            large_bytes: self.max_body_bytes,
            deadline: self.read_timeout,
        };
        body::read(body, limits, &self.memory).await
    }
}

/// The one middleware, of every route: what a request passes, and what is recorded of its answer.
pub(crate) async fn admit(
    State(admission): State<Arc<Admission>>,
    request: Request,
    next: Next,
) -> Response {
    let started = Instant::now();
    let route = request.extensions().get::<MatchedPath>().cloned();
    let method = request.method().clone();
    let answer = AssertUnwindSafe(admission.answer(request, route.as_ref(), next)).catch_unwind();
    let response = match answer.await {
        Ok(Ok(response)) => response,
        Ok(Err(problem)) => problem.into_response(),
        // The panic hook has written message and place; the payload may hold data of the request.
        Err(_payload) => {
            tracing::error!("a request handler panicked");
            Problem::internal("the service failed on this request").into_response()
        }
    };
    metrics::answered(
        &method,
        route.as_ref(),
        response.status(),
        started.elapsed(),
    );
    response
}

impl Admission {
    /// After its checks the request is allowed and its body is in memory.
    async fn answer(
        &self,
        request: Request,
        route: Option<&MatchedPath>,
        next: Next,
    ) -> Result<Response, Problem> {
        let (parts, mut body) = request.into_parts();
        let allowed =
            limits::check_head(&parts.uri, &parts.headers).and_then(|()| self.guard.check(&parts));
        let read = match allowed {
            Ok(()) => self.read_body(route, &mut body).await,
            Err(problem) => Err(problem),
        };
        match read {
            Ok(Read { bytes, share }) => {
                let request = Request::from_parts(parts, bytes.into());
                let response = self.work(request, route, next).await;
                // Until now: what a handler makes of a body takes as much as the body did.
                drop(share);
                response
            }
            Err(problem) if body.is_end_stream() => Err(problem),
            Err(problem) => Ok(refuse(problem, body, &parts)),
        }
    }

    /// Of the service's own routes: sheds what exceeds the cap, and ends what takes too long. Health
    /// and metrics stay outside, since they matter most under load.
    async fn work(
        &self,
        request: Request,
        route: Option<&MatchedPath>,
        next: Next,
    ) -> Result<Response, Problem> {
        if route.is_none_or(|route| operations::PATHS.contains(&route.as_str())) {
            return Ok(next.run(request).await);
        }
        let _place = self.in_flight.try_acquire().map_err(|_| overloaded())?;
        let timeout = self.request_timeout;
        tokio::time::timeout(timeout, next.run(request))
            .await
            .map_err(|_| {
                let message = format!("the request was not finished within {timeout:?}");
                Problem::unavailable(message, RETRY_AFTER)
            })
    }
}

/// The answer to a request whose body has not been read to its end. Where it will not be, the connection
/// ends, and the answer says so (RFC 9112, 9.6).
fn refuse(problem: Problem, body: Body, head: &Parts) -> Response {
    // A client that waits for "100 Continue" has sent nothing, and reading would ask it to.
    let is_waiting = head.headers.contains_key(header::EXPECT);
    let is_late = problem.status() == StatusCode::REQUEST_TIMEOUT;
    let ends = is_waiting || is_late || !body::is_discarded_whole(&body);
    if !is_waiting {
        tokio::spawn(body::discard(body));
    }
    let mut response = problem.into_response();
    if ends && head.version <= Version::HTTP_11 {
        let headers = response.headers_mut();
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

pub(crate) fn overloaded() -> Problem {
    Problem::unavailable("too many requests at once", RETRY_AFTER)
}
