//! What an attempt to deliver came to.

use std::time::Duration;

use messaging::Failure;

use crate::excerpt::excerpt;

/// The result of one attempt, which decides what becomes of the event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The target took it.
    Delivered,
    /// The target failed on this event; it may take it another time.
    Retry(Failure, Option<Duration>),
    /// The target as a whole is away or cannot keep up, whatever the event.
    Down(Failure, Option<Duration>),
    /// The target will not take it, however often it is tried.
    Reject(Failure),
}

impl Outcome {
    /// The status table, with what the target's `Retry-After` asks for:
    ///
    /// | status | outcome |
    /// |---|---|
    /// | 2xx | delivered |
    /// | 401, 429, 502, 503, 504 | another attempt; the target is down (401: to this listener, whose token is wrong) |
    /// | 408, 425, any other 5xx | another attempt |
    /// | any other, redirects included | dead letter |
    pub(crate) fn of_answer(status: u16, retry_after: Option<Duration>, body: &[u8]) -> Self {
        let failure = |reason: String| Failure {
            reason,
            status: Some(status),
            answer: excerpt(body),
        };
        let answered = || failure(format!("the target answered {status}"));
        match status {
            200..300 => Self::Delivered,
            401 | 429 | 502..=504 => Self::Down(answered(), retry_after),
            408 | 425 | 500.. => Self::Retry(answered(), retry_after),
            300..=399 => Self::Reject(failure(format!(
                "the target answered {status}, and redirects are not followed"
            ))),
            _ => Self::Reject(answered()),
        }
    }

    /// No answer: a connection refused or cut, or the deadline.
    pub(crate) fn unreachable(reason: String) -> Self {
        let failure = Failure {
            reason,
            status: None,
            answer: None,
        };
        Self::Down(failure, None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_has_its_outcome() {
        let asked = Some(Duration::from_secs(7));
        for status in 100..=999 {
            let outcome = Outcome::of_answer(status, asked, b"said");
            let (word, failure) = match &outcome {
                Outcome::Delivered => ("delivered", None),
                Outcome::Retry(failure, wait) if *wait == asked => ("retry", Some(failure)),
                Outcome::Down(failure, wait) if *wait == asked => ("down", Some(failure)),
                Outcome::Reject(failure) => ("reject", Some(failure)),
                other => panic!("{other:?}"),
            };
            let expected = match status {
                200..=299 => "delivered",
                401 | 429 | 502 | 503 | 504 => "down",
                408 | 425 | 500..=999 => "retry",
                _ => "reject",
            };
            assert_eq!(word, expected, "{status}");
            assert!(failure.is_none_or(|failure| failure.status == Some(status)
                && failure.answer.as_deref() == Some("said")));
        }
    }
}
