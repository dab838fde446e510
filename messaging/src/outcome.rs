//! What an attempt to handle an event came to.

use std::time::Duration;

use crate::Failure;

/// The result of one attempt, which decides what becomes of the event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is done.
    Delivered,
    /// It failed on this event and may succeed another time, no sooner than the duration says.
    Retry(Failure, Option<Duration>),
    /// It failed, and either the event is the cause or whatever handles the events is: what becomes
    /// of other events shows which. It may succeed another time, no sooner than the duration says.
    Unclear(Failure, Option<Duration>),
    /// Whatever handles the events is away as a whole, whatever the event.
    Down(Failure, Option<Duration>),
    /// It will not succeed, however often it is tried.
    Reject(Failure),
}
