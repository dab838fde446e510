//! The `Retry-After` header of a target's answer (RFC 9110, 10.2.3).

use std::time::{Duration, SystemTime};

use reqwest::header::{HeaderMap, RETRY_AFTER};

/// The longest wait that a target can request.
const MAX: Duration = Duration::from_secs(60 * 60);

/// The wait that the target requests: seconds or a date, capped at an hour. Nothing if the header
/// is missing, invalid, or a time in the past.
pub(crate) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    parse(headers.get(RETRY_AFTER)?.to_str().ok()?, SystemTime::now())
}

fn parse(value: &str, now: SystemTime) -> Option<Duration> {
    let value = value.trim();
    let asked = if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        // A number that overflows is a long time.
        value.parse().map_or(MAX, Duration::from_secs)
    } else {
        httpdate::parse_http_date(value)
            .ok()?
            .duration_since(now)
            .ok()?
    };
    Some(asked.min(MAX)).filter(|asked| !asked.is_zero())
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn seconds_and_dates_are_read_and_capped_and_junk_is_not() {
        // Sun, 06 Nov 1994 08:49:37 GMT, the RFC's example.
        let now = UNIX_EPOCH + Duration::from_secs(784_111_777);
        for (value, seconds) in [
            ("120", Some(120)),
            (" 1 ", Some(1)),
            ("0", None),
            ("1000000000000", Some(3600)),
            ("99999999999999999999999999", Some(3600)),
            ("Sun, 06 Nov 1994 08:50:07 GMT", Some(30)),
            ("Mon, 07 Nov 1994 08:49:37 GMT", Some(3600)),
            ("Sun, 06 Nov 1994 08:49:07 GMT", None),
            ("-1", None),
            ("1.5", None),
            ("soon", None),
            ("", None),
        ] {
            assert_eq!(
                parse(value, now),
                seconds.map(Duration::from_secs),
                "{value:?}"
            );
        }
    }

    proptest! {
        #[test]
        fn whatever_a_target_asks_for_is_within_the_cap(
            value in prop_oneof![
                any::<String>(),
                any::<i128>().prop_map(|seconds| seconds.to_string()),
                "[0-9]{1,40}",
                any::<u32>().prop_map(|at| {
                    httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(at.into()))
                }),
                "(Sun|Mon), [0-9]{2} (Feb|Nov) [0-9]{4} [0-9]{2}:[0-9]{2}:[0-9]{2} GMT",
            ],
            now in any::<u32>(),
        ) {
            let now = UNIX_EPOCH + Duration::from_secs(now.into());
            if let Some(wait) = parse(&value, now) {
                prop_assert!(!wait.is_zero() && wait <= MAX);
            }
        }

        #[test]
        fn seconds_are_taken_at_their_word(seconds in 1..=3600_u64) {
            let asked = parse(&seconds.to_string(), UNIX_EPOCH);
            prop_assert_eq!(asked, Some(Duration::from_secs(seconds)));
        }
    }
}
