//! `GET /logs` and `GET /logs/{id}`: what is stored.

use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::response::Response;
use service_kit::problem::Problem;

use crate::answer::{EventView, Listing};
use crate::event::check_id;
use crate::listing::parameter;
use crate::routes::{App, damaged, json_answer, unlisted, unreadable};
use crate::table::{Filter, Parameters};

/// A page ends early once it has this many bytes, or takes this part of the memory budget: several
/// clients that are slow to read theirs leave room for others.
const PAGE_BYTES_MAX: usize = 4 * 1024 * 1024;
const PAGES: usize = 64;

/// A page, newest first, in the order of arrival; `since` and `until` are times of arrival too.
pub(super) async fn list(
    State(App { table, memory, .. }): State<App>,
    query: Result<Query<Parameters>, QueryRejection>,
) -> Result<Response, Problem> {
    let Query(parameters) = query.map_err(|error| Problem::bad_request(error.body_text()))?;
    let limit = parameter::limit(&parameters.limit)?;
    let filter = Filter::parse(&parameters)?;
    let fingerprint = filter.fingerprint();
    let cursor = parameter::cursor(&parameters.cursor, &fingerprint)?;
    let bytes_max = PAGE_BYTES_MAX.min(memory.budget().total() / PAGES);
    let found = table.find(&filter, cursor, limit, bytes_max).await;
    let found = found.map_err(unlisted)?;
    // Until the answer is written down, the rows are there beside it.
    let _share = memory.take(found.bytes).await?;
    let events = table.read(&found.seqs).await.map_err(unreadable)?;
    let listing = Listing {
        events: events
            .iter()
            .map(EventView::new)
            .collect::<Result<_, _>>()
            .map_err(damaged)?,
        next_cursor: found.next.map(|cursor| cursor.encode(&fingerprint)),
    };
    json_answer(&listing)
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
    json_answer(&EventView::new(&event).map_err(damaged)?)
}
