//! Why a request has no answer, and what caused it.

use std::error::Error as StdError;

use hyper_util::client::legacy;

use crate::{connecting::Connecting, http_client::describe};

/// A request without an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unanswered {
    /// What the target did.
    pub(crate) reason: String,
    pub(crate) fault: Fault,
}

/// The cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The target: it was not reached, whatever the request.
    Target,
    /// A kept-alive connection that was closed meanwhile: the target may not have read the request.
    Stale,
    /// Unknown yet: the target closed the connection before it could have read the request. Its
    /// answer, if any, is lost.
    Unread,
    /// The target or the event: the request was sent, and no valid answer came.
    Unclear,
}

impl Unanswered {
    /// Reads the error of a request, with the record of its connecting.
    pub(crate) fn read(error: reqwest::Error, connecting: &Connecting) -> Self {
        let fault = fault(&error, connecting);
        let reason = match (fault, find::<hyper::Error>(&error)) {
            (Fault::Stale | Fault::Unread | Fault::Unclear, Some(error)) if !error.is_timeout() => {
                format!("did not answer: {}", innermost(error))
            }
            _ => describe(error),
        };
        let reason = format!("the target {reason}");
        Self { reason, fault }
    }
}

fn fault(error: &reqwest::Error, connecting: &Connecting) -> Fault {
    if error.is_connect() {
        return Fault::Target;
    }
    match find::<hyper::Error>(error) {
        // The deadline of the whole attempt.
        None if connecting.is_under_way() => Fault::Target,
        None => Fault::Unclear,
        // The connection ended before the request was written.
        Some(error) if error.is_canceled() => Fault::Target,
        Some(ended) if has_ended(ended) => match connection(error) {
            Some(connection) if !connecting.made(connection) => Fault::Stale,
            _ if was_writing(ended) => Fault::Unread,
            _ => Fault::Unclear,
        },
        // Invalid answer, or HTTP/2 reports that this request failed.
        Some(_) => Fault::Unclear,
    }
}

/// Whether the connection ended, and the request with it. In HTTP/1.1, part of an answer may have
/// arrived.
fn has_ended(error: &hyper::Error) -> bool {
    error.is_incomplete_message()
        || error.is_closed()
        || error.is_timeout() // for HTTP/2 pings
        || find::<std::io::Error>(error).is_some()
        || find::<h2::Error>(error).is_some_and(h2::Error::is_go_away)
}

/// Whether a part of the request was not yet written. hyper reports it only like this.
fn was_writing(error: &hyper::Error) -> bool {
    error.to_string() == "error writing a body to connection"
        && find::<std::io::Error>(error).is_some()
}

/// The connection that the request used.
fn connection(error: &reqwest::Error) -> Option<&legacy::connect::Connected> {
    find::<legacy::Error>(error)?.connect_info()
}

fn find<'a, E: StdError + 'static>(error: &'a (dyn StdError + 'static)) -> Option<&'a E> {
    std::iter::successors(Some(error), |&error| error.source())
        .find_map(|error| error.downcast_ref())
}

fn innermost(error: &hyper::Error) -> &dyn StdError {
    let mut cause: &dyn StdError = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause
}
