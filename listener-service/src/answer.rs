//! What the answer of a target means for the event.

use std::time::Duration;

use messaging::{Failure, Outcome};

use crate::excerpt::excerpt;

/// The status table, with what the target's `Retry-After` asks for:
///
/// | status | outcome |
/// |---|---|
/// | 2xx | delivered |
/// | 401, 429, 502, 503, 504 | another attempt; the target is down (401: to this listener, whose token is wrong) |
/// | 408, 425, any other 5xx | another attempt |
/// | any other, redirects included | dead letter |
pub(crate) fn outcome(status: u16, retry_after: Option<Duration>, body: &[u8]) -> Outcome {
    let failure = |reason: String| Failure {
        reason,
        status: Some(status),
        answer: excerpt(body),
    };
    let answered = || failure(format!("the target answered {status}"));
    match status {
        200..300 => Outcome::Delivered,
        401 | 429 | 502..=504 => Outcome::Down(answered(), retry_after),
        408 | 425 | 500.. => Outcome::Retry(answered(), retry_after),
        300..=399 => Outcome::Reject(failure(format!(
            "the target answered {status}, and redirects are not followed"
        ))),
        _ => Outcome::Reject(answered()),
    }
}

/// No answer: a connection refused or cut, or the deadline.
pub(crate) fn unreachable(reason: String) -> Outcome {
    let failure = Failure {
        reason,
        status: None,
        answer: None,
    };
    Outcome::Down(failure, None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_has_its_outcome() {
        let asked = Some(Duration::from_secs(7));
        for status in 100..=999 {
            let outcome = outcome(status, asked, b"said");
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
