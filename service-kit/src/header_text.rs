//! Text in HTTP header values, by the rules of the CloudEvents HTTP binding, section 3.1.3.2.

use axum::http::HeaderValue;
use percent_encoding::percent_decode;

/// Undoes quotes, then one round of percent-encoding. `None` if the result is not UTF-8.
pub fn decode(value: &HeaderValue) -> Option<String> {
    let unquoted = unquote(value.as_bytes());
    let decoded = percent_decode(&unquoted).decode_utf8().ok()?;
    Some(decoded.into_owned())
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
        ] {
            let value = HeaderValue::from_bytes(encoded.as_bytes()).unwrap();
            assert_eq!(decode(&value).as_deref(), Some(text), "{encoded}");
        }
        assert_eq!(decode(&HeaderValue::from_static("%ff")), None);
    }
}
