//! Until when an event is worth anything, where its sender set a limit.
//!
//! AMQP's `expiration` counts from the moment a message comes into a queue, so each copy would begin
//! it again. What travels with the copies is the moment itself. Its header counts on what came through
//! our own exchange alone.

use std::time::Duration;

use lapin::BasicProperties;

use crate::{Delivery, Failure, handoff::EXPIRES_AT, headers::integer};

/// A message that RabbitMQ delivers is in time; this is for its first attempt.
const ATTEMPT_TIME: Duration = Duration::from_secs(1);

/// The moment from which an event is delivered no more, in milliseconds since 1970 UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Expiry(pub(crate) i64);

impl Expiry {
    /// That of a message which came now. Its time in the queue before is not known.
    pub(crate) fn read(properties: &BasicProperties, handed_off: bool) -> Option<Self> {
        let headers = properties.headers().as_ref().filter(|_| handed_off);
        let known = headers.and_then(|headers| integer(headers, EXPIRES_AT));
        known.map(Self).or_else(|| {
            let milliseconds = properties.expiration().as_ref()?.as_str().parse().ok()?;
            Some(Self::after(
                Duration::from_millis(milliseconds).max(ATTEMPT_TIME),
            ))
        })
    }

    fn after(time: Duration) -> Self {
        let milliseconds = i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
        Self(now().saturating_add(milliseconds))
    }

    /// What remains, or none once it is past.
    pub(crate) fn remaining(self) -> Option<Duration> {
        let milliseconds = u64::try_from(self.0.saturating_sub(now())).ok()?;
        (milliseconds > 0).then(|| Duration::from_millis(milliseconds))
    }
}

impl Delivery {
    /// Why it is not delivered any more, once its time is up.
    pub(crate) fn expired(&self) -> Option<Failure> {
        let expiry = self.expiry.filter(|expiry| expiry.remaining().is_none())?;
        Some(Failure {
            reason: format!("it expired before it was delivered, at {expiry}"),
            status: None,
            answer: None,
        })
    }
}

impl std::fmt::Display for Expiry {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match jiff::Timestamp::from_millisecond(self.0) {
            Ok(time) => time.fmt(formatter),
            Err(_) => write!(formatter, "{} ms", self.0), // beyond all calendars
        }
    }
}

fn now() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}
