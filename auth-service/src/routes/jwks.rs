//! `/.well-known/jwks.json`

use axum::Json;
use axum::extract::State;
use jsonwebtoken::jwk::JwkSet;

use crate::app::App;

/// The key with which anybody can verify a token.
pub(crate) async fn published(State(App { tokens, .. }): State<App>) -> Json<JwkSet> {
    Json(tokens.published().clone())
}
