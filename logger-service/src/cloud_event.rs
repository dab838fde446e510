//! A delivered event: CloudEvents 1.0 over HTTP. In binary mode the attributes are headers with the
//! prefix `ce-` and the body is the data; in structured mode the body has both.

use axum::http::{HeaderMap, HeaderValue, header};
use bytes::Bytes;
use event::trace::{TRACEPARENT, TRACESTATE};
use event::{Attributes, Invalid, binary, coding, header_text, structured, time};
use jiff::Timestamp;
use service_kit::json::check_encoding;
use service_kit::problem::Problem;

use crate::decoded::Decoded;
use crate::event::{Data, Event, check_id, check_text, name_in};

/// The attribute by which this suite says how the data of a structured event is compressed.
const CONTENT_ENCODING: &str = "datacontentencoding";

/// Whether these headers announce an event in structured mode.
pub(crate) fn is_structured(headers: &HeaderMap) -> bool {
    let value = headers.get(header::CONTENT_TYPE);
    let text = value.and_then(|value| value.to_str().ok());
    text.is_some_and(structured::is_structured)
}

/// Reads an event in structured mode; every fault is a 400 that names the attribute.
pub(crate) fn read_structured(
    headers: &HeaderMap,
    body: &Bytes,
    received_at: Timestamp,
) -> Result<Event, Problem> {
    check_encoding(headers)?;
    let mut event = structured::read(body, body).map_err(refused)?;
    let coding = event.extensions.remove(CONTENT_ENCODING);
    event.content_encoding = coding.as_deref().and_then(coding::codings);
    let time = event.time.take();
    check_id("the attribute id", &event.id)?;
    stored(event, time, received_at)
}

/// Reads a delivered event; every fault is a 400 that names the attribute. Of any producer, so an
/// attribute need only be storable.
pub(crate) fn read(
    headers: &HeaderMap,
    body: &Bytes,
    received_at: Timestamp,
) -> Result<Event, Problem> {
    let mut attributes = binary::read_attributes(headers).map_err(refused)?;
    for (name, value) in &attributes {
        if value.contains('\0') {
            let message = format!("the attribute {name} contains U+0000");
            return Err(Problem::bad_request(message));
        }
    }
    event::check_spec_version(&mut attributes).map_err(refused)?;
    let id = required(&mut attributes, "id")?;
    check_id("the attribute id", &id)?;
    let event_type = required(&mut attributes, "type")?;
    let source = required(&mut attributes, "source")?;
    let subject = attributes.remove("subject");
    if let Some(subject) = &subject {
        check_text("the attribute subject", subject)?;
    }
    let time = attributes.remove("time");
    // The attribute, if there is one, is the trace in which the event was made.
    if !attributes.contains_key(TRACEPARENT) {
        for name in [TRACEPARENT, TRACESTATE] {
            let value = headers.get(name).and_then(header_text::decode);
            if let Some(value) = value.filter(|value| !value.contains('\0')) {
                attributes.entry(name.to_owned()).or_insert(value);
            }
        }
    }
    let declared = attributes.remove("datacontenttype");
    let event = event::Event {
        id,
        event_type,
        source,
        subject,
        time: None,
        content_type: content_type(headers)?.or(declared),
        content_encoding: content_encoding(headers)?,
        extensions: attributes,
        data: body.clone(),
    };
    stored(event, time, received_at)
}

fn stored(
    event: event::Event,
    time: Option<String>,
    received_at: Timestamp,
) -> Result<Event, Problem> {
    let event::Event {
        id,
        event_type,
        source,
        subject,
        content_type,
        content_encoding,
        extensions: mut attributes,
        data: body,
        ..
    } = event;
    let mut time_us = time.as_deref().map(parse_time).transpose()?;
    if time_us.is_some_and(|time_us| time::from_microseconds(time_us).is_none()) {
        // In UTC it is in a year before 0 or after 9999, and cannot be shown.
        attributes.extend(time.map(|time| ("time".to_owned(), time)));
        time_us = None;
    }
    let (data, decoded) = match &content_encoding {
        Some(codings) => (
            Data::Bytes(body.to_vec()),
            Some(Decoded::new(codings, &body)),
        ),
        None => (Data::new(&body), None),
    };
    let text = match (&decoded, &data) {
        (Some(Decoded::Text(text)), _) | (None, Data::Text(text)) => Some(text.as_str()),
        (Some(Decoded::Not(_)), _) | (None, Data::Bytes(_)) => None,
    };
    Ok(Event {
        id,
        event_type,
        source,
        name: text.and_then(|text| name_in(content_type.as_deref(), text)),
        subject,
        time_us,
        received_at_us: received_at.as_microsecond(),
        content_type,
        content_encoding,
        data,
        decoded,
        attributes: serde_json::json!(attributes).to_string(),
    })
}

/// How the body is compressed: it is stored as it came. Any other coding is a 415.
fn content_encoding(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    // Several headers of this name are one list.
    let values = headers.get_all(header::CONTENT_ENCODING).iter();
    let list: Result<Vec<_>, _> = values.map(HeaderValue::to_str).collect();
    match list.ok().and_then(|list| coding::codings(&list.join(","))) {
        Some(codings) => Ok(Some(codings)),
        None => check_encoding(headers).map(|()| None),
    }
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

fn parse_time(text: &str) -> Result<i64, Problem> {
    time::microseconds(text)
        .ok_or_else(|| Problem::bad_request("the attribute time is not an RFC 3339 timestamp"))
}

fn required(attributes: &mut Attributes, name: &str) -> Result<String, Problem> {
    let value = event::required(attributes, name).map_err(refused)?;
    check_text(format_args!("the attribute {name}"), &value)?;
    Ok(value)
}

fn refused(invalid: Invalid) -> Problem {
    Problem::bad_request(invalid.to_string())
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderName;
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
            assert!(problem.message().contains(&missing[3..]), "{problem:?}");
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
            ("ce-tenant", "%00"),
        ] {
            let problem = read_with(&[(name, value)]).unwrap_err();
            assert_eq!(problem.status(), 400);
            assert!(problem.message().contains(&name[3..]), "{problem:?}");
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
