//! The action `auth`: a request/reply through RabbitMQ, whose outcome is an event as well.

use axum::{
    Json,
    response::{IntoResponse as _, Response},
};
use bytes::Bytes;
use messaging::Event;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use service_kit::problem::Problem;
use tracing::warn;

use crate::{App, SOURCE, authenticator::Answer, problems};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Credentials {
    email: String,
    password: SecretString,
}

#[derive(Serialize)]
struct Authenticated {
    error: bool,
    message: &'static str,
    data: Box<RawValue>,
}

pub(super) async fn auth(app: &App, credentials: Credentials) -> Result<Response, Problem> {
    let Credentials { email, password } = credentials;
    match app.authenticator.authenticate(&email, &password).await? {
        Answer::Authenticated(data) => {
            tell(app, "auth.succeeded", &email).await;
            let answer = Authenticated {
                error: false,
                message: "Authenticated!",
                data,
            };
            Ok(Json(answer).into_response())
        }
        Answer::Denied => {
            tell(app, "auth.failed", &email).await;
            Err(Problem::unauthorized("e-mail or password is wrong"))
        }
    }
}

/// Publishes the outcome. It tells about the authentication and does not decide it, so a failure
/// here is logged and the answer stands.
async fn tell(app: &App, outcome: &'static str, email: &str) {
    #[expect(
        clippy::expect_used,
        reason = "the two outcomes are literals of this file"
    )]
    let key = outcome.parse().expect("a literal routing key");
    let data = serde_json::json!({ "email": email }).to_string();
    let event = Event::new(&key, SOURCE, "application/json", Bytes::from(data));
    let id = event.id.clone();
    if let Err(error) = app.publish(event, &key, app.publish_timeout).await {
        let message = problems::publish(&error, &key, &id);
        warn!(
            event.id = id,
            event.r#type = outcome,
            error = message.message(),
            "outcome not published"
        );
    }
}
