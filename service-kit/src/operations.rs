//! The routes every service has for those who operate it.

use axum::Json;
use axum::Router;
use axum::http::header;
use axum::response::IntoResponse;
use axum::routing::get;
use budget::Budget;
use metrics_exporter_prometheus::PrometheusHandle;
use serde_json::json;

use crate::metrics;
use crate::readiness::Readiness;

/// Of these routes.
pub(crate) const PATHS: [&str; 3] = ["/healthz", "/readyz", "/metrics"];

/// `GET /healthz` (alive), `/readyz` (able to do its job now) and `/metrics` (Prometheus).
pub(crate) fn routes(
    service: &'static str,
    readiness: Readiness,
    metrics: PrometheusHandle,
    budget: Budget,
) -> Router {
    Router::new()
        .route(
            "/healthz",
            get(move || async move { Json(json!({"status": "ok", "service": service})) }),
        )
        .route(
            "/readyz",
            get(move || async move { readiness.respond().await }),
        )
        .route(
            "/metrics",
            get(move || async move { render(&metrics, &budget) }),
        )
}

fn render(metrics: &PrometheusHandle, budget: &Budget) -> impl IntoResponse + use<> {
    metrics::observe(budget);
    let content_type = "text/plain; version=0.0.4; charset=utf-8";
    ([(header::CONTENT_TYPE, content_type)], metrics.render())
}
