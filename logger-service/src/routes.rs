//! The route table, and what the handlers share.

mod dead_letters;
mod log;
mod logs;

use std::time::Duration;

use axum::Router;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde::Serialize;
use service_kit::memory::Memory;
use service_kit::problem::Problem;
use service_kit::routes::{LargeBodies, Routes};
use store::StoreError;

use crate::dead_letters::DeadLetters;
use crate::listing::SearchError;
use crate::table::{Table, Writer};

use dead_letters::one;

const RETRY_AFTER: Duration = Duration::from_secs(1);

/// A producer's message may be far larger than what this suite publishes. This is room for 48 MiB
/// of data in base64 and 1 MiB of the rest.
const DEAD_LETTERS: LargeBodies = LargeBodies {
    bytes_max: 65 * 1024 * 1024,
};

#[derive(Clone)]
pub(crate) struct App {
    pub(crate) table: Table,
    pub(crate) writer: Writer,
    pub(crate) dead_letters: DeadLetters,
    pub(crate) memory: Memory,
}

pub(crate) fn routes(app: App) -> Routes {
    let router = Router::new()
        .route("/log", post(log::create))
        .route("/logs", get(logs::list))
        .route("/logs/{id}", get(logs::show))
        .route(
            "/dead-letters",
            get(dead_letters::list).post(dead_letters::create),
        )
        .route("/dead-letters/discard", post(dead_letters::discard))
        .route("/dead-letters/{id}", get(one::show))
        .route("/dead-letters/{id}/data", get(one::data))
        .route("/dead-letters/{id}/replayed", post(one::replayed))
        .route("/dead-letters/{id}/discarded", post(one::discarded))
        .with_state(app);
    Routes::from(router).with_large_bodies("/dead-letters", DEAD_LETTERS)
}

/// The answer when a read fails. The reason is for the operator: in the log, and in `/readyz`.
fn unreadable(error: StoreError) -> Problem {
    tracing::warn!("cannot read the store: {error}");
    unavailable()
}

/// The answer when there is no page of a listing.
fn unlisted(error: SearchError) -> Problem {
    match error {
        SearchError::Busy => Problem::unavailable("too many searches at once", RETRY_AFTER),
        SearchError::Store(error) => unreadable(error),
    }
}

fn unavailable() -> Problem {
    Problem::unavailable("the event store is unavailable, try again", RETRY_AFTER)
}

/// Not `axum::Json`, which would answer a failure as plain text.
fn json_answer(body: &impl Serialize) -> Result<Response, Problem> {
    let bytes = serde_json::to_vec(body).map_err(damaged)?;
    let content_type = HeaderValue::from_static("application/json");
    Ok(([(header::CONTENT_TYPE, content_type)], bytes).into_response())
}

fn damaged(error: serde_json::Error) -> Problem {
    tracing::error!("a stored row cannot be read: {error}");
    Problem::internal("a stored row cannot be read")
}
