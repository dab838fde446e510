//! The one error body of the suite: RFC 9457 `application/problem+json`, with the extension
//! members `error` and `message` for clients that read only these two.

use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

/// An HTTP error answer.
///
/// `message` is read by the client: it names what is wrong with the request, never a value from
/// its body and never an internal cause.
#[derive(Clone, Debug)]
pub struct Problem(Box<Inner>);

// Boxed because a `Problem` is the error side of most results in the services.
#[derive(Clone, Debug)]
struct Inner {
    status: StatusCode,
    code: &'static str,
    message: String,
    headers: HeaderMap,
    extensions: Map<String, Value>,
}

impl Problem {
    /// A problem with a stable kebab-case `code`, rendered as `"type": "urn:problem:<code>"`.
    pub fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self(Box::new(Inner {
            status,
            code,
            message: message.into(),
            headers: HeaderMap::new(),
            extensions: Map::new(),
        }))
    }

    /// 400.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad-request", message)
    }

    /// 401, with the `WWW-Authenticate` header that RFC 9110 section 15.5.2 requires.
    pub fn unauthorized(message: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "unauthorized", message)
            .with_header(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))
    }

    /// 403.
    pub fn forbidden(message: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", message)
    }

    /// 404.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not-found", message)
    }

    /// 409.
    pub fn conflict(message: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, "conflict", message)
    }

    /// 413.
    pub fn content_too_large(message: impl Into<String>) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "content-too-large", message)
    }

    /// 415.
    pub fn unsupported_media_type(message: impl Into<String>) -> Self {
        Self::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "unsupported-media-type",
            message,
        )
    }

    /// 500. The cause belongs in the log, not in `message`.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal-error", message)
    }

    /// 503 with a `Retry-After` header.
    pub fn unavailable(message: impl Into<String>, retry_after: Duration) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", message)
            .with_retry_after(retry_after)
    }

    /// Adds `Retry-After` in whole seconds, rounded up and at least 1.
    pub fn with_retry_after(self, wait: Duration) -> Self {
        let seconds = wait.as_millis().div_ceil(1000).max(1);
        let seconds = u64::try_from(seconds).unwrap_or(u64::MAX);
        self.with_header(header::RETRY_AFTER, HeaderValue::from(seconds))
    }

    /// Sets a response header.
    pub fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.0.headers.insert(name, value);
        self
    }

    /// Adds an extension member (RFC 9457 section 3.2). The standard members win over it.
    pub fn with_extension(mut self, key: &'static str, value: Value) -> Self {
        self.0.extensions.insert(key.to_owned(), value);
        self
    }

    /// The HTTP status.
    pub fn status(&self) -> StatusCode {
        self.0.status
    }

    /// The stable code.
    pub fn code(&self) -> &'static str {
        self.0.code
    }

    /// The headers of the answer, besides its Content-Type.
    pub fn headers(&self) -> &HeaderMap {
        &self.0.headers
    }

    /// What the client is told.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The JSON object that is sent as the body.
    pub fn to_json(&self) -> Value {
        let mut members = self.0.extensions.clone();
        let standard = [
            ("type", json!(format!("urn:problem:{}", self.0.code))),
            ("title", json!(title(self.0.code))),
            ("status", json!(self.0.status.as_u16())),
            ("detail", json!(self.0.message)),
            ("error", json!(true)),
            ("message", json!(self.0.message)),
        ];
        members.extend(standard.map(|(key, value)| (key.to_owned(), value)));
        Value::Object(members)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::from(self.to_json().to_string()));
        *response.status_mut() = self.0.status;
        *response.headers_mut() = self.0.headers;
        response.headers_mut().insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        response
    }
}

/// `not-found` becomes `Not found`.
fn title(code: &str) -> String {
    let mut title = code.replace('-', " ");
    if let Some(first) = title.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    title
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn renders_the_members_of_rfc_9457_and_the_two_simple_ones() {
        let problem = Problem::not_found("no event x").with_extension("id", json!("x"));
        assert_eq!(
            problem.to_json(),
            json!({
                "type": "urn:problem:not-found", "title": "Not found", "status": 404,
                "detail": "no event x", "error": true, "message": "no event x", "id": "x",
            })
        );
        let response = problem.into_response();
        assert_eq!(response.status(), StatusCode::NOT_FOUND);
        assert_eq!(
            response.headers()[header::CONTENT_TYPE],
            "application/problem+json"
        );
    }

    #[test]
    fn an_extension_cannot_replace_a_standard_member() {
        let problem = Problem::conflict("taken").with_extension("status", json!(200));
        assert_eq!(problem.to_json()["status"], 409);
    }

    #[test]
    fn retry_after_is_rounded_up_to_whole_seconds() {
        for (wait_ms, seconds) in [(0, "1"), (1, "1"), (1000, "1"), (1001, "2")] {
            let problem = Problem::unavailable("away", Duration::from_millis(wait_ms));
            assert_eq!(
                problem.into_response().headers()[header::RETRY_AFTER],
                seconds
            );
        }
    }
}
