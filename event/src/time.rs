//! Times of events: RFC 3339.

use jiff::Timestamp;

/// 400 years, after which the calendar repeats itself.
const CYCLE_US: i64 = 146_097 * 86_400 * 1_000_000;
/// Beyond these years jiff does not read every time.
const YEARS: std::ops::Range<i64> = 400..5_000;

/// Whether a text is a `date-time` (RFC 3339, 5.6), with any number of fraction digits, lower-case
/// letters, an unknown offset (`-00:00`), and a leap second where one can be (5.7): at 23:59:60
/// UTC.
pub fn is_rfc3339(text: &str) -> bool {
    parts(text).is_some()
}

/// Microseconds since 1970 UTC. A leap second counts as the second before it.
pub fn microseconds(text: &str) -> Option<i64> {
    let parts = parts(text)?;
    let fraction = &parts.fraction[..parts.fraction.len().min(6)];
    // The same day in a year that jiff knows.
    let (year, cycles) = match parts.year {
        year if YEARS.contains(&year) => (year, 0),
        year if year < YEARS.start => (year + 400, -1),
        year => (year - 400, 1),
    };
    let (rest, seconds) = (&text[4..17], parts.second.min(59));
    let rest = rest.to_ascii_uppercase();
    let whole: Timestamp = format!("{year:04}{rest}{seconds:02}Z").parse().ok()?;
    let fraction: i64 = format!("{fraction:0<6}").parse().ok()?;
    let offset = parts.offset_minutes * 60 * 1_000_000;
    Some(whole.as_microsecond() - offset + fraction + cycles * CYCLE_US)
}

/// Whole seconds since 1970 UTC, if it is not earlier.
pub fn unix_seconds(text: &str) -> Option<u64> {
    u64::try_from(microseconds(text)?.div_euclid(1_000_000)).ok()
}

/// The time of these microseconds, in UTC; `None` outside the years of RFC 3339.
pub fn from_microseconds(microseconds: i64) -> Option<String> {
    if let Ok(timestamp) = Timestamp::from_microsecond(microseconds) {
        let text = timestamp.to_string();
        return text
            .starts_with(|first: char| first.is_ascii_digit())
            .then_some(text);
    }
    let earlier = Timestamp::from_microsecond(microseconds.checked_sub(CYCLE_US)?).ok()?;
    let text = earlier.to_string();
    let year: i64 = text.get(..4)?.parse().ok()?;
    (year + 400 <= 9_999).then(|| format!("{:04}{}", year + 400, &text[4..]))
}

struct Parts<'a> {
    year: i64,
    second: u32,
    fraction: &'a str,
    offset_minutes: i64,
}

fn parts(text: &str) -> Option<Parts<'_>> {
    let (seconds, rest) = text.split_at_checked("2026-01-02T03:04:05".len())?;
    let bytes = seconds.as_bytes();
    let separated = [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':')]
        .into_iter()
        .all(|(at, separator)| bytes[at].to_ascii_uppercase() == separator);
    if !separated {
        return None;
    }
    let (year, month, day) = (
        number(&bytes[..4])?,
        number(&bytes[5..7])?,
        number(&bytes[8..10])?,
    );
    let (hour, minute, second) = (
        number(&bytes[11..13])?,
        number(&bytes[14..16])?,
        number(&bytes[17..])?,
    );
    let (fraction, offset) = match rest.strip_prefix('.') {
        Some(rest) => {
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            (digits > 0).then(|| rest.split_at(digits))?
        }
        None => ("", rest),
    };
    let offset_minutes = offset_minutes(offset)?;
    let of_day = i64::from(hour * 60 + minute) - offset_minutes;
    let is_last_minute = of_day.rem_euclid(24 * 60) == 24 * 60 - 1;
    let valid = (1..=12).contains(&month)
        && (1..=days(year, month)).contains(&day)
        && hour < 24
        && minute < 60
        && (second < 60 || second == 60 && is_last_minute);
    valid.then_some(Parts {
        year: year.into(),
        second,
        fraction,
        offset_minutes,
    })
}

fn offset_minutes(text: &str) -> Option<i64> {
    let bytes = text.as_bytes();
    let sign = match (bytes.first()?, bytes.len()) {
        (b'Z' | b'z', 1) => return Some(0),
        (b'+', 6) => 1,
        (b'-', 6) => -1,
        _ => return None,
    };
    let (hours, minutes) = (number(&bytes[1..3])?, number(&bytes[4..])?);
    let valid = bytes[3] == b':' && hours < 24 && minutes < 60;
    valid.then(|| sign * i64::from(hours * 60 + minutes))
}

fn number(digits: &[u8]) -> Option<u32> {
    digits.iter().try_fold(0, |number, digit| {
        let digit = digit.is_ascii_digit().then(|| digit - b'0')?;
        Some(number * 10 + u32::from(digit))
    })
}

fn days(year: u32, month: u32) -> u32 {
    let is_leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    match month {
        2 if is_leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_grammar_and_the_calendar_allow() {
        for text in [
            "2026-01-02T03:04:05Z",
            "2026-01-02t03:04:05.123456789z",
            "2026-01-02T03:04:05.123456789012Z",
            "2026-01-02T03:04:05.5+01:00",
            "2026-01-02T03:04:05-00:00",
            "1900-01-02T03:04:05-23:59",
            "9999-12-31T23:59:59Z",
            "9999-12-31T23:59:59.999999999999-23:59",
            "0000-01-01T00:00:00Z",
            "2024-02-29T00:00:00Z",
            "2016-12-31T23:59:60Z",
            "1990-12-31T15:59:60-08:00",
        ] {
            assert!(is_rfc3339(text), "{text}");
            assert!(microseconds(text).is_some(), "{text}");
        }
        for text in [
            "",
            "yesterday",
            "2026-01-02",
            "2026-01-02T03:04:05",
            "2026-01-02 03:04:05Z",
            "2026-01-02T03:04Z",
            "2026-13-02T03:04:05Z",
            "2026-02-29T03:04:05Z",
            "2026-00-10T03:04:05Z",
            "2026-01-02T24:00:00Z",
            "2026-01-02T03:04:60Z",
            "2026-01-02T03:04:61Z",
            "2026-01-02T03:04:05+0100",
            "2026-01-02T03:04:05+24:00",
            "2026-01-02T03:04:05.Z",
            "2026-01-02T03:04:05,5Z",
            "2026-01-02T03:04:05+01:00[Europe/Paris]",
            "2026-01-02T03:04:05é",
            "+2026-01-02T03:04:05Z",
        ] {
            assert!(!is_rfc3339(text), "{text}");
        }
    }

    #[test]
    fn times_are_numbers_and_back() {
        for (text, utc) in [
            ("1970-01-01T00:00:00Z", "1970-01-01T00:00:00Z"),
            ("9999-12-31T23:59:59Z", "9999-12-31T23:59:59Z"),
            (
                "2026-01-02t03:04:05.0000061+01:00",
                "2026-01-02T02:04:05.000006Z",
            ),
            ("2016-12-31T23:59:60Z", "2016-12-31T23:59:59Z"),
            ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00Z"),
        ] {
            assert_eq!(
                from_microseconds(microseconds(text).unwrap()).as_deref(),
                Some(utc)
            );
        }
        assert_eq!(unix_seconds("1970-01-01T00:00:02.9Z"), Some(2));
        assert_eq!(unix_seconds("1969-12-31T23:59:59Z"), None);
        assert_eq!(from_microseconds(i64::MAX), None);
    }
}
