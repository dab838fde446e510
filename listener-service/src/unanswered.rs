//! Why a request has no answer, and whose fault that is.

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

/// Whose fault it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The target's: it was not reached, whatever the request.
    Target,
    /// That of a connection that had been used before and was closed meanwhile: the target may not
    /// have read the request.
    Stale,
    /// Nobody's yet: the target ended the connection before it could have read the request. What it
    /// answered, if it did, is lost.
    Unread,
    /// Either the target's or the event's: the request was sent, and nothing came that is an answer.
    Unclear,
}

impl Unanswered {
    /// Reads the error of a request that `connecting` was the connecting of.
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
        // What came is no answer, or HTTP/2 says that this one request failed.
        Some(_) => Fault::Unclear,
    }
}

/// Whether the connection ended, and with it the request. That of HTTP/1.1 may have had the
/// beginning of an answer.
fn has_ended(error: &hyper::Error) -> bool {
    error.is_incomplete_message()
        || error.is_closed()
        || error.is_timeout() // of the pings of HTTP/2
        || find::<std::io::Error>(error).is_some()
        || find::<h2::Error>(error).is_some_and(h2::Error::is_go_away)
}

/// Whether a part of the request was yet to be written. hyper has no other word for it.
fn was_writing(error: &hyper::Error) -> bool {
    error.to_string() == "error writing a body to connection"
        && find::<std::io::Error>(error).is_some()
}

/// The connection that the request went by.
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
