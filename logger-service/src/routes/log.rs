//! `POST /log`: stores one event.

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use event::binary;
use jiff::Timestamp;
use serde::Serialize;
use service_kit::posted::Posted;
use service_kit::problem::Problem;

use crate::cloud_event;
use crate::event::Event;
use crate::plain;
use crate::routes::{App, unavailable};
use crate::table::{InsertError, Stored};

/// Answers 201 for a new event, 200 for one that was stored before with the same type and data,
/// and 409 where the id belongs to another one: the first event with an id stays.
pub(super) async fn create(
    State(App { writer, .. }): State<App>,
    Posted { headers, body }: Posted,
) -> Result<Response, Problem> {
    let event = read(&headers, &body)?;
    let id = event.id.clone();
    match writer.insert(event).await {
        Ok(Stored::New) => Ok(logged(StatusCode::CREATED, &id, false)),
        Ok(Stored::Duplicate) => Ok(logged(StatusCode::OK, &id, true)),
        Ok(Stored::Conflict) => Err(Problem::conflict(
            "another event with this id but other data or type is stored, and stays",
        )),
        Err(InsertError::Refused) => Err(Problem::bad_request("the store refuses this event")),
        Err(InsertError::Busy | InsertError::Unavailable) => Err(unavailable()),
    }
}

fn read(headers: &HeaderMap, body: &Bytes) -> Result<Event, Problem> {
    let received_at = Timestamp::now();
    if binary::is_binary(headers) {
        cloud_event::read(headers, body, received_at)
    } else if cloud_event::is_structured(headers) {
        cloud_event::read_structured(headers, body, received_at)
    } else {
        // Of what is no delivery the body is read.
        plain::read(headers, body, received_at)
    }
}

/// The answer once the event is there.
#[derive(Serialize)]
struct Logged<'a> {
    data: LoggedData<'a>,
    error: bool,
    message: &'static str,
}

#[derive(Serialize)]
struct LoggedData<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    duplicate: Option<bool>,
    id: &'a str,
}

fn logged(status: StatusCode, id: &str, duplicate: bool) -> Response {
    let duplicate = duplicate.then_some(true);
    let body = Logged {
        data: LoggedData { duplicate, id },
        error: false,
        message: "logged",
    };
    (status, Json(body)).into_response()
}
