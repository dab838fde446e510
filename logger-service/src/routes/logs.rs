//! `GET /logs` and `GET /logs/{id}`: what is stored.

use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use service_kit::problem::Problem;

use crate::answer::{EventView, Listing};
use crate::event::check_id;
use crate::routes::{App, unreadable};
use crate::table::{Cursor, Filter, Parameters};

const LIMIT_DEFAULT: usize = 50;
const LIMIT_MAX: usize = 500;

/// A page, newest first, in the order of arrival; `since` and `until` are times of arrival too.
pub(super) async fn list(
    State(App { table, .. }): State<App>,
    query: Result<Query<Parameters>, QueryRejection>,
) -> Result<Response, Problem> {
    let Query(parameters) = query.map_err(|error| Problem::bad_request(error.body_text()))?;
    let limit = limit(&parameters.limit)?;
    let filter = Filter::parse(&parameters)?;
    let cursor = cursor(&parameters.cursor, &filter)?;
    let page = table
        .page(&filter, cursor, limit)
        .await
        .map_err(unreadable)?;
    let listing = Listing {
        events: page
            .events
            .iter()
            .map(EventView::new)
            .collect::<Result<_, _>>()
            .map_err(damaged)?,
        next_cursor: page.next.map(|cursor| cursor.encode(&filter)),
    };
    json(&listing)
}

/// One event.
pub(super) async fn show(
    State(App { table, .. }): State<App>,
    path: Result<Path<String>, PathRejection>,
) -> Result<Response, Problem> {
    let Path(id) = path.map_err(|error| Problem::bad_request(error.body_text()))?;
    check_id("the id", &id)?;
    let event = table.by_id(&id).await.map_err(unreadable)?;
    let event = event.ok_or_else(|| Problem::not_found("no event with this id"))?;
    json(&EventView::new(&event).map_err(damaged)?)
}

fn limit(text: &str) -> Result<usize, Problem> {
    if text.is_empty() {
        return Ok(LIMIT_DEFAULT);
    }
    let limit = text
        .parse()
        .ok()
        .filter(|limit| (1..=LIMIT_MAX).contains(limit));
    limit.ok_or_else(|| {
        Problem::bad_request(format!(
            "the parameter limit is not a number from 1 to {LIMIT_MAX}"
        ))
    })
}

fn cursor(text: &str, filter: &Filter) -> Result<Option<Cursor>, Problem> {
    if text.is_empty() {
        return Ok(None);
    }
    Cursor::decode(text, filter).map(Some).ok_or_else(|| {
        Problem::bad_request("the parameter cursor is not a next_cursor of the same filters")
    })
}

/// Not `axum::Json`, which would answer a failure as plain text.
fn json(body: &impl Serialize) -> Result<Response, Problem> {
    let bytes = serde_json::to_vec(body).map_err(damaged)?;
    let content_type = HeaderValue::from_static("application/json");
    Ok(([(header::CONTENT_TYPE, content_type)], bytes).into_response())
}

fn damaged(error: serde_json::Error) -> Problem {
    tracing::error!("a stored event cannot be read: {error}");
    Problem::internal("a stored event cannot be read")
}
