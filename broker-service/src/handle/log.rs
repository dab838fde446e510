//! The action `log`: the entry becomes an event of the type `log.<LEVEL>`, one for each
//! `Idempotency-Key` where the request has one.

use std::borrow::Cow;

use axum::{
    Json,
    http::{HeaderMap, HeaderName, StatusCode},
    response::{IntoResponse as _, Response},
};
use bytes::Bytes;
use messaging::{Event, RoutingKey};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use service_kit::{json as body, problem::Problem};

use crate::{
    App, SOURCE,
    idempotency::{Fingerprint, Key, Published},
    problems,
};

/// Marks an answer to a request that was answered before.
const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

const NAME_BYTES_MAX: usize = 1024;
const LEVEL_BYTES_MAX: usize = 32;
const DEFAULT_LEVEL: &str = "INFO";

/// Only read to be checked: the event carries the bytes as they came.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
    #[serde(borrow)]
    #[expect(dead_code, reason = "must be there, whatever it is")]
    data: &'a RawValue,
    #[serde(borrow)]
    level: Option<Cow<'a, str>>,
}

#[derive(Serialize)]
struct Accepted {
    error: bool,
    message: &'static str,
    data: AcceptedEvent,
}

#[derive(Serialize)]
struct AcceptedEvent {
    id: String,
}

impl Accepted {
    fn new(id: String) -> Self {
        Self {
            error: false,
            message: "logged via RabbitMQ",
            data: AcceptedEvent { id },
        }
    }
}

pub(super) async fn log(
    app: &App,
    headers: &HeaderMap,
    entry: Box<RawValue>,
) -> Result<Response, Problem> {
    let idempotency_key = Key::read(headers)?;
    let (routing_key, data) = read(entry)?;
    let mut event = Event::new(&routing_key, SOURCE, "application/json", data);
    event.extensions.extend(traceparent(headers));
    let Some(key) = idempotency_key else {
        let id = event.id.clone();
        publish(app, event, &routing_key).await?;
        return Ok(accepted(id));
    };
    event.id = key.event_id();
    let request = Fingerprint::of(&event);
    let publishing = {
        let app = app.clone();
        async move { publish(&app, event, &routing_key).await }
    };
    let answer = accepted(key.event_id());
    match app.idempotency.once(key, request, publishing).await? {
        Published::Now => Ok(answer),
        Published::Before => Ok(([(REPLAYED, "true")], answer).into_response()),
    }
}

/// The routing key of an entry, and the entry itself as data, byte for byte.
pub(super) fn read(entry: Box<RawValue>) -> Result<(RoutingKey, Bytes), Problem> {
    let routing_key = routing_key(&body::parse(entry.get().as_bytes())?)?;
    let entry: Box<str> = entry.into();
    Ok((routing_key, Bytes::from(entry.into_boxed_bytes())))
}

async fn publish(app: &App, event: Event, key: &RoutingKey) -> Result<(), Problem> {
    let id = event.id.clone();
    let published = app.publish(event, key).await;
    published.map_err(|error| problems::publish(&error, key, &id))
}

fn accepted(id: String) -> Response {
    (StatusCode::ACCEPTED, Json(Accepted::new(id))).into_response()
}

fn routing_key(entry: &Entry<'_>) -> Result<RoutingKey, Problem> {
    let Entry { name, level, .. } = entry;
    if name.is_empty() || name.len() > NAME_BYTES_MAX || name.contains('\0') {
        return Err(Problem::bad_request(format!(
            "log.name must have 1 to {NAME_BYTES_MAX} bytes, and no U+0000"
        )));
    }
    let level = level.as_deref().unwrap_or(DEFAULT_LEVEL);
    let is_word = !level.contains('.') && level.len() <= LEVEL_BYTES_MAX;
    let key = format!("log.{}", level.to_ascii_uppercase()).parse();
    key.ok().filter(|_| is_word).ok_or_else(|| {
        Problem::bad_request(format!(
            "log.level must be one word of A-Z, a-z, 0-9, _ and - of at most {LEVEL_BYTES_MAX} bytes"
        ))
    })
}

/// The trace that the request belongs to, which the event carries on (W3C Trace Context, 3.2).
fn traceparent(headers: &HeaderMap) -> Option<(String, String)> {
    const NAME: &str = "traceparent";
    let value = headers.get(NAME)?.to_str().ok()?;
    let lengths = [2, 32, 16, 2];
    let well_formed = value.split('-').map(str::len).eq(lengths)
        && value
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f' | b'-'));
    well_formed.then(|| (NAME.to_owned(), value.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(entry: &str) -> Result<String, String> {
        body::parse(entry.as_bytes())
            .and_then(|entry| routing_key(&entry))
            .map(|key| key.to_string())
            .map_err(|problem| problem.message().to_owned())
    }

    #[test]
    fn the_level_makes_the_routing_key() {
        assert_eq!(key(r#"{"name":"n","data":1}"#).unwrap(), "log.INFO");
        assert_eq!(
            key(r#"{"name":"n","data":null,"level":"warn"}"#).unwrap(),
            "log.WARN"
        );
        for level in ["", "a.b", "*", "#", "a b", &"x".repeat(33)] {
            assert!(
                key(&format!(r#"{{"name":"n","data":1,"level":"{level}"}}"#)).is_err(),
                "{level}"
            );
        }
    }

    #[test]
    fn an_entry_needs_a_name_and_data_and_nothing_else() {
        for entry in [
            r#"{"data":1}"#,
            r#"{"name":"n"}"#,
            r#"{"name":"","data":1}"#,
            r#"{"name":"a\u0000","data":1}"#,
            r#"{"name":1,"data":1}"#,
            r#"{"name":"n","name":"m","data":1}"#,
            r#"{"name":"n","data":1,"extra":1}"#,
            "[]",
        ] {
            assert!(key(entry).is_err(), "{entry}");
        }
        let long = format!(r#"{{"name":"{}","data":1}}"#, "n".repeat(1025));
        assert!(key(&long).is_err());
    }

    #[test]
    fn only_a_well_formed_traceparent_is_carried_on() {
        let carried = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert("traceparent", value.parse().unwrap());
            traceparent(&headers).is_some()
        };
        assert!(carried(
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
        ));
        assert!(!carried(
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331"
        ));
        assert!(!carried(
            "00-0AF7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
        ));
        assert!(!carried("junk"));
    }
}
