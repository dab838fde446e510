//! What a client is told when RabbitMQ does not take its event or its request.

use std::time::Duration;

use axum::http::StatusCode;
use event::EventType;
use messaging::{PublishError, RequestError};
use serde_json::json;
use service_kit::problem::Problem;

const SOON: Duration = Duration::from_secs(1);
const LATER: Duration = Duration::from_secs(5);

/// Most are a 503: the same request may succeed later. A 403 and a 413 take somebody to change the
/// permissions, or the limit, that RabbitMQ has. Only `unconfirmed` leaves
/// open whether the event was published, and so carries its id.
pub(crate) fn publish(error: &PublishError, key: &EventType, id: &str) -> Problem {
    let problem = |message, retry_after| unavailable(code(error), message, retry_after);
    match error {
        PublishError::Unroutable => problem(
            format!("no queue is bound for {key}: is there a listener with a route for it?"),
            LATER,
        ),
        PublishError::Forbidden(_) => Problem::new(
            StatusCode::FORBIDDEN,
            code(error),
            format!("RabbitMQ does not let the broker publish events of the type {key}"),
        ),
        PublishError::TooLarge(reason) => Problem::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            code(error),
            format!("RabbitMQ takes no event of this size: {reason}"),
        ),
        PublishError::Nacked | PublishError::Blocked(_) => problem(error.to_string(), LATER),
        PublishError::Disconnected(_) | PublishError::Overloaded => {
            problem(error.to_string(), SOON)
        }
        PublishError::Stalled(_) => {
            problem(unconfirmed(error, id), LATER).with_extension("id", json!(id))
        }
        PublishError::Timeout | PublishError::Unknown => {
            problem(unconfirmed(error, id), SOON).with_extension("id", json!(id))
        }
    }
}

/// An event of a batch whose turn never came.
pub(crate) fn too_late() -> Problem {
    let message = "the events before it took all the time there was; it was not sent";
    unavailable(code(&PublishError::Overloaded), message.to_owned(), SOON)
}

/// What became of a publish, in the words of the problem types.
pub(crate) fn code(error: &PublishError) -> &'static str {
    match error {
        PublishError::Unroutable => "unroutable",
        PublishError::Forbidden(_) => "forbidden",
        PublishError::TooLarge(_) => "content-too-large",
        PublishError::Nacked => "refused",
        PublishError::Blocked(_) => "blocked",
        PublishError::Disconnected(_) => "disconnected",
        PublishError::Overloaded => "overloaded",
        PublishError::Stalled(_) | PublishError::Timeout | PublishError::Unknown => "unconfirmed",
    }
}

fn unconfirmed(error: &PublishError, id: &str) -> String {
    format!("{error}: the event {id} may or may not have been published")
}

/// A request has no effect that lasts, so it can always be sent again.
pub(crate) fn request(error: &RequestError) -> Problem {
    match error {
        RequestError::Publish(PublishError::Unroutable) => unavailable(
            "unroutable",
            "no queue takes authentication requests: is there a listener?".to_owned(),
            LATER,
        ),
        RequestError::Publish(PublishError::Timeout) | RequestError::Deadline => {
            Problem::new(StatusCode::GATEWAY_TIMEOUT, "no-reply", error.to_string())
        }
        RequestError::Publish(PublishError::Blocked(_) | PublishError::Stalled(_)) => {
            unavailable("blocked", error.to_string(), LATER)
        }
        RequestError::Publish(
            PublishError::Nacked
            | PublishError::Forbidden(_)
            | PublishError::TooLarge(_)
            | PublishError::Disconnected(_)
            | PublishError::Overloaded
            | PublishError::Unknown,
        )
        | RequestError::Lost
        | RequestError::Overloaded => unavailable("disconnected", error.to_string(), SOON),
    }
}

fn unavailable(code: &'static str, message: String, retry_after: Duration) -> Problem {
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, code, message).with_retry_after(retry_after)
}
