//! `POST /handle`: one envelope for all actions.

mod auth;
mod envelope;
mod log;

use std::sync::Arc;

use axum::{extract::State, response::Response};
use service_kit::{json, posted::Posted, problem::Problem};

pub use self::envelope::Envelope;
use crate::App;

pub(crate) async fn handle(
    State(app): State<Arc<App>>,
    Posted { headers, body }: Posted,
) -> Result<Response, Problem> {
    json::check_headers(&headers)?;
    let envelope = Envelope::read(&body)?;
    // What is published is a part of it or a copy.
    drop(body);
    match envelope {
        Envelope::Log { key, data } => log::log(&app, &headers, key, data).await,
        // Boxed: its state is large, and every request would carry room for it.
        Envelope::Auth(credentials) => Box::pin(auth::auth(&app, credentials)).await,
    }
}
