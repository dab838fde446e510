//! A delivered event: CloudEvents 1.0 in HTTP binary mode. The attributes are headers with the
//! prefix `ce-`, the body is the data.

use std::collections::BTreeMap;

use axum::http::{HeaderMap, header};
use bytes::Bytes;
use jiff::Timestamp;
use service_kit::{header_text, problem::Problem};

use crate::event::{Data, Event, check_id, check_text, name_in};

const PREFIX: &str = "ce-";
const SPEC_VERSION: &str = "1.0";
const TRACEPARENT: &str = "traceparent";

/// Whether these headers belong to a delivered event.
pub(crate) fn is_delivery(headers: &HeaderMap) -> bool {
    headers.keys().any(|name| name.as_str().starts_with(PREFIX))
}

/// Reads a delivered event; every fault is a 400 that names the attribute.
pub(crate) fn read(
    headers: &HeaderMap,
    body: &Bytes,
    received_at: Timestamp,
) -> Result<Event, Problem> {
    let mut attributes = attributes(headers)?;
    let spec_version = required(&mut attributes, "specversion")?;
    if spec_version != SPEC_VERSION {
        let message = format!("the attribute specversion must be {SPEC_VERSION}");
        return Err(Problem::bad_request(message));
    }
    let id = required(&mut attributes, "id")?;
    check_id("the attribute id", &id)?;
    let event_type = required(&mut attributes, "type")?;
    let source = required(&mut attributes, "source")?;
    let subject = attributes.remove("subject");
    if let Some(subject) = &subject {
        check_text("the attribute subject", subject)?;
    }
    let time_us = attributes
        .remove("time")
        .map(|time| parse_time(&time))
        .transpose()?;
    if let Some(traceparent) = headers.get(TRACEPARENT).and_then(header_text::decode) {
        // The attribute, if there is one, is the trace in which the event was made.
        attributes
            .entry(TRACEPARENT.to_owned())
            .or_insert(traceparent);
    }
    let content_type = content_type(headers)?;
    let data = Data::new(body);
    Ok(Event {
        id,
        event_type,
        source,
        name: name_in(content_type.as_deref(), &data),
        subject,
        time_us,
        received_at_us: received_at.as_microsecond(),
        content_type,
        data,
        attributes: serde_json::json!(attributes).to_string(),
    })
}

/// The media type of the body as it is stored.
pub(crate) fn content_type(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let Some(value) = headers.get(header::CONTENT_TYPE) else {
        return Ok(None);
    };
    let text = value.to_str().unwrap_or_default();
    check_text("the Content-Type", text)?;
    Ok(Some(text.to_owned()))
}

/// Parses the timestamps of CloudEvents and of queries: RFC 3339, which has an offset.
pub(crate) fn parse_rfc3339(text: &str) -> Option<Timestamp> {
    // jiff also reads a space for the T and a time zone in brackets.
    let is_rfc3339 = matches!(text.as_bytes().get(10), Some(b'T' | b't')) && !text.contains('[');
    text.parse().ok().filter(|_| is_rfc3339)
}

fn parse_time(text: &str) -> Result<i64, Problem> {
    parse_rfc3339(text)
        .map(Timestamp::as_microsecond)
        .ok_or_else(|| Problem::bad_request("the attribute time is not an RFC 3339 timestamp"))
}

fn required(attributes: &mut BTreeMap<String, String>, name: &str) -> Result<String, Problem> {
    let Some(value) = attributes.remove(name) else {
        return Err(Problem::bad_request(format!(
            "the attribute {name} is missing"
        )));
    };
    check_text(format_args!("the attribute {name}"), &value)?;
    Ok(value)
}

fn attributes(headers: &HeaderMap) -> Result<BTreeMap<String, String>, Problem> {
    let mut attributes = BTreeMap::new();
    for (header, value) in headers {
        let Some(name) = header.as_str().strip_prefix(PREFIX) else {
            continue;
        };
        let text = header_text::decode(value);
        let text = text.filter(|text| !text.contains('\0')).ok_or_else(|| {
            Problem::bad_request(format!(
                "the attribute {name} is not text, or contains U+0000"
            ))
        })?;
        if attributes.insert(name.to_owned(), text).is_some() {
            let message = format!("the attribute {name} is given more than once");
            return Err(Problem::bad_request(message));
        }
    }
    Ok(attributes)
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderName, HeaderValue};
    use proptest::prelude::*;

    use super::*;

    const REQUIRED: [(&str, &str); 4] = [
        ("ce-specversion", "1.0"),
        ("ce-id", "1"),
        ("ce-type", "order.placed"),
        ("ce-source", "/shop"),
    ];

    fn read_with(extra: &[(&str, &str)]) -> Result<Event, Problem> {
        let mut headers = HeaderMap::new();
        for (name, value) in REQUIRED {
            headers.insert(
                HeaderName::try_from(name).unwrap(),
                HeaderValue::from_static(value),
            );
        }
        for (name, value) in extra {
            let value = HeaderValue::from_bytes(value.as_bytes()).unwrap();
            headers.insert(HeaderName::try_from(*name).unwrap(), value);
        }
        read(&headers, &Bytes::from_static(b"{}"), Timestamp::UNIX_EPOCH)
    }

    #[test]
    fn attributes_without_a_field_are_kept_as_json() {
        let event = read_with(&[
            ("ce-subject", "order%201"),
            ("ce-time", "2026-01-02T03:04:05.000006+01:00"),
            ("ce-tenant", "a \"b\""),
            ("traceparent", "00-1-2-01"),
            ("content-type", "application/json"),
        ])
        .unwrap();
        assert_eq!(event.subject.as_deref(), Some("order 1"));
        assert_eq!(event.time_us, Some(1_767_319_445_000_006));
        assert_eq!(
            event.attributes,
            r#"{"tenant":"a \"b\"","traceparent":"00-1-2-01"}"#
        );
    }

    #[test]
    fn the_traceparent_attribute_wins_over_the_header() {
        let event = read_with(&[("ce-traceparent", "first"), ("traceparent", "hop")]).unwrap();
        assert_eq!(event.attributes, r#"{"traceparent":"first"}"#);
    }

    #[test]
    fn a_missing_attribute_is_named() {
        for (missing, _) in REQUIRED {
            let mut headers = HeaderMap::new();
            for (name, value) in REQUIRED.iter().filter(|(name, _)| *name != missing) {
                headers.insert(*name, HeaderValue::from_static(value));
            }
            let problem = read(&headers, &Bytes::new(), Timestamp::UNIX_EPOCH).unwrap_err();
            assert_eq!(problem.status(), 400);
            assert!(
                problem.message().contains(&missing[PREFIX.len()..]),
                "{problem:?}"
            );
        }
    }

    #[test]
    fn a_wrong_attribute_is_named() {
        let long = "x".repeat(1025);
        let long_id = "é".repeat(257);
        for (name, value) in [
            ("ce-specversion", "0.3"),
            ("ce-id", ""),
            ("ce-id", "a%00b"),
            ("ce-id", &long_id),
            ("ce-type", ""),
            ("ce-type", &long),
            ("ce-source", &long),
            ("ce-subject", &long),
            ("ce-time", "yesterday"),
            ("ce-time", "2026-01-02 03:04:05Z"),
            ("ce-time", "2026-01-02T03:04:05"),
            ("ce-time", "2026-01-02T03:04:05+01:00[Europe/Paris]"),
            ("ce-tenant", "%ff"),
            ("ce-tenant", "%00"),
        ] {
            let problem = read_with(&[(name, value)]).unwrap_err();
            assert_eq!(problem.status(), 400);
            assert!(
                problem.message().contains(&name[PREFIX.len()..]),
                "{problem:?}"
            );
        }
        assert_eq!(
            read_with(&[("ce-id", &"é".repeat(256))]).unwrap().id,
            "é".repeat(256)
        );
    }

    #[test]
    fn an_attribute_given_twice_is_refused() {
        let mut headers = HeaderMap::new();
        for (name, value) in REQUIRED.iter().chain([&("ce-id", "2")]) {
            headers.append(*name, HeaderValue::from_static(value));
        }
        let problem = read(&headers, &Bytes::new(), Timestamp::UNIX_EPOCH).unwrap_err();
        assert!(
            problem.message().contains("id is given more than once"),
            "{problem:?}"
        );
    }

    fn header() -> impl Strategy<Value = (String, Vec<u8>)> {
        let name = prop_oneof![
            4 => "ce-(id|type|source|specversion|subject|time|traceparent|[a-z]{0,9})",
            1 => "(traceparent|content-type|idempotency-key)",
        ];
        let value = prop_oneof![
            2 => Just(b"1.0".to_vec()),
            4 => "[ -~]{0,30}".prop_map(String::into_bytes),
            1 => "(%00|%[0-9a-fA-F]{0,2}){0,9}".prop_map(String::into_bytes),
            1 => "\"[ -~]{0,9}\"?".prop_map(String::into_bytes),
            1 => "[a-z]{250,1100}".prop_map(String::into_bytes),
            1 => proptest::collection::vec(any::<u8>(), 0..20),
        ];
        (name, value)
    }

    proptest! {
        /// What is accepted fits its columns, PostgreSQL's text without U+0000 among them.
        #[test]
        fn any_headers_are_an_event_or_refused(
            some in proptest::collection::vec(header(), 0..8),
            all in any::<bool>(),
            body in proptest::collection::vec(any::<u8>(), 0..40),
        ) {
            let mut headers = HeaderMap::new();
            if all {
                for (name, value) in REQUIRED {
                    headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
                }
            }
            for (name, value) in some {
                if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
                    headers.insert(name, value);
                }
            }
            match read(&headers, &Bytes::from(body), Timestamp::UNIX_EPOCH) {
                Err(problem) => prop_assert_eq!(problem.status(), 400),
                Ok(event) => {
                    let subject = event.subject.unwrap_or_default();
                    for text in [&event.id, &event.event_type, &event.source, &subject] {
                        prop_assert!(text.len() <= 1024 && !text.contains('\0'));
                    }
                    prop_assert!(!event.attributes.contains('\0'));
                    let attributes: serde_json::Value = serde_json::from_str(&event.attributes).unwrap();
                    prop_assert!(attributes.is_object());
                }
            }
        }
    }
}
