//! Events of all kinds, valid and damaged.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use proptest::{collection::btree_map, option, prelude::*};
use serde_json::{Map, Value};

use crate::{
    Event,
    attributes::SPEC_VERSION,
    binary,
    structured::{self, id_of},
};

/// Text in all scripts, without the characters that the specification excludes.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "[ -~]{0,20}",
        2 => "[\u{a0}-\u{2fff}\u{1f600}-\u{1f64f}\"%\\\\]{0,20}",
    ]
}

fn data() -> impl Strategy<Value = (Option<String>, Bytes)> {
    let json = prop_oneof![
        Just("null"),
        Just("{ \"n\": 1e400 ,\"n\":[18446744073709551617]}"),
        Just("\"text \\u00e9 \\ud800\""),
        Just("-0.0"),
    ];
    prop_oneof![
        Just((None, Bytes::new())),
        json.prop_map(|text| (Some("application/json".to_owned()), Bytes::from(text))),
        text().prop_map(|text| (Some("text/plain".to_owned()), Bytes::from(text))),
        proptest::collection::vec(any::<u8>(), 1..50)
            .prop_map(|bytes| (Some("image/png".to_owned()), Bytes::from(bytes))),
    ]
}

prop_compose! {
    fn event()(
        id in "[ -~]{1,60}",
        event_type in "[A-Za-z0-9_-]{1,9}(\\.[A-Za-z0-9_-]{1,9}){0,3}",
        source in "(https://example\\.com)?/[a-z/?#&=.~]{0,20}",
        subject in option::of(text().prop_filter("not empty", |text| !text.is_empty())),
        time in option::of("20[0-9]{2}-0[1-9]-1[0-9]T2[0-3]:[0-5][0-9]:[0-5][0-9](\\.[0-9]{1,9})?(Z|[+-]0[0-9]:30)"),
        extensions in btree_map("(x[a-z0-9]{1,20}|traceparent)", text(), 0..5),
        dataschema in option::of("https://example\\.com/[a-z]{0,9}(#[a-z/]{1,9})?"),
        (content_type, data) in data(),
    ) -> Event {
        let mut extensions = extensions;
        extensions.extend(dataschema.map(|schema| ("dataschema".to_owned(), schema)));
        Event { id, event_type, source, subject, time, content_type, content_encoding: None, extensions, data }
    }
}

fn attributes(event: &Event) -> Vec<(String, String)> {
    let mut attributes: Vec<_> = [
        ("specversion", SPEC_VERSION),
        ("id", &event.id),
        ("type", &event.event_type),
        ("source", &event.source),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into();
    let optional = [("subject", &event.subject), ("time", &event.time)];
    for (name, value) in optional {
        attributes.extend(value.clone().map(|value| (name.to_owned(), value)));
    }
    attributes.extend(event.extensions.clone());
    attributes
}

/// As an SDK writes it; JSON is embedded as is.
fn as_structured(event: &Event) -> Bytes {
    let members = attributes(event);
    let mut members: Map<_, _> = members
        .into_iter()
        .map(|(name, value)| (name, Value::from(value)))
        .collect();
    let mut json = None;
    match event.content_type.as_deref() {
        None => {}
        Some("application/json") => json = Some(String::from_utf8(event.data.to_vec()).unwrap()),
        Some(other) => {
            members.insert("datacontenttype".to_owned(), other.into());
            let (name, data) = match other {
                "text/plain" => ("data", String::from_utf8(event.data.to_vec()).unwrap()),
                _ => ("data_base64", STANDARD.encode(&event.data)),
            };
            members.insert(name.to_owned(), data.into());
        }
    }
    let mut text = Value::Object(members).to_string();
    if let Some(json) = json {
        text.insert_str(1, &format!("\"data\" : {json} ,"));
    }
    Bytes::from(text)
}

fn as_binary(event: &Event) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in attributes(event) {
        let encoded: String = match name.as_str() {
            // Characters that a URI can contain are never encoded.
            "source" | "dataschema" => value.replace('%', "%25"),
            _ => value.bytes().map(|byte| format!("%{byte:02X}")).collect(),
        };
        headers.insert(
            HeaderName::try_from(format!("ce-{name}")).unwrap(),
            HeaderValue::try_from(encoded).unwrap(),
        );
    }
    if let Some(content_type) = &event.content_type {
        headers.insert(header::CONTENT_TYPE, content_type.parse().unwrap());
    }
    headers
}

proptest! {
    #[test]
    fn a_structured_event_is_read_as_it_was_written(event in event()) {
        let body = as_structured(&event);
        let read = structured::read(&body, &body).unwrap();
        prop_assert_eq!(id_of(&body), Some(event.id.clone()));
        prop_assert_eq!(read, event);
    }

    #[test]
    fn a_binary_event_is_read_as_it_was_written(event in event()) {
        let read = binary::read(&as_binary(&event), event.data.clone()).unwrap();
        prop_assert_eq!(read, event);
    }

    #[test]
    fn what_is_written_is_read(event in event()) {
        let body = structured::write(&event);
        prop_assert_eq!(&structured::read(&body, &body).unwrap(), &event);
        let headers = binary::write(&event);
        prop_assert_eq!(&binary::read(&headers, event.data.clone()).unwrap(), &event);
    }

    #[test]
    fn a_damaged_event_is_another_one_or_refused(
        event in event(),
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in option::weighted(0.2, any::<prop::sample::Index>()),
    ) {
        let mut body = as_structured(&event).to_vec();
        for (at, byte) in damage {
            let at = at.index(body.len());
            body[at] = byte;
        }
        if let Some(cut) = cut {
            body.truncate(cut.index(body.len()));
        }
        let body = Bytes::from(body);
        if let Ok(read) = structured::read(&body, &body) {
            prop_assert!(!read.id.is_empty());
        }
    }

    #[test]
    fn any_member_is_an_attribute_or_refused(
        name in "(id|type|source|specversion|data|data_base64|time|[a-zA-Z_-]{0,5})",
        value in prop_oneof![
            "(null|true|-?[0-9]{1,12}|1.5|1e2|\\{\\}|\\[\\])".boxed(),
            any::<String>().prop_map(|text| Value::from(text).to_string()).boxed(),
        ],
        event in event(),
    ) {
        let mut body = String::from_utf8(as_structured(&event).to_vec()).unwrap();
        body.insert_str(1, &format!("\"{name}\":{value},"));
        let body = Bytes::from(body);
        let _ = structured::read(&body, &body);
    }
}
