//! Prometheus metrics of the process, and those of its HTTP requests.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context;
use axum::extract::{MatchedPath, Request};
use axum::http::Method;
use axum::middleware::Next;
use axum::response::Response;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};

/// Seconds; from a stored row to the longest request timeout.
const LATENCY_BUCKETS: [f64; 12] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0,
];
const UPKEEP_INTERVAL: Duration = Duration::from_secs(5);

/// The process-wide recorder; tests run several services in one process.
static RECORDER: Mutex<Option<PrometheusHandle>> = Mutex::new(None);

/// Installs the recorder the first time, and returns the handle that renders it.
pub(crate) fn install() -> anyhow::Result<PrometheusHandle> {
    // A panic while installing leaves `None` behind, which is a valid state.
    let mut recorder = RECORDER.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(handle) = &*recorder {
        return Ok(handle.clone());
    }
    let handle = PrometheusBuilder::new()
        .set_buckets(&LATENCY_BUCKETS)
        .and_then(PrometheusBuilder::install_recorder)
        .context("cannot install the metrics recorder")?;
    metrics::describe_counter!("http_requests_total", "HTTP requests answered");
    metrics::describe_histogram!(
        "http_request_duration_seconds",
        metrics::Unit::Seconds,
        "time from the head of a request to the head of its answer"
    );
    *recorder = Some(handle.clone());
    Ok(handle)
}

/// Folds recorded samples together for as long as it is polled; without it they pile up in memory
/// when nobody scrapes.
pub(crate) async fn upkeep(handle: PrometheusHandle) {
    let mut interval = tokio::time::interval(UPKEEP_INTERVAL);
    loop {
        interval.tick().await;
        handle.run_upkeep();
    }
}

/// Middleware: counts and times every request, and logs it at debug level.
pub(crate) async fn record(request: Request, next: Next) -> Response {
    let started = Instant::now();
    // The template and never the path: a label must have few values.
    let route = request
        .extensions()
        .get::<MatchedPath>()
        .map_or_else(|| "unmatched".to_owned(), |path| path.as_str().to_owned());
    let method = method_label(request.method());
    let response = next.run(request).await;

    let elapsed = started.elapsed();
    let status = response.status();
    let labels = [
        ("method", method.to_owned()),
        ("route", route.clone()),
        ("status", status.as_str().to_owned()),
    ];
    metrics::counter!("http_requests_total", &labels).increment(1);
    metrics::histogram!("http_request_duration_seconds", &labels).record(elapsed);
    tracing::debug!(
        http.method = method,
        http.route = route,
        http.status = status.as_u16(),
        elapsed_us = elapsed.as_micros(),
        "answered"
    );
    response
}

fn method_label(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "PUT" => "PUT",
        "PATCH" => "PATCH",
        "DELETE" => "DELETE",
        "OPTIONS" => "OPTIONS",
        _ => "other",
    }
}
