//! CloudEvents as clients send them over HTTP: what the crate `event` reads is published if its type
//! can be routed by.

use axum::http::HeaderMap;
use bytes::Bytes;
use event::{Event, Invalid, binary, structured};
use service_kit::problem::Problem;

use crate::publication::Publication;

/// Reads an event whose attributes are headers.
///
/// # Errors
/// 400 which names the attribute that is missing or wrong.
pub(crate) fn read_binary(headers: &HeaderMap, body: Bytes) -> Result<Publication, Problem> {
    binary::read(headers, body)
        .map_err(refused)
        .and_then(publication)
}

/// Reads the event in `text`, a part of `body` or all of it.
///
/// # Errors
/// 400 which names the attribute that is missing or wrong.
pub(crate) fn read_structured(body: &Bytes, text: &[u8]) -> Result<Publication, Problem> {
    structured::read(body, text)
        .map_err(refused)
        .and_then(publication)
}

fn publication(event: Event) -> Result<Publication, Problem> {
    let routing_key = event.event_type.parse().map_err(|error| {
        Problem::bad_request(format!("the attribute type is no event type here: {error}"))
    })?;
    Ok(Publication {
        event,
        routing_key,
        id_is_given: true,
    })
}

fn refused(invalid: Invalid) -> Problem {
    Problem::bad_request(invalid.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_that_nothing_can_be_routed_by_is_refused() {
        for wrong in ["a..b", "order.#", "a b"] {
            let body =
                format!(r#"{{"specversion":"1.0","id":"1","source":"/s","type":"{wrong}"}}"#);
            let body = Bytes::from(body);
            let problem = read_structured(&body, &body).unwrap_err();
            assert_eq!(problem.status(), 400);
            assert!(problem.message().contains("attribute type"), "{problem:?}");
        }
    }
}
