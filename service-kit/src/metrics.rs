//! Prometheus metrics of the process, and those of its HTTP requests.

use std::collections::HashMap;
use std::sync::{LazyLock, Mutex, PoisonError, RwLock};
use std::time::Duration;

use anyhow::Context;
use axum::extract::MatchedPath;
use axum::http::{Method, StatusCode};
use budget::Budget;
use metrics::{Counter, Histogram};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};

/// Seconds; from a stored row to the longest request timeout.
const LATENCY_BUCKETS: [f64; 12] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0,
];
const UPKEEP_INTERVAL: Duration = Duration::from_secs(1);

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
    metrics::describe_gauge!(
        "memory_budget_bytes",
        metrics::Unit::Bytes,
        "bytes that bodies, answers and deliveries in memory may use together"
    );
    metrics::describe_gauge!(
        "memory_budget_in_use_bytes",
        metrics::Unit::Bytes,
        "bytes of the memory budget in use"
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

/// Notes how much of the memory budget is taken. Only who scrapes wants to know.
pub(crate) fn observe(budget: &Budget) {
    // Exact up to 2^53 bytes.
    metrics::gauge!("memory_budget_bytes").set(budget.total() as f64);
    metrics::gauge!("memory_budget_in_use_bytes").set(budget.in_use() as f64);
}

/// Counts and times a request that is answered, and logs it at debug level.
pub(crate) fn answered(
    method: &Method,
    route: Option<&MatchedPath>,
    status: StatusCode,
    elapsed: Duration,
) {
    let method = method_label(method);
    // The template and never the path: a label must have few values.
    let route = route.map_or("unmatched", MatchedPath::as_str);
    let status = status.as_u16();
    let kind = kind(route, method, status);
    kind.total.increment(1);
    kind.duration.record(elapsed);
    tracing::debug!(
        http.method = method,
        http.route = route,
        http.status = status,
        elapsed_us = elapsed.as_micros(),
        "answered"
    );
}

/// The metrics of requests that have all their labels in common.
#[derive(Clone)]
struct Kind {
    total: Counter,
    duration: Histogram,
}

/// By route, then method and status. As few as the labels have values.
type Kinds = HashMap<String, HashMap<(&'static str, u16), Kind>>;

/// Looked up once for all requests of a kind: the recorder would compare and copy the labels of each.
fn kind(route: &str, method: &'static str, status: u16) -> Kind {
    static KINDS: LazyLock<RwLock<Kinds>> = LazyLock::new(RwLock::default);
    let known = |kinds: &Kinds| kinds.get(route)?.get(&(method, status)).cloned();
    // What is inserted is whole, also where a panic followed.
    if let Some(kind) = known(&KINDS.read().unwrap_or_else(PoisonError::into_inner)) {
        return kind;
    }
    let labels = [
        ("method", method.to_owned()),
        ("route", route.to_owned()),
        ("status", status.to_string()),
    ];
    let kind = Kind {
        total: metrics::counter!("http_requests_total", &labels),
        duration: metrics::histogram!("http_request_duration_seconds", &labels),
    };
    let mut kinds = KINDS.write().unwrap_or_else(PoisonError::into_inner);
    let of_route = kinds.entry(route.to_owned()).or_default();
    of_route.insert((method, status), kind.clone());
    kind
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
