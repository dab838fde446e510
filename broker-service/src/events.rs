//! `POST /events/{type}`: any data as one event. `POST /events`: CloudEvents in three modes.

mod batch;

use std::sync::Arc;

use axum::{
    extract::{Path, State, rejection::PathRejection},
    http::{HeaderMap, header},
    response::Response,
};
use event::{
    Event, EventType, binary,
    media_type::{self, FORM},
    structured,
};
use service_kit::{json, posted::Posted, problem::Problem};

pub(crate) use self::batch::ALL_AT_ONCE as BATCHES_AT_ONCE;
use crate::{
    App, SOURCE, cloud_event,
    publication::{Accepted, Publication},
};

const STRUCTURED: &str = structured::MEDIA_TYPE;
const BATCH: &str = "application/cloudevents-batch+json";

/// The body, byte for byte, as the data of an event of the type in the path.
pub(crate) async fn post_data(
    State(app): State<Arc<App>>,
    event_type: Result<Path<String>, PathRejection>,
    Posted { headers, body }: Posted,
) -> Result<Response, Problem> {
    let Path(event_type) =
        event_type.map_err(|_| Problem::bad_request("the event type is not valid UTF-8"))?;
    let routing_key: EventType = event_type
        .parse()
        .map_err(|error: event::EventTypeError| Problem::bad_request(error.to_string()))?;
    json::check_encoding(&headers)?;
    if binary::is_binary(&headers) {
        return Err(Problem::bad_request(
            "attributes as ce- headers belong to POST /events, without a type in the path",
        ));
    }
    let content_type = data_type(&headers, &body)?;
    if content_type.as_deref().is_some_and(structured::is_event) {
        return Err(Problem::bad_request(
            "the body is an event with a type of its own: it belongs to POST /events, without a type \
             in the path",
        ));
    }
    let mut event = Event::new(&routing_key, SOURCE, "", body);
    event.content_type = content_type;
    let publication = Publication::new(event, routing_key);
    publication
        .publish(&app, &headers, Accepted::Published)
        .await
}

/// CloudEvents: structured, binary or a batch, by the Content-Type and the `ce-` headers (CloudEvents
/// HTTP binding, 3).
pub(crate) async fn post_cloud_events(
    State(app): State<Arc<App>>,
    Posted { headers, body }: Posted,
) -> Result<Response, Problem> {
    json::check_encoding(&headers)?;
    let content_type = content_type(&headers)?;
    let essence = media_type::essence(content_type.unwrap_or_default()).to_ascii_lowercase();
    let is_utf8 = content_type.is_none_or(media_type::is_utf8);
    let publication = match essence.as_str() {
        BATCH if is_utf8 => return Box::pin(batch::publish(&app, &headers, &body)).await,
        STRUCTURED if is_utf8 => cloud_event::read_structured(&body, &body)?,
        // Another format or charset is no data of a binary event.
        other if structured::is_event(other) => return Err(no_mode(content_type)),
        _ if binary::is_binary(&headers) => cloud_event::read_binary(&headers, body)?,
        _ => return Err(no_mode(content_type)),
    };
    publication
        .publish(&app, &headers, Accepted::Published)
        .await
}

/// What the body says that it is, which JSON must be. An empty body need not say anything.
fn data_type(headers: &HeaderMap, body: &[u8]) -> Result<Option<String>, Problem> {
    let Some(text) = content_type(headers)? else {
        if body.is_empty() {
            return Ok(None);
        }
        return Err(Problem::unsupported_media_type(
            "the Content-Type header is missing: it says what the data is",
        ));
    };
    if media_type::essence(text).eq_ignore_ascii_case(FORM) {
        return Err(Problem::unsupported_media_type(
            "this is a form, as curl -d sends it: use curl --json, \
             or say what it is with -H 'Content-Type: …'",
        ));
    }
    if !media_type::is_media_type(text) {
        return Err(Problem::unsupported_media_type(
            "the Content-Type is no media type of at most 255 bytes",
        ));
    }
    if media_type::is_json(text) {
        json::check(body)?;
    }
    Ok(Some(text.to_owned()))
}

fn content_type(headers: &HeaderMap) -> Result<Option<&str>, Problem> {
    let mut values = headers.get_all(header::CONTENT_TYPE).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => value
            .to_str()
            .map(Some)
            .map_err(|_| Problem::unsupported_media_type("the Content-Type is not visible ASCII")),
        (Some(_), Some(_)) => Err(Problem::bad_request(
            "the header Content-Type is there more than once",
        )),
    }
}

fn no_mode(content_type: Option<&str>) -> Problem {
    let sent = match content_type {
        None => "the Content-Type is missing".to_owned(),
        Some(form) if media_type::essence(form).eq_ignore_ascii_case(FORM) => {
            "this is a form, as curl -d sends it".to_owned()
        }
        Some(other) => format!("the Content-Type is {}", json::shown(other)),
    };
    Problem::unsupported_media_type(format!(
        "{sent}: send a CloudEvent as {STRUCTURED} (structured), several as {BATCH} (batch), both in UTF-8, \
         or one with its attributes as ce- headers (binary); data alone goes to POST /events/{{type}}"
    ))
}
