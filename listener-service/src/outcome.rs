//! What an attempt to deliver came to.

use messaging::Failure;

/// The result of one attempt, which decides what becomes of the event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The target took it.
    Delivered,
    /// The target could not take it now; it may later.
    Retry(Failure),
    /// The target will not take it, however often it is tried.
    Reject(Failure),
}

impl Outcome {
    /// The status table:
    ///
    /// | status | outcome |
    /// |---|---|
    /// | 2xx | delivered |
    /// | 408, 425, 429, 5xx | another attempt |
    /// | any other, redirects included | dead letter |
    pub(crate) fn of_status(status: u16) -> Self {
        let failure = |reason: String| Failure {
            reason,
            status: Some(status),
        };
        match status {
            200..300 => Self::Delivered,
            408 | 425 | 429 | 500.. => {
                Self::Retry(failure(format!("the target answered {status}")))
            }
            300..400 => Self::Reject(failure(format!(
                "the target answered {status}, and redirects are not followed"
            ))),
            _ => Self::Reject(failure(format!("the target answered {status}"))),
        }
    }

    /// No answer: a connection refused or cut, or the deadline.
    pub(crate) fn unreachable(reason: String) -> Self {
        Self::Retry(Failure {
            reason,
            status: None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_has_its_outcome() {
        for status in 100..=999 {
            let expected = match status {
                200..=299 => "delivered",
                408 | 425 | 429 | 500..=999 => "retry",
                _ => "reject",
            };
            let outcome = match Outcome::of_status(status) {
                Outcome::Delivered => "delivered",
                Outcome::Retry(failure) if failure.status == Some(status) => "retry",
                Outcome::Reject(failure) if failure.status == Some(status) => "reject",
                other => panic!("{other:?}"),
            };
            assert_eq!(outcome, expected, "{status}");
        }
    }
}
