//! `/dead-letters/{id}`: inspecting one, and marking it.
//!
//! The id is the dead letter's own, or that of its event. Where several routes could not deliver the
//! event it names several.

use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use budget::Share;
use serde::Deserialize;
use serde_json::json;
use service_kit::json::Json;
use service_kit::problem::Problem;
use uuid::Uuid;

use super::{done, listing, off_the_async_threads, unwritable};
use crate::answer::DeadLetterView;
use crate::dead_letter;
use crate::dead_letters::{DeadLetters, Filter, Marked, Whole};
use crate::routes::{App, damaged, json_answer, unreadable};

/// Of a listing of those that one event has.
const CHOICES_MAX: usize = 50;
const SEVERAL: &str = "several dead letters are of an event with this id: name one by its own id";

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
    State(app): State<App>,
    path: IdPath,
    query: Result<Query<Form>, QueryRejection>,
) -> Result<Response, Problem> {
    let Query(Form { data }) = query.map_err(|error| Problem::bad_request(error.body_text()))?;
    let exact = match data.as_str() {
        "" => false,
        "base64" => true,
        _ => return Err(Problem::bad_request("the parameter data is not base64")),
    };
    let (whole, share) = match named(&app, path).await? {
        Named::One(whole, share) => (whole, share),
        Named::Several(choices) => return Ok(choices),
    };
    let view = move || {
        let answer = json_answer(&DeadLetterView::new(&whole, exact).map_err(damaged)?);
        drop((whole, share));
        answer
    };
    off_the_async_threads(view).await
}

/// Its data alone. It is foreign, so no browser may take it for a page or a script.
pub(crate) async fn data(State(app): State<App>, path: IdPath) -> Result<Response, Problem> {
    let data = match named(&app, path).await? {
        Named::One(whole, _share) => whole.data,
        Named::Several(choices) => return Ok(choices),
    };
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
    let id = own_id(&text(path)?).ok_or_else(unknown)?;
    let death = dead_letter::death(&death)?;
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
    let text = text(path)?;
    let discard = async |id: &str| dead_letters.discarded(id).await.map_err(unwritable);
    let (id, marked) = match own_id(&text) {
        Some(id) => (id.clone(), discard(&id).await?),
        None => (String::new(), Marked::Absent),
    };
    let (id, marked) = match marked {
        Marked::Absent => match of_event(&dead_letters, &text).await?.as_slice() {
            [] => return Err(unknown()),
            [id] => (id.clone(), discard(id).await?),
            _ => return Err(Problem::conflict(SEVERAL)),
        },
        marked => (id, marked),
    };
    match marked {
        Marked::Done => Ok(done("dead letter discarded", json!({"id": id})).into_response()),
        Marked::Conflict => Err(Problem::conflict("the dead letter has been replayed")),
        Marked::Absent => Err(unknown()),
    }
}

/// What an id in a path names.
enum Named {
    /// With its share of the memory budget.
    One(Box<Whole>, Share),
    /// A listing of them, for the client to choose from (RFC 9110, 15.4.1).
    Several(Response),
}

async fn named(app: &App, path: IdPath) -> Result<Named, Problem> {
    let App { dead_letters, .. } = app;
    let text = text(path)?;
    if let Some(id) = own_id(&text)
        && let Some((whole, share)) = whole(app, &id).await?
    {
        return Ok(Named::One(Box::new(whole), share));
    }
    match of_event(dead_letters, &text).await?.as_slice() {
        [] => Err(unknown()),
        [id] => {
            let (whole, share) = whole(app, id).await?.ok_or_else(unknown)?;
            Ok(Named::One(Box::new(whole), share))
        }
        _ => {
            let filter = Filter::of_event(dead_letter::event_id(&text));
            let mut choices = listing(dead_letters, &filter, None, None, CHOICES_MAX).await?;
            *choices.status_mut() = StatusCode::MULTIPLE_CHOICES;
            Ok(Named::Several(choices))
        }
    }
}

/// The dead letter with this id, which may be large.
async fn whole(app: &App, id: &str) -> Result<Option<(Whole, Share)>, Problem> {
    let App {
        dead_letters,
        memory,
        ..
    } = app;
    let Some(size) = dead_letters.size(id).await.map_err(unreadable)? else {
        return Ok(None);
    };
    // As it is stored, and as it is answered. One that is nearly as large as the budget goes alone.
    let share = memory.take((size * 2).min(memory.largest()).max(size));
    let share = share.await?;
    let whole = dead_letters.by_id(id).await.map_err(unreadable)?;
    Ok(whole.map(|whole| (whole, share)))
}

/// Enough of them to know whether there are several.
async fn of_event(dead_letters: &DeadLetters, text: &str) -> Result<Vec<String>, Problem> {
    let event_id = dead_letter::event_id(text);
    let ids = dead_letters.of_event(&event_id, 2).await;
    ids.map_err(unreadable)
}

/// The id in a path. One that is no text names nothing.
fn text(path: IdPath) -> Result<String, Problem> {
    path.map(|Path(text)| text).map_err(|_| unknown())
}

/// The text as the id of a dead letter, where it can be one.
fn own_id(text: &str) -> Option<String> {
    Uuid::try_parse(text).ok().map(|id| id.to_string())
}

fn unknown() -> Problem {
    Problem::not_found("no dead letter with this id, nor of an event with it")
}
