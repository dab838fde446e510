//! What the listener shows of its routes.

use std::sync::Arc;

use axum::{Json, Router, extract::State, routing::get};
use serde::Serialize;

use crate::{Running, dead_letters::Drain};

#[derive(Serialize)]
struct RouteList {
    routes: Vec<RouteState>,
}

#[derive(Serialize)]
struct RouteState {
    name: String,
    target: String,
    consuming: bool,
    /// Its target is down, so nothing is pulled until a probe succeeds.
    paused: bool,
    /// Why it is not consuming, or is paused.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// How its dead letters get into the store; absent where they stay in their queue.
    #[serde(skip_serializing_if = "Option::is_none")]
    dead_letters: Option<DrainState>,
}

#[derive(Serialize)]
struct DrainState {
    draining: bool,
    /// Why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

pub(crate) fn routes(running: Arc<Vec<Running>>) -> Router {
    Router::new()
        .route("/routes", get(list))
        .with_state(running)
}

/// `GET /routes`: each route with its state.
async fn list(State(running): State<Arc<Vec<Running>>>) -> Json<RouteList> {
    let routes = running.iter().map(state).collect();
    Json(RouteList { routes })
}

fn state(route: &Running) -> RouteState {
    let status = route.consumer.status().into_result();
    let outage = route.breaker.as_ref().and_then(|breaker| breaker.open());
    RouteState {
        name: route.name.clone(),
        target: route.target.clone(),
        consuming: status.is_ok(),
        paused: outage.is_some(),
        reason: status.err().or(outage),
        dead_letters: route.drain.as_ref().map(drain_state),
    }
}

fn drain_state(drain: &Drain) -> DrainState {
    let status = drain.consumer.status().into_result();
    let reason = status.err().or_else(|| drain.breaker.open());
    DrainState {
        draining: reason.is_none(),
        reason,
    }
}

/// `Ok` when every route consumes, else each one that does not, with its reason.
pub(crate) fn all_consuming(running: &[Running]) -> Result<(), String> {
    let waiting: Vec<_> = running
        .iter()
        .filter_map(|route| {
            let reason = route.consumer.status().into_result().err()?;
            Some(format!("{}: {reason}", route.name))
        })
        .collect();
    if waiting.is_empty() {
        Ok(())
    } else {
        Err(waiting.join("; "))
    }
}
