//! The trace that a request belongs to, which its events carry on (W3C Trace Context, 3.2).

use axum::http::HeaderMap;

/// Name of the header, and of the CloudEvents attribute (distributed tracing extension).
pub(crate) const NAME: &str = "traceparent";

/// The header's value, if it is well-formed.
pub(crate) fn read(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(NAME)?.to_str().ok()?;
    let lengths = [2, 32, 16, 2];
    let well_formed = value.split('-').map(str::len).eq(lengths)
        && value
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f' | b'-'));
    well_formed.then(|| value.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_well_formed_one_is_carried_on() {
        let carried = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(NAME, value.parse().unwrap());
            read(&headers).is_some()
        };
        assert!(carried(
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
        ));
        assert!(!carried(
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331"
        ));
        assert!(!carried(
            "00-0AF7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
        ));
        assert!(!carried("junk"));
    }
}
