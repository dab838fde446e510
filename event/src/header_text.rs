//! Text in HTTP header values, by the rules of the CloudEvents HTTP binding, section 3.1.3.2.

use http::HeaderValue;
use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};

/// Characters that a header value must not contain unencoded.
pub(crate) const ENCODED: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'%');

/// Percent-encodes the characters that a header value must not contain.
pub fn encode(text: &str) -> String {
    utf8_percent_encode(text, ENCODED).to_string()
}

/// Removes quotes, then decodes one round of percent-encoding. A value that does not decode to
/// UTF-8 was not encoded, as with many SDKs, and is kept unchanged. `None` if it is not UTF-8
/// either.
pub fn decode(value: &HeaderValue) -> Option<String> {
    let raw = raw(value)?;
    match percent_decode_str(&raw).decode_utf8() {
        Ok(decoded) => Some(decoded.into_owned()),
        Err(_) => Some(raw),
    }
}

/// Removes quotes. `None` if the text is not UTF-8.
pub fn raw(value: &HeaderValue) -> Option<String> {
    String::from_utf8(unquote(value.as_bytes())).ok()
}

/// The binding no longer writes quoted strings, but requires readers to accept them.
fn unquote(value: &[u8]) -> Vec<u8> {
    let inner = value
        .strip_prefix(b"\"")
        .and_then(|rest| rest.strip_suffix(b"\""));
    let Some(inner) = inner else {
        return value.to_vec();
    };
    let mut unquoted = Vec::with_capacity(inner.len());
    let mut bytes = inner.iter();
    while let Some(&byte) = bytes.next() {
        let escaped = if byte == b'\\' { bytes.next() } else { None };
        unquoted.push(*escaped.unwrap_or(&byte));
    }
    unquoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn examples_of_the_binding() {
        for (encoded, text) in [
            ("Euro%20%E2%82%AC%20%F0%9F%98%80", "Euro € 😀"),
            ("plain", "plain"),
            (r#""a \"quoted\" \\ text""#, r#"a "quoted" \ text"#),
            (r#""%22""#, "\""),
            ("100%", "100%"),
            ("%2520", "%20"),
            ("é", "é"),
            ("50%ff", "50%ff"),
        ] {
            let value = HeaderValue::from_bytes(encoded.as_bytes()).unwrap();
            assert_eq!(decode(&value).as_deref(), Some(text), "{encoded}");
        }
        assert_eq!(decode(&HeaderValue::from_bytes(b"\xff").unwrap()), None);
    }
}
