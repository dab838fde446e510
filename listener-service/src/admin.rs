//! What the listener shows of its routes, and how they are changed.

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::State,
    http::StatusCode,
    routing::{get, post},
};
use serde::Serialize;
use service_kit::problem::Problem;
use tracing::error;

use crate::{
    Config,
    dead_letters::Drain,
    routes::Routes,
    running::{Changes, Running, RunningRoute},
};

/// What the handlers share.
#[derive(Clone)]
pub(crate) struct Admin {
    pub(crate) running: Arc<Running>,
    pub(crate) config: Arc<Config>,
}

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

pub(crate) fn routes(admin: Admin) -> Router {
    Router::new()
        .route("/routes", get(list))
        .route("/routes/reload", post(reload))
        .with_state(admin)
}

/// `GET /routes`: each route with its state.
async fn list(State(admin): State<Admin>) -> Json<RouteList> {
    let routes = admin.running.list();
    let routes = routes.iter().map(|route| state(route)).collect();
    Json(RouteList { routes })
}

/// `POST /routes/reload`: reads `ROUTES_FILE` again.
async fn reload(State(admin): State<Admin>) -> Result<Json<Changes>, Problem> {
    if admin.config.routes_file.is_none() {
        return Err(Problem::new(
            StatusCode::CONFLICT,
            "no-routes-file",
            "the listener runs with its built-in routes: start it with ROUTES_FILE",
        ));
    }
    // Whoever asked may go meanwhile; what is begun is finished.
    let changed = tokio::spawn(async move { admin.reload().await }).await;
    let changed = changed.map_err(|error| {
        error!(%error, "a reload ended without a result");
        Problem::internal("the reload ended without a result")
    })?;
    changed.map(Json).map_err(|error| {
        Problem::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "routes-file-invalid",
            format!("nothing is changed: {error:#}"),
        )
    })
}

impl Admin {
    /// Makes the routes of the file the ones at work.
    ///
    /// # Errors
    /// What is wrong with the file; then nothing is changed.
    pub(crate) async fn reload(&self) -> anyhow::Result<Changes> {
        self.running.change(|| Routes::load(&self.config)).await
    }
}

fn state(route: &RunningRoute) -> RouteState {
    let status = route.status().into_result();
    let outage = route.outage();
    RouteState {
        name: route.name().to_owned(),
        target: route.target(),
        consuming: status.is_ok(),
        paused: outage.is_some(),
        reason: status.err().or(outage),
        dead_letters: route.dead_letters().map(drain_state),
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

/// `Ok` when every route consumes, else each one that does not, with its reason. A reason that many
/// have, such as a lost connection, is said once.
pub(crate) fn all_consuming(running: &Running) -> Result<(), String> {
    let routes = running.list();
    let waiting = routes.iter().filter_map(|route| {
        let reason = route.status().into_result().err()?;
        Some((route.name(), reason))
    });
    match said_once(waiting) {
        reasons if reasons.is_empty() => Ok(()),
        reasons => Err(reasons),
    }
}

fn said_once<'a>(waiting: impl Iterator<Item = (&'a str, String)>) -> String {
    let mut reasons: Vec<(String, Vec<&str>)> = Vec::new();
    for (name, reason) in waiting {
        match reasons.iter_mut().find(|(known, _)| *known == reason) {
            Some((_, names)) => names.push(name),
            None => reasons.push((reason, vec![name])),
        }
    }
    let reasons = reasons.iter().map(|(reason, names)| match &names[..] {
        [name] => format!("{name}: {reason}"),
        names => format!("{} routes: {reason}", names.len()),
    });
    reasons.collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_of_many_routes_is_said_once() {
        let waiting = |routes: &[(&'static str, &str)]| {
            let routes = routes.iter();
            said_once(routes.map(|(name, reason)| (*name, (*reason).to_owned())))
        };
        assert_eq!(waiting(&[]), "");
        assert_eq!(waiting(&[("a", "gone")]), "a: gone");
        assert_eq!(
            waiting(&[("a", "gone"), ("b", "no queue"), ("c", "gone")]),
            "2 routes: gone; b: no queue"
        );
    }
}
