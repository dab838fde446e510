//! One event in binary mode: the attributes are headers, the body is the data as it is.

use axum::http::{HeaderMap, header};
use bytes::Bytes;
use service_kit::{header_text, json, problem::Problem};

use super::{Attributes, attribute, publication};
use crate::{media_type, publication::Publication};

const PREFIX: &str = "ce-";
const CONTENT_TYPE: &str = "datacontenttype";

/// Whether these headers hold attributes of an event.
pub(crate) fn is_binary(headers: &HeaderMap) -> bool {
    headers.keys().any(|name| name.as_str().starts_with(PREFIX))
}

/// Reads an event.
///
/// # Errors
/// 400 which names the attribute that is missing or wrong, or says why the data is no JSON.
pub(crate) fn read(headers: &HeaderMap, body: Bytes) -> Result<Publication, Problem> {
    let mut attributes = attributes(headers)?;
    if let Some(value) = headers.get(header::CONTENT_TYPE) {
        let text = value.to_str().map_err(|_| not_text(CONTENT_TYPE))?;
        if media_type::declares_json(text) && media_type::is_utf8(text) && !body.is_empty() {
            json::check(&body)?;
        }
        attributes.insert(CONTENT_TYPE.to_owned(), text.to_owned());
    } else if !body.is_empty() {
        return Err(Problem::unsupported_media_type(
            "the Content-Type header is missing: it says what the data is",
        ));
    }
    publication(attributes, body)
}

fn attributes(headers: &HeaderMap) -> Result<Attributes, Problem> {
    let mut attributes = Attributes::new();
    for (header, value) in headers {
        let Some(name) = header.as_str().strip_prefix(PREFIX) else {
            continue;
        };
        if name == CONTENT_TYPE {
            return Err(attribute::wrong(name, "is the header Content-Type here"));
        }
        let text = header_text::decode(value).ok_or_else(|| not_text(name))?;
        if attributes.insert(name.to_owned(), text).is_some() {
            return Err(attribute::wrong(name, "is given more than once"));
        }
    }
    Ok(attributes)
}

fn not_text(name: &str) -> Problem {
    attribute::wrong(name, "is not text")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(extra: &[(&'static str, &[u8])]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("ce-specversion", "1.0"),
            ("ce-id", "1"),
            ("ce-type", "order.placed"),
            ("ce-source", "/shop"),
        ] {
            headers.insert(name, value.parse().unwrap());
        }
        for (name, value) in extra {
            headers.insert(*name, (*value).try_into().unwrap());
        }
        headers
    }

    fn refusal(headers: &HeaderMap, body: &'static [u8]) -> Problem {
        read(headers, Bytes::from_static(body)).unwrap_err()
    }

    #[test]
    fn values_are_decoded() {
        let headers = headers(&[
            ("ce-subject", b"Euro%20%E2%82%AC"),
            ("ce-tenant", b"\"a b\""),
            ("ce-dataschema", b"https://example.com/s#a"),
            ("content-type", b"application/json"),
            ("x-other", b"ignored"),
        ]);
        let body = Bytes::from_static(b" 1e400");
        let read = read(&headers, body.clone()).unwrap();
        assert!(read.id_is_given);
        let event = read.event;
        assert_eq!(event.subject.as_deref(), Some("Euro \u{20ac}"));
        assert_eq!(event.extensions["tenant"], "a b");
        assert_eq!(event.extensions["dataschema"], "https://example.com/s#a");
        assert_eq!(event.extensions.len(), 2);
        assert_eq!(event.content_type.as_deref(), Some("application/json"));
        assert_eq!((event.time, event.data), (None, body));
    }

    #[test]
    fn what_is_missing_is_named() {
        for missing in ["specversion", "id", "type", "source"] {
            let mut headers = headers(&[]);
            headers.remove(format!("ce-{missing}"));
            let problem = refusal(&headers, b"");
            assert_eq!(problem.status(), 400);
            assert_eq!(
                problem.message(),
                format!("the attribute {missing} is missing")
            );
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        let long = [b'x'; 1025];
        let cases: [(&str, &[u8]); 14] = [
            ("ce-specversion", b"0.3"),
            ("ce-id", b""),
            ("ce-id", b"%00"),
            ("ce-id", &long[..256]),
            ("ce-type", b"a..b"),
            ("ce-type", b"order.#"),
            ("ce-source", b"a b"),
            ("ce-subject", b"%ff"),
            ("ce-subject", &long),
            ("ce-time", b"now"),
            ("ce-dataschema", b"x"),
            ("ce-bad-name", b"x"),
            ("ce-datacontenttype", b"a/b"),
            ("ce-data", b"x"),
        ];
        for (name, value) in cases {
            let problem = refusal(&headers(&[(name, value)]), b"");
            assert_eq!(problem.status(), 400, "{name}");
            assert!(
                problem.message().contains(&name["ce-".len()..]),
                "{problem:?}"
            );
        }
        let mut twice = headers(&[]);
        twice.append("ce-id", "2".parse().unwrap());
        assert!(refusal(&twice, b"").message().contains("id is given more"));
    }

    #[test]
    fn data_is_what_its_type_says() {
        let json = headers(&[("content-type", b"application/json")]);
        assert_eq!(refusal(&json, b"{").status(), 400);
        assert!(read(&json, Bytes::new()).unwrap().event.data.is_empty());
        assert_eq!(refusal(&headers(&[]), b"x").status(), 415);
        let none = read(&headers(&[]), Bytes::new()).unwrap();
        assert_eq!(none.event.content_type, None);
        let other = headers(&[("content-type", b"application/json; charset=utf-16")]);
        assert!(read(&other, Bytes::from_static(b"\xff\xfe")).is_ok());
        let wrong = headers(&[("content-type", b"json")]);
        assert!(refusal(&wrong, b"{}").message().contains("datacontenttype"));
    }

    #[test]
    fn attributes_that_no_request_could_carry_are_refused() {
        let value = "é".repeat(512).into_bytes();
        let mut headers = headers(&[]);
        for name in ["ce-a", "ce-b"] {
            headers.insert(name, value.as_slice().try_into().unwrap());
        }
        assert!(read(&headers, Bytes::new()).is_ok());
        headers.insert("ce-c", value.as_slice().try_into().unwrap());
        let problem = refusal(&headers, b"");
        assert!(
            problem.message().contains("bytes as headers"),
            "{problem:?}"
        );
    }
}
