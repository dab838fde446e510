//! Dead letters by HTTP, on the listener's own address.
//!
//! What only looks or marks is handed on to logger-service, and its answer back.

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    body::Body,
    extract::{Path, RawQuery, State, rejection::PathRejection},
    http::{Method, Response, StatusCode, header},
    response::IntoResponse as _,
    routing::{any, get, post},
};
use bytes::Bytes;
use futures_util::stream;
use messaging::PublishError;
use serde_json::json;
use service_kit::problem::Problem;
use tokio::sync::{Semaphore, mpsc};
use tracing::{error, info};

use crate::dead_letters::{
    filter::{Filter, check_given},
    letter::segment,
    replay::{ReplayError, Replayer},
    replay_job::{Line, ReplayJob},
    store::{Store, StoreError},
};

const RETRY_AFTER: Duration = Duration::from_secs(5);
/// Lines that a slow reader may fall behind.
const LINES: usize = 16;
/// Replays of many at one time.
const JOBS_MAX: usize = 4;

#[derive(Clone)]
struct App {
    replayer: Replayer,
    jobs: Arc<Semaphore>,
}

type Answer = Result<Response<Body>, Problem>;

/// The routes of a listener that drains its dead letters.
pub(crate) fn routes(replayer: Replayer) -> Router {
    let jobs = Arc::new(Semaphore::new(JOBS_MAX));
    Router::new()
        .route("/dead-letters", get(list))
        .route("/dead-letters/discard", post(discard_many))
        .route("/dead-letters/replay", post(replay_many))
        .route("/dead-letters/{id}", get(show))
        .route("/dead-letters/{id}/data", get(data))
        .route("/dead-letters/{id}/discard", post(discard))
        .route("/dead-letters/{id}/replay", post(replay))
        .with_state(App { replayer, jobs })
}

/// The routes of a listener that leaves them where they are.
pub(crate) fn absent() -> Router {
    let say = || async {
        Problem::not_found(
            "this listener leaves dead letters in their queues: DEAD_LETTERS is \"queue\"",
        )
    };
    Router::new()
        .route("/dead-letters", any(say))
        .route("/dead-letters/{*rest}", any(say))
}

async fn list(State(app): State<App>, RawQuery(query): RawQuery) -> Answer {
    hand_on(&app.replayer.store, Method::GET, "", query.as_deref()).await
}

async fn show(State(app): State<App>, id: Id) -> Answer {
    hand_on(&app.replayer.store, Method::GET, &check(id)?, None).await
}

async fn data(State(app): State<App>, id: Id) -> Answer {
    let path = check(id)? + "/data";
    let mut answer = hand_on(&app.replayer.store, Method::GET, &path, None).await?;
    // It is anybody's data: a browser must neither guess what it is nor run it.
    let headers = answer.headers_mut();
    for (name, value) in [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CONTENT_DISPOSITION, "attachment"),
    ] {
        headers.insert(name, header::HeaderValue::from_static(value));
    }
    Ok(answer)
}

async fn discard(State(app): State<App>, id: Id) -> Answer {
    let path = check(id)? + "/discarded";
    hand_on(&app.replayer.store, Method::POST, &path, None).await
}

async fn discard_many(State(app): State<App>, RawQuery(query): RawQuery) -> Answer {
    check_given(query.as_deref().unwrap_or_default()).map_err(Problem::bad_request)?;
    hand_on(
        &app.replayer.store,
        Method::POST,
        "discard",
        query.as_deref(),
    )
    .await
}

async fn replay(State(app): State<App>, id: Id, RawQuery(query): RawQuery) -> Answer {
    let Path(id) = id.map_err(|_| unknown())?;
    let again = match query.as_deref() {
        None | Some("") => false,
        Some("again=true") => true,
        Some(_) => return Err(Problem::bad_request("the only parameter is again=true")),
    };
    let asked = id.clone();
    // It goes on when the client leaves: half a replay is one that nobody knows of.
    let replay = tokio::spawn(async move { app.replayer.replay(&asked, again).await });
    let replayed = replay.await.map_err(|error| {
        error!(%error, "a replay failed");
        Problem::internal("the replay failed; whether it was sent is not known")
    })?;
    replayed.map_err(problem)?;
    info!(dead_letter.id = id, "replayed");
    let body = json!({"error": false, "message": "replayed", "data": {"id": id}});
    Ok(axum::Json(body).into_response())
}

/// Answers with a line of JSON for each step, and goes on as long as somebody reads them.
async fn replay_many(State(app): State<App>, RawQuery(query): RawQuery) -> Answer {
    let filter = Filter::parse(&query.unwrap_or_default()).map_err(Problem::bad_request)?;
    let place = app.jobs.try_acquire_owned().map_err(|_| {
        let message = format!("{JOBS_MAX} replays of many are under way: wait for one to end");
        Problem::unavailable(message, RETRY_AFTER)
    })?;
    // A mistake in the filter is told as one, before the first line.
    let first = app.replayer.store.page(&filter.page(None, 1)).await;
    first.map_err(|error| problem(error.into()))?;
    let (lines, read) = mpsc::channel::<Line>(LINES);
    tokio::spawn(async move {
        ReplayJob::new(app.replayer, filter, lines).run().await;
        drop(place);
    });
    let lines = stream::unfold(read, |mut read| async move {
        let line = read.recv().await?;
        let text = serde_json::to_string(&line).map(|line| Bytes::from(line + "\n"));
        Some((text, read))
    });
    let content_type = [(header::CONTENT_TYPE, "application/x-ndjson")];
    Ok((content_type, Body::from_stream(lines)).into_response())
}

/// The id in a path.
type Id = Result<Path<String>, PathRejection>;

/// It as a segment of a path at logger-service.
fn check(id: Id) -> Result<String, Problem> {
    let segment = id.ok().and_then(|Path(id)| segment(&id));
    segment.ok_or_else(unknown)
}

fn unknown() -> Problem {
    Problem::not_found(StoreError::NotFound.to_string())
}

/// Asks logger-service the same, and gives its answer.
async fn hand_on(store: &Store, method: Method, path: &str, query: Option<&str>) -> Answer {
    let answer = match store.ask(method, path, query, Bytes::new()).await {
        Err(StoreError::Several(choices)) => {
            let json = [(header::CONTENT_TYPE, "application/json")];
            return Ok((StatusCode::MULTIPLE_CHOICES, json, choices).into_response());
        }
        answer => answer.map_err(|error| problem(error.into()))?,
    };
    let mut response = Response::new(Body::from(answer.body));
    if let Some(content_type) = answer.content_type {
        response
            .headers_mut()
            .insert(header::CONTENT_TYPE, content_type);
    }
    Ok(response)
}

fn problem(error: ReplayError) -> Problem {
    let message = error.to_string();
    match error {
        ReplayError::Replayed | ReplayError::Refused(_) => Problem::conflict(message),
        ReplayError::Publish(PublishError::TooLarge(_)) => Problem::conflict(message),
        ReplayError::NoQueue(_) => Problem::new(StatusCode::CONFLICT, "no-queue", message),
        ReplayError::Publish(_)
        | ReplayError::Unmarked(_)
        | ReplayError::Store(StoreError::Away(_)) => Problem::unavailable(message, RETRY_AFTER),
        ReplayError::Store(StoreError::NotFound) => Problem::not_found(message),
        ReplayError::Store(StoreError::Several(_)) => Problem::conflict(message),
        ReplayError::Store(StoreError::Refused { status, message }) => match status {
            StatusCode::CONFLICT => Problem::conflict(message),
            _ => Problem::bad_request(message),
        },
    }
}
