//! The route table, and what the handlers share.

mod log;
mod logs;

use std::time::Duration;

use axum::Router;
use axum::routing::{get, post};
use service_kit::problem::Problem;
use store::StoreError;

use crate::table::{Table, Writer};

const RETRY_AFTER: Duration = Duration::from_secs(1);

#[derive(Clone)]
pub(crate) struct App {
    pub(crate) table: Table,
    pub(crate) writer: Writer,
}

pub(crate) fn routes(app: App) -> Router {
    Router::new()
        .route("/log", post(log::create))
        .route("/logs", get(logs::list))
        .route("/logs/{id}", get(logs::show))
        .with_state(app)
}

/// The answer when a read fails. The reason is for the operator: in the log, and in `/readyz`.
fn unreadable(error: StoreError) -> Problem {
    tracing::warn!("cannot read events: {error}");
    unavailable()
}

fn unavailable() -> Problem {
    Problem::unavailable("the event store is unavailable, try again", RETRY_AFTER)
}
