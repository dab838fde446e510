//! `/dead-letters`: taking them in, listing them, discarding many.

pub(super) mod one;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use service_kit::json::check_headers;
use service_kit::posted::Posted;
use service_kit::problem::Problem;
use store::StoreError;

use crate::answer::DeadLetterListing;
use crate::dead_letter;
use crate::dead_letters::{self, DeadLetters, Filter, Parameters, Recorded};
use crate::listing::{Cursor, parameter};
use crate::routes::{App, json_answer, unavailable, unlisted};

/// Answers 201 for a death that is new, 200 for the one that is known, both after the commit.
pub(super) async fn create(
    State(App { dead_letters, .. }): State<App>,
    Posted { headers, body }: Posted,
) -> Result<Response, Problem> {
    check_headers(&headers)?;
    let dead_letter = off_the_async_threads(move || dead_letter::read(&body)).await?;
    let id = &dead_letter.id;
    let recorded = dead_letters.record(&dead_letter).await;
    count(&recorded);
    let (status, data) = match recorded.map_err(unwritable)? {
        Recorded::New | Recorded::Again => (StatusCode::CREATED, json!({"id": id})),
        Recorded::Known => (StatusCode::OK, json!({"id": id, "duplicate": true})),
    };
    Ok((status, done("dead letter stored", data)).into_response())
}

/// A page, newest first, in the order of the first deaths; `since` and `until` are times of the
/// last ones.
pub(super) async fn list(
    State(App { dead_letters, .. }): State<App>,
    query: Result<Query<Parameters>, QueryRejection>,
) -> Result<Response, Problem> {
    let Query(parameters) = query.map_err(|error| Problem::bad_request(error.body_text()))?;
    absent(&[("all", &parameters.all)])?;
    let limit = parameter::limit(&parameters.limit)?;
    let state = dead_letters::State::parse(&parameters.state)?;
    let filter = Filter::parse(&parameters)?;
    let cursor = parameter::cursor(&parameters.cursor, &filter.fingerprint(state))?;
    listing(&dead_letters, &filter, state, cursor, limit).await
}

async fn listing(
    dead_letters: &DeadLetters,
    filter: &Filter,
    state: Option<dead_letters::State>,
    cursor: Option<Cursor>,
    limit: usize,
) -> Result<Response, Problem> {
    let page = dead_letters
        .page(filter, state, cursor, limit)
        .await
        .map_err(unlisted)?;
    let fingerprint = filter.fingerprint(state);
    json_answer(&DeadLetterListing {
        dead_letters: page.summaries,
        total: page.total,
        next_cursor: page.next.map(|cursor| cursor.encode(&fingerprint)),
    })
}

/// Discards every dead one that matches. Without a filter it takes `all=true`, so that nobody
/// discards everything by forgetting a parameter.
pub(super) async fn discard(
    State(App { dead_letters, .. }): State<App>,
    query: Result<Query<Parameters>, QueryRejection>,
) -> Result<Response, Problem> {
    let Query(parameters) = query.map_err(|error| Problem::bad_request(error.body_text()))?;
    absent(&[
        ("state", &parameters.state),
        ("limit", &parameters.limit),
        ("cursor", &parameters.cursor),
    ])?;
    let filter = Filter::parse(&parameters)?;
    match parameters.all.as_str() {
        "true" => {}
        "" if !filter.is_empty() => {}
        "" => {
            return Err(Problem::bad_request(
                "no parameter says which dead letters to discard: all=true discards all",
            ));
        }
        _ => return Err(Problem::bad_request("the parameter all is not true")),
    }
    let discarded = dead_letters.discard(&filter).await.map_err(unwritable)?;
    Ok(done("dead letters discarded", json!({"discarded": discarded})).into_response())
}

/// Reading and writing JSON of this size takes a while.
async fn off_the_async_threads<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Problem> + Send + 'static,
) -> Result<T, Problem> {
    // It fails only by a panic, whose hook has written why.
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|_| Problem::internal("the service failed on this request"))?
}

/// These parameters belong to another route.
fn absent(parameters: &[(&str, &str)]) -> Result<(), Problem> {
    match parameters.iter().find(|(_, value)| !value.is_empty()) {
        Some((name, _)) => Err(Problem::bad_request(format!(
            "the parameter {name} is not for this route"
        ))),
        None => Ok(()),
    }
}

fn done(message: &str, data: Value) -> Json<Value> {
    Json(json!({"error": false, "message": message, "data": data}))
}

/// The answer when a write fails. The reason is for the operator: in the log, and in `/readyz`.
fn unwritable(error: StoreError) -> Problem {
    tracing::warn!("cannot write dead letters: {error}");
    unavailable()
}

fn count(recorded: &Result<Recorded, StoreError>) {
    let outcome = match recorded {
        Ok(Recorded::New) => "new",
        Ok(Recorded::Again) => "again",
        Ok(Recorded::Known) => "duplicate",
        Err(_) => "unavailable",
    };
    metrics::counter!("logger_dead_letters_total", "outcome" => outcome).increment(1);
}
