//! `/authenticate` in clear, and `/authenticate/sealed` for requests through RabbitMQ.

use axum::extract::State;
use axum::http::HeaderName;
use axum::http::header::CACHE_CONTROL;
use jiff::Timestamp;
use sealing::{SealedAnswer, SealedRequest, open_request};
use secrecy::SecretString;
use secrecy::zeroize::Zeroizing;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use service_kit::json::Json;

use crate::Email;
use crate::app::App;
use crate::error::ApiError;
use crate::password::Password;
use crate::user::{self, User};

/// RFC 6749, section 5.1: an answer with a token must not be kept by a cache.
const NO_STORE: [(HeaderName, &str); 1] = [(CACHE_CONTROL, "no-store")];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Credentials {
    email: String,
    password: SecretString,
}

/// What a successful login gives.
#[derive(Serialize)]
struct Session {
    user: User,
    token: String,
}

/// 200 with user and token, or 401.
pub(crate) async fn plain(
    State(app): State<App>,
    Json(Credentials { email, password }): Json<Credentials>,
) -> Result<([(HeaderName, &'static str); 1], axum::Json<Value>), ApiError> {
    let session = authenticate(&app, &email, password).await?;
    let body = json!({"error": false, "message": "Authenticated!", "data": session});
    Ok((NO_STORE, axum::Json(body)))
}

/// 200 with user and token sealed to the requester, or a problem in clear.
pub(crate) async fn sealed(
    State(app): State<App>,
    Json(request): Json<SealedRequest>,
) -> Result<axum::Json<SealedAnswer>, ApiError> {
    let now_ms = Timestamp::now().as_millisecond();
    let opened = open_request(&app.sealing, &request, now_ms)
        .map_err(|error| ApiError::from_sealed(error, app.sealing.public()))?;
    let session = authenticate(&app, &opened.email, opened.password).await?;
    let plaintext = serde_json::to_vec(&session)
        .map(Zeroizing::new)
        .map_err(anyhow::Error::from)?;
    Ok(axum::Json(opened.answerer.seal(&plaintext)?))
}

/// The same work for an unknown e-mail as for a wrong password, so that neither the answer nor its
/// time tells who is a user.
async fn authenticate(app: &App, email: &str, password: SecretString) -> Result<Session, ApiError> {
    let email: Email = email.parse()?;
    let password = Password::presented(password)?;
    let account = user::by_email(app.database.pool()?, &email).await?;
    let (user, hash) = account
        .map(|account| (account.user, account.password_hash))
        .unzip();
    let matches = app.hasher.verify(password, hash).await?;
    let Some(user) = user else {
        // Without the e-mail: people type their password into the wrong field.
        tracing::info!("login refused: unknown e-mail");
        return Err(ApiError::WrongCredentials);
    };
    if !matches {
        tracing::info!(user.id, "login refused: wrong password");
        return Err(ApiError::WrongCredentials);
    }
    let token = app.tokens.issue(&user)?;
    tracing::info!(user.id, "login");
    Ok(Session { user, token })
}
