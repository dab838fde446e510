//! What the answer of a target means for the event.

use std::time::Duration;

use messaging::{Failure, Outcome};

use crate::{
    excerpt::excerpt,
    unanswered::{Fault, Unanswered},
};

/// The status table, with what the target's `Retry-After` asks for:
///
/// | status | outcome |
/// |---|---|
/// | 2xx | delivered |
/// | 401, 429, 502, 503, 504 | another attempt; the target is down (401: to this listener, whose token is wrong) if it says so of different events |
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
        401 | 429 | 502..=504 => Outcome::Unclear(answered(), retry_after),
        408 | 425 | 500.. => Outcome::Retry(answered(), retry_after),
        300..=399 => Outcome::Reject(failure(format!(
            "the target answered {status}, and redirects are not followed"
        ))),
        _ => Outcome::Reject(answered()),
    }
}

/// No answer.
pub(crate) fn no_answer(unanswered: Unanswered) -> Outcome {
    let failure = Failure {
        reason: unanswered.reason,
        status: None,
        answer: None,
    };
    match unanswered.fault {
        Fault::Target => Outcome::Down(failure, None),
        Fault::Stale | Fault::Unread | Fault::Unclear => Outcome::Unclear(failure, None),
    }
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
                Outcome::Unclear(failure, wait) if *wait == asked => ("unclear", Some(failure)),
                Outcome::Reject(failure) => ("reject", Some(failure)),
                other => panic!("{other:?}"),
            };
            let expected = match status {
                200..=299 => "delivered",
                401 | 429 | 502 | 503 | 504 => "unclear",
                408 | 425 | 500..=999 => "retry",
                _ => "reject",
            };
            assert_eq!(word, expected, "{status}");
            assert!(failure.is_none_or(|failure| failure.status == Some(status)
                && failure.answer.as_deref() == Some("said")));
        }
    }
}
