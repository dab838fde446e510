//! `/dead-letters/{id}`: inspecting one, and marking it.

use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::json;
use service_kit::json::Json;
use service_kit::problem::Problem;
use uuid::Uuid;

use super::{done, off_the_async_threads, unwritable};
use crate::answer::DeadLetterView;
use crate::dead_letter;
use crate::dead_letters::Marked;
use crate::routes::{App, damaged, json_answer, unreadable};

type IdPath = Result<Path<String>, PathRejection>;

/// The body of `POST /dead-letters/{id}/replayed`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Replayed {
    death: String,
}

/// The query of `GET /dead-letters/{id}`.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Form {
    data: String,
}

/// One dead letter with its message. With `data=base64` its data is in base64 whatever it is, for
/// a program that must have the same bytes, as a replay does.
pub(crate) async fn show(
    State(App { dead_letters, .. }): State<App>,
    path: IdPath,
    query: Result<Query<Form>, QueryRejection>,
) -> Result<Response, Problem> {
    let Query(Form { data }) = query.map_err(|error| Problem::bad_request(error.body_text()))?;
    let exact = match data.as_str() {
        "" => false,
        "base64" => true,
        _ => return Err(Problem::bad_request("the parameter data is not base64")),
    };
    let whole = dead_letters.by_id(&id(path)?).await.map_err(unreadable)?;
    let whole = whole.ok_or_else(unknown)?;
    let view = move || json_answer(&DeadLetterView::new(&whole, exact).map_err(damaged)?);
    off_the_async_threads(view).await
}

/// Its data alone. It is foreign, so no browser may take it for a page or a script.
pub(crate) async fn data(
    State(App { dead_letters, .. }): State<App>,
    path: IdPath,
) -> Result<Response, Problem> {
    let whole = dead_letters.by_id(&id(path)?).await.map_err(unreadable)?;
    let data = whole.ok_or_else(unknown)?.data;
    let headers = [
        (header::CONTENT_TYPE, "application/octet-stream"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CONTENT_DISPOSITION, "attachment"),
    ];
    Ok((headers, data.into_bytes()).into_response())
}

/// The death of this replay is over. A later one is not, so it is told apart.
pub(crate) async fn replayed(
    State(App { dead_letters, .. }): State<App>,
    path: IdPath,
    Json(Replayed { death }): Json<Replayed>,
) -> Result<Response, Problem> {
    let (id, death) = (id(path)?, dead_letter::death(&death)?);
    match dead_letters
        .replayed(&id, &death)
        .await
        .map_err(unwritable)?
    {
        Marked::Done => Ok(done("marked as replayed", json!({"id": id})).into_response()),
        Marked::Conflict => Err(Problem::conflict("the dead letter died again since")),
        Marked::Absent => Err(unknown()),
    }
}

/// Nobody wants it delivered any more.
pub(crate) async fn discarded(
    State(App { dead_letters, .. }): State<App>,
    path: IdPath,
) -> Result<Response, Problem> {
    let id = id(path)?;
    match dead_letters.discarded(&id).await.map_err(unwritable)? {
        Marked::Done => Ok(done("dead letter discarded", json!({"id": id})).into_response()),
        Marked::Conflict => Err(Problem::conflict("the dead letter has been replayed")),
        Marked::Absent => Err(unknown()),
    }
}

/// An id that is none names nothing.
fn id(path: IdPath) -> Result<String, Problem> {
    let Path(id) = path.map_err(|_| unknown())?;
    let id = Uuid::try_parse(&id).map_err(|_| unknown())?;
    Ok(id.to_string())
}

fn unknown() -> Problem {
    Problem::not_found("no dead letter with this id")
}
