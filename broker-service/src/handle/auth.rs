//! The action `auth`: a request/reply through RabbitMQ, whose outcome is an event as well.

use std::sync::Arc;

use axum::{
    Json,
    response::{IntoResponse as _, Response},
};
use event::{Event, Payload};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use service_kit::problem::Problem;
use tracing::warn;

use crate::{App, SOURCE, authenticator::Answer, problems};

/// Who somebody claims to be.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Credentials {
    email: String,
    password: SecretString,
}

/// Somebody was authenticated.
#[derive(Deserialize, Serialize)]
struct Succeeded {
    email: String,
}

/// Somebody was not.
#[derive(Deserialize, Serialize)]
struct Failed {
    email: String,
}

event::payloads! {
    Succeeded => "auth.succeeded",
    Failed => "auth.failed",
}

#[derive(Serialize)]
struct Authenticated {
    error: bool,
    message: &'static str,
    data: Box<RawValue>,
}

pub(super) async fn auth(app: &Arc<App>, credentials: Credentials) -> Result<Response, Problem> {
    let Credentials { email, password } = credentials;
    match app.authenticator.authenticate(&email, &password).await? {
        Answer::Authenticated(data) => {
            tell(app, Succeeded { email }).await;
            let answer = Authenticated {
                error: false,
                message: "Authenticated!",
                data,
            };
            Ok(Json(answer).into_response())
        }
        Answer::Denied => {
            tell(app, Failed { email }).await;
            Err(Problem::unauthorized("e-mail or password is wrong"))
        }
    }
}

/// Publishes the outcome. It tells about the authentication and does not decide it, so a failure
/// here is logged and the answer stands.
async fn tell<P: Payload>(app: &Arc<App>, outcome: P) {
    let event = match Event::of(SOURCE, &outcome) {
        Ok(event) => event,
        Err(error) => return warn!(event.r#type = %P::KEY, %error, "outcome not published"),
    };
    let id = event.id.clone();
    if let Err(error) = app.publish(event, &P::KEY, app.publish_timeout).await {
        let message = problems::publish(&error, &P::KEY, &id);
        warn!(
            event.id = id,
            event.r#type = %P::KEY,
            error = message.message(),
            "outcome not published"
        );
    }
}
