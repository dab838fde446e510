//! The route table, and what several handlers need.

mod administrator;
mod authenticate;
mod jwks;
mod users;

use axum::Router;
use axum::routing::{get, post};

use crate::app::App;

pub(crate) fn routes(app: App) -> Router {
    Router::new()
        .route("/authenticate", post(authenticate::plain))
        .route("/authenticate/sealed", post(authenticate::sealed))
        .route("/users", get(users::list).post(users::create))
        .route("/.well-known/jwks.json", get(jwks::published))
        .with_state(app)
}
