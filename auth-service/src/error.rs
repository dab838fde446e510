//! What goes wrong in a request, and the answer to it.

use std::time::Duration;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use sealing::{OpenError, PublicKey, RequestError, SealError};
use serde_json::json;
use service_kit::problem::Problem;
use store::StoreError;

use crate::hasher::HashError;

const DATABASE_RETRY_AFTER: Duration = Duration::from_secs(2);
const HASHER_RETRY_AFTER: Duration = Duration::from_secs(1);

/// A value that breaks a rule, which the text names without repeating the value.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Invalid(pub(crate) &'static str);

/// The error of every handler.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApiError {
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// An unknown e-mail or a wrong password: the client is not told which.
    #[error("wrong e-mail or password")]
    WrongCredentials,
    #[error("an administrator's token is required")]
    TokenRequired,
    #[error("only an administrator may do this")]
    AdministratorRequired,
    #[error("a user with this e-mail exists")]
    EmailTaken,
    #[error("the request is not sealed to the current key")]
    UnknownSealingKey(PublicKey),
    #[error("the request has expired")]
    Expired,
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error(transparent)]
    Seal(#[from] SealError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Hash(#[from] HashError),
    #[error(transparent)]
    Internal(#[from] anyhow::Error),
}

impl ApiError {
    /// `current` is the key that a requester who used another one should use.
    pub(crate) fn from_sealed(error: RequestError, current: &PublicKey) -> Self {
        match error {
            RequestError::Expired => Self::Expired,
            RequestError::UnknownKey => Self::UnknownSealingKey(current.clone()),
            RequestError::Open(error) => Self::Open(error),
        }
    }
}

impl From<ApiError> for Problem {
    fn from(error: ApiError) -> Self {
        let message = error.to_string();
        match error {
            ApiError::Invalid(_) | ApiError::Open(_) | ApiError::Seal(_) => {
                Problem::bad_request(message)
            }
            ApiError::WrongCredentials => Problem::new(
                StatusCode::UNAUTHORIZED,
                sealing::WRONG_CREDENTIALS,
                message,
            )
            .with_header(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer")),
            ApiError::TokenRequired => Problem::unauthorized(message),
            ApiError::AdministratorRequired => Problem::forbidden(message),
            ApiError::EmailTaken => Problem::conflict(message),
            ApiError::UnknownSealingKey(key) => {
                Problem::new(StatusCode::CONFLICT, sealing::UNKNOWN_SEALING_KEY, message)
                    .with_extension(sealing::SEALING_KEY_MEMBER, json!(key))
            }
            ApiError::Expired => Problem::new(StatusCode::GONE, "expired", message),
            ApiError::Store(error) => {
                tracing::warn!("request failed: {error}");
                Problem::unavailable("the database is unavailable", DATABASE_RETRY_AFTER)
            }
            ApiError::Hash(HashError::Saturated) => {
                Problem::unavailable(message, HASHER_RETRY_AFTER)
            }
            ApiError::Hash(HashError::Failed(error)) | ApiError::Internal(error) => {
                tracing::error!("request failed: {error:#}");
                Problem::internal("the request failed inside the service")
            }
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        Problem::from(self).into_response()
    }
}
