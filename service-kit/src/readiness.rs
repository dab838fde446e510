//! Whether a service can do its job now, and the reason when it cannot.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use futures_util::future::{BoxFuture, join_all};
use serde_json::{Map, Value, json};
use tokio_util::sync::CancellationToken;

use crate::problem::Problem;

/// A probe of something hanging counts as failed after this long.
const CHECK_TIMEOUT: Duration = Duration::from_secs(1);
const RETRY_AFTER: Duration = Duration::from_secs(1);

type Probe = dyn Fn() -> BoxFuture<'static, Result<(), String>> + Send + Sync;

/// The named checks behind `GET /readyz`. A service that drains is not ready whatever they say.
#[derive(Clone)]
pub struct Readiness {
    shutdown: CancellationToken,
    checks: Vec<(&'static str, Arc<Probe>)>,
}

impl Readiness {
    /// Ready until `shutdown` is cancelled.
    pub fn new(shutdown: CancellationToken) -> Self {
        Self {
            shutdown,
            checks: Vec::new(),
        }
    }

    /// Adds a check. Its error is shown to whoever asks, so it must hold no secret.
    #[must_use]
    pub fn check(
        mut self,
        name: &'static str,
        probe: impl Fn() -> BoxFuture<'static, Result<(), String>> + Send + Sync + 'static,
    ) -> Self {
        self.checks.push((name, Arc::new(probe)));
        self
    }

    /// Runs all checks at the same time and answers 200, or 503 with every reason.
    pub(crate) async fn respond(&self) -> Response {
        if self.shutdown.is_cancelled() {
            return Problem::unavailable("not ready: the service is stopping", RETRY_AFTER)
                .into_response();
        }
        let results = join_all(self.checks.iter().map(|(name, probe)| run(name, probe))).await;
        let mut report = Map::new();
        let mut reasons = Vec::new();
        for (name, result) in results {
            match result {
                Ok(()) => report.insert(name.to_owned(), json!("ok")),
                Err(reason) => {
                    reasons.push(format!("{name}: {reason}"));
                    report.insert(name.to_owned(), json!(reason))
                }
            };
        }
        if reasons.is_empty() {
            let body = json!({"ready": true, "checks": Value::Object(report)});
            return (StatusCode::OK, Json(body)).into_response();
        }
        let message = format!("not ready: {}", reasons.join("; "));
        Problem::unavailable(message, RETRY_AFTER)
            .with_extension("ready", json!(false))
            .with_extension("checks", Value::Object(report))
            .into_response()
    }
}

async fn run(name: &'static str, probe: &Arc<Probe>) -> (&'static str, Result<(), String>) {
    let result = tokio::time::timeout(CHECK_TIMEOUT, probe()).await;
    let result = result.unwrap_or_else(|_| Err(format!("no answer within {CHECK_TIMEOUT:?}")));
    (name, result)
}

impl fmt::Debug for Readiness {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.checks.iter().map(|(name, _)| name).collect();
        formatter
            .debug_struct("Readiness")
            .field("checks", &names)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use http_body_util::BodyExt;

    use super::*;

    async fn ask(readiness: &Readiness) -> (u16, Value) {
        let response = readiness.respond().await;
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, serde_json::from_slice(&body).unwrap())
    }

    #[tokio::test]
    async fn ready_when_every_check_passes() {
        let readiness =
            Readiness::new(CancellationToken::new()).check("database", || async { Ok(()) }.boxed());
        let (status, body) = ask(&readiness).await;
        assert_eq!(status, 200);
        assert_eq!(body, json!({"ready": true, "checks": {"database": "ok"}}));
    }

    #[tokio::test(start_paused = true)]
    async fn names_each_failing_check_even_a_hanging_one() {
        let readiness = Readiness::new(CancellationToken::new())
            .check("disk", || async { Ok(()) }.boxed())
            .check("database", || async { Err("refused".to_owned()) }.boxed())
            .check("rabbitmq", || std::future::pending().boxed());
        let (status, body) = ask(&readiness).await;
        assert_eq!(status, 503);
        assert_eq!(
            body["message"],
            "not ready: database: refused; rabbitmq: no answer within 1s"
        );
        assert_eq!(body["ready"], false);
        assert_eq!(body["checks"]["disk"], "ok");
    }

    #[tokio::test]
    async fn a_stopping_service_is_not_ready() {
        let shutdown = CancellationToken::new();
        let readiness = Readiness::new(shutdown.clone());
        shutdown.cancel();
        assert_eq!(ask(&readiness).await.0, 503);
    }
}
