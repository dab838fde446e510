//! The token of an administrator, as an extractor.

use axum::extract::FromRequestParts;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;

use crate::app::App;
use crate::error::ApiError;

/// Carries the token where `Authorization` holds the suite's own token (`API_TOKEN_FILE`).
const USER_TOKEN: &str = "x-user-token";

/// Proof that an administrator sent the request: `X-User-Token: <token>` or, when that is absent,
/// `Authorization: Bearer <token>`.
pub(crate) struct Administrator {
    pub(crate) user_id: String,
}

impl FromRequestParts<App> for Administrator {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        let claims = token(parts)
            .and_then(|token| app.tokens.verify(token))
            .ok_or(ApiError::TokenRequired)?;
        if !claims.admin {
            return Err(ApiError::AdministratorRequired);
        }
        Ok(Self {
            user_id: claims.sub,
        })
    }
}

fn token(parts: &Parts) -> Option<&str> {
    if let Some(value) = parts.headers.get(USER_TOKEN) {
        return value.to_str().ok();
    }
    let (scheme, token) = parts
        .headers
        .get(AUTHORIZATION)?
        .to_str()
        .ok()?
        .split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}
