//! What a handler needs of a request with a body.

use std::convert::Infallible;

use axum::extract::{FromRequest, Request};
use axum::http::HeaderMap;
use bytes::Bytes;

use crate::body;

/// Extractor of headers and body, both taken from the request and not copied.
#[derive(Debug)]
pub struct Posted {
    /// All headers.
    pub headers: HeaderMap,
    /// The whole body, which is within its limits.
    pub body: Bytes,
}

impl<S: Send + Sync> FromRequest<S> for Posted {
    type Rejection = Infallible;

    async fn from_request(request: Request, _state: &S) -> Result<Self, Infallible> {
        let (parts, body) = request.into_parts();
        Ok(Self {
            headers: parts.headers,
            body: body::in_memory(body).await,
        })
    }
}
