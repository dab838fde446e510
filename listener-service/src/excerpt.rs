//! The beginning of a target's answer, to show why it refused an event.

use crate::shown::shown;

/// Longest excerpt. It is sent in a header of the dead letter.
const BYTES_MAX: usize = 1024;

/// The first kilobyte of `body` as text on one line, or nothing if there is no text.
pub(crate) fn excerpt(body: &[u8]) -> Option<String> {
    let (start, cut) = match body.get(..BYTES_MAX) {
        Some(start) => (start, body.len() > BYTES_MAX),
        None => (body, false),
    };
    let text = String::from_utf8_lossy(start);
    let mut line = shown(&text).trim().to_owned();
    if cut {
        line.push('…');
    }
    (!line.is_empty()).then_some(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_excerpt_is_short_and_harmless() {
        assert_eq!(excerpt(b""), None);
        assert_eq!(excerpt(b" \r\n "), None);
        assert_eq!(
            excerpt(b"no such\n\x1b[31mtenant\0").unwrap(),
            "no such  [31mtenant"
        );
        assert_eq!(excerpt(b"caf\xe9").unwrap(), "caf\u{fffd}");
        let long = excerpt("é".repeat(10_000).as_bytes()).unwrap();
        assert!(
            long.ends_with('…') && long.len() <= BYTES_MAX + 3,
            "{}",
            long.len()
        );
        // A character that the cut splits is replaced, not misread.
        assert!(
            excerpt("xé".repeat(10_000).as_bytes())
                .unwrap()
                .contains('é')
        );
    }
}
