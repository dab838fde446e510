//! `POST /handle`: one envelope for all actions.

mod auth;
mod log;

use axum::{extract::State, http::HeaderMap, response::Response};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;
use service_kit::{json, problem::Problem};

use crate::App;

/// What to do, and the one member that belongs to it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Envelope {
    action: Action,
    log: Option<Box<RawValue>>,
    auth: Option<auth::Credentials>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Action {
    Log,
    Auth,
}

pub(crate) async fn handle(
    State(app): State<App>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Problem> {
    json::check_headers(&headers)?;
    let envelope: Envelope = json::parse(&body)?;
    match envelope {
        Envelope {
            action: Action::Log,
            log: Some(entry),
            auth: None,
        } => log::log(&app, &headers, entry).await,
        Envelope {
            action: Action::Auth,
            log: None,
            auth: Some(credentials),
        } => auth::auth(&app, credentials).await,
        Envelope { action, .. } => {
            let member = match action {
                Action::Log => "log",
                Action::Auth => "auth",
            };
            Err(Problem::bad_request(format!(
                "the action \"{member}\" takes the member \"{member}\", and no other one"
            )))
        }
    }
}
