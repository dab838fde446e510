//! One event over HTTP in binary mode: the attributes are headers with the prefix `ce-`, the body
//! is the data unchanged (CloudEvents HTTP binding, 3.1).

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, header};
use percent_encoding::utf8_percent_encode;

use crate::{
    Attributes, Event, Invalid, attribute, attributes, header_text, json, media_type, trace::Trace,
};

/// The header with the event's id.
pub const ID: HeaderName = HeaderName::from_static("ce-id");
/// Number of the attempt, from 1. listener-service sends it, and encodes every value.
pub const ATTEMPT: HeaderName = HeaderName::from_static("x-gw-attempt");

const PREFIX: &str = "ce-";
const CONTENT_TYPE: &str = "datacontenttype";

/// Whether these headers contain attributes of an event.
pub fn is_binary(headers: &HeaderMap) -> bool {
    headers.keys().any(|name| name.as_str().starts_with(PREFIX))
}

/// Reads a producer's event. Without a Content-Type its data has no media type.
///
/// # Errors
/// Names the attribute that is missing or wrong, or says why the data is not JSON.
pub fn read(headers: &HeaderMap, body: Bytes) -> Result<Event, Invalid> {
    let mut attributes = read_attributes(headers)?;
    if let Some(value) = headers.get(header::CONTENT_TYPE) {
        let text = value.to_str().map_err(|_| not_text(CONTENT_TYPE))?;
        attributes.insert(CONTENT_TYPE.to_owned(), text.to_owned());
    }
    let content_type = attributes.get(CONTENT_TYPE).map(String::as_str);
    if content_type.is_some_and(media_type::is_json) && !body.is_empty() {
        json::check(&body)?;
    }
    attributes::into_event(attributes, body)
}

/// The attributes in these headers, with any values.
///
/// # Errors
/// Names the attribute that is not text, or is given more than once.
pub fn read_attributes(headers: &HeaderMap) -> Result<Attributes, Invalid> {
    let all_encoded = headers.contains_key(ATTEMPT);
    let mut attributes = Attributes::new();
    for (header, value) in headers {
        let Some(name) = header.as_str().strip_prefix(PREFIX) else {
            continue;
        };
        let text = match name {
            // Some SDKs write it beside the header that stands for it.
            CONTENT_TYPE
                if headers
                    .get(header::CONTENT_TYPE)
                    .is_some_and(|other| other != value) =>
            {
                return Err(attribute::wrong(
                    name,
                    "differs from the header Content-Type",
                ));
            }
            "source" | "dataschema" | "dataref" if !all_encoded => uri(value),
            _ => header_text::decode(value),
        };
        let text = text.ok_or_else(|| not_text(name))?;
        if attributes.insert(name.to_owned(), text).is_some() {
            return Err(attribute::wrong(name, "is given more than once"));
        }
    }
    Ok(attributes)
}

/// Many SDKs do not encode, and a URI can contain percent signs. So the value is decoded only if
/// all its percent signs are encoded and the result is a URI: one valid URI never becomes another.
fn uri(value: &HeaderValue) -> Option<String> {
    let raw = header_text::raw(value)?;
    let percents = raw.matches('%').count();
    if percents > 0 && percents == raw.matches("%25").count() {
        let decoded = raw.replace("%25", "%");
        if attribute::is_uri_reference(&decoded) {
            return Some(decoded);
        }
    }
    Some(raw)
}

fn not_text(name: &str) -> Invalid {
    attribute::wrong(name, "is not text")
}

/// The headers of a request with this event. Its body is the data unchanged.
pub fn write(event: &Event) -> HeaderMap {
    let mut values = Values::of(event);
    // First, so that none can replace a later header: header names are case-insensitive.
    for (name, value) in &event.extensions {
        // An attribute whose name is not a valid header name cannot be sent in this mode.
        if let Ok(name) = HeaderName::try_from(format!("ce-{name}")) {
            values.add(name, value);
        }
    }
    values.add(HeaderName::from_static("ce-specversion"), "1.0");
    values.add(ID, &event.id);
    values.add(HeaderName::from_static("ce-type"), &event.event_type);
    values.add(HeaderName::from_static("ce-source"), &event.source);
    if let Some(subject) = &event.subject {
        values.add(HeaderName::from_static("ce-subject"), subject);
    }
    if let Some(time) = &event.time {
        values.add(HeaderName::from_static("ce-time"), time);
    }
    values.add_trace(event);
    let mut headers = values.into_map();
    let of_the_data = [
        (header::CONTENT_TYPE, &event.content_type),
        (header::CONTENT_ENCODING, &event.content_encoding),
    ];
    for (name, value) in of_the_data {
        let value = value.as_deref().map(HeaderValue::from_str);
        if let Some(Ok(value)) = value {
            headers.insert(name, value);
        }
    }
    headers
}

/// The headers from which tracing libraries read the trace of an event, in any mode.
pub fn write_trace(event: &Event) -> HeaderMap {
    let mut values = Values::of(event);
    values.add_trace(event);
    values.into_map()
}

/// The id of an event as the value of a header.
pub fn id(event: &Event) -> Option<HeaderValue> {
    HeaderValue::try_from(header_text::encode(&event.id)).ok()
}

/// Headers under construction. Their values share one buffer: a client copies the headers of a
/// request more than once, and copying a slice of a buffer allocates nothing.
struct Values {
    buffer: BytesMut,
    /// A header, and the end of its value in the buffer.
    names: Vec<(HeaderName, usize)>,
}

impl Values {
    /// With room for the attributes of `event` that need no encoding.
    fn of(event: &Event) -> Self {
        let optional = [&event.subject, &event.time];
        // The trace attributes are written twice.
        let extensions = event.extensions.values().map(|value| 2 * value.len());
        let bytes = [&event.id, &event.event_type, &event.source]
            .into_iter()
            .chain(optional.into_iter().flatten())
            .map(String::len)
            .chain(extensions)
            .sum::<usize>();
        Self {
            buffer: BytesMut::with_capacity(bytes + 16),
            names: Vec::with_capacity(8 + event.extensions.len()),
        }
    }

    fn add(&mut self, name: HeaderName, value: &str) {
        for part in utf8_percent_encode(value, header_text::ENCODED) {
            self.buffer.extend_from_slice(part.as_bytes());
        }
        self.names.push((name, self.buffer.len()));
    }

    /// Under their plain names, and not encoded: that is where and how tracing libraries read them.
    fn add_trace(&mut self, event: &Event) {
        let Some(trace) = Trace::of(event) else {
            return;
        };
        for (name, value) in trace.headers() {
            self.buffer.extend_from_slice(value.as_bytes());
            self.names
                .push((HeaderName::from_static(name), self.buffer.len()));
        }
    }

    fn into_map(self) -> HeaderMap {
        // Includes room for headers that are added later.
        let mut headers = HeaderMap::with_capacity(self.names.len() + 8);
        let mut buffer = self.buffer.freeze();
        let mut begin = 0;
        for (name, end) in self.names {
            let value = buffer.split_to(end - begin);
            begin = end;
            if let Ok(value) = HeaderValue::from_maybe_shared(value) {
                headers.insert(name, value);
            }
        }
        headers
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

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

    fn refusal(headers: &HeaderMap, body: &'static [u8]) -> Invalid {
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
        let event = read(&headers, body.clone()).unwrap();
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
            assert_eq!(
                problem.to_string(),
                format!("the attribute {missing} is missing")
            );
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        let long = [b'x'; 1025];
        let cases: [(&str, &[u8]); 12] = [
            ("ce-specversion", b"0.3"),
            ("ce-id", b""),
            ("ce-id", b"%00"),
            ("ce-id", &long[..256]),
            ("ce-source", b"a b"),
            ("ce-subject", b"\xff"),
            ("ce-subject", &long),
            ("ce-time", b"now"),
            ("ce-dataschema", b"x"),
            ("ce-bad-name", b"x"),
            ("ce-datacontenttype", b"json"),
            ("ce-data", b"x"),
        ];
        for (name, value) in cases {
            let problem = refusal(&headers(&[(name, value)]), b"");
            assert!(
                problem.to_string().contains(&name["ce-".len()..]),
                "{problem:?}"
            );
        }
        let mut twice = headers(&[]);
        twice.append("ce-id", "2".parse().unwrap());
        assert!(
            refusal(&twice, b"")
                .to_string()
                .contains("id is given more")
        );
    }

    #[test]
    fn data_is_what_its_type_says() {
        let json = headers(&[("content-type", b"application/json")]);
        assert!(read(&json, Bytes::from_static(b"{")).is_err());
        assert!(read(&json, Bytes::new()).unwrap().data.is_empty());
        let none = read(&headers(&[]), Bytes::from_static(b"x")).unwrap();
        assert_eq!(none.content_type, None);
        let other = headers(&[("content-type", b"application/json; charset=utf-16")]);
        assert!(read(&other, Bytes::from_static(b"\xff\xfe")).is_ok());
        let both = |attribute: &'static [u8]| {
            headers(&[
                ("content-type", b"application/json"),
                ("ce-datacontenttype", attribute),
            ])
        };
        assert!(
            refusal(&both(b"text/plain"), b"{}")
                .to_string()
                .contains("differs")
        );
        let only = headers(&[("ce-datacontenttype", b"application/json")]);
        for headers in [both(b"application/json"), only] {
            let event = read(&headers, Bytes::from_static(b"{}")).unwrap();
            assert_eq!(event.content_type.as_deref(), Some("application/json"));
            assert!(read(&headers, Bytes::from_static(b"{")).is_err());
        }
        let wrong = headers(&[("content-type", b"json")]);
        assert!(
            refusal(&wrong, b"{}")
                .to_string()
                .contains("datacontenttype")
        );
    }

    #[test]
    fn one_uri_never_becomes_another() {
        for (sent, expected) in [
            ("https://x.example/a%20b", "https://x.example/a%20b"),
            ("https://x.example/a%2520b", "https://x.example/a%20b"),
            ("/a%2Fb", "/a%2Fb"),
            ("/a%252Fb", "/a%2Fb"),
            ("/100%25", "/100%25"),
            ("/100%2525", "/100%25"),
            ("/a%25zz", "/a%25zz"),
            ("/a%20%2520", "/a%20%2520"),
            ("\"/quoted\"", "/quoted"),
        ] {
            let read = read(&headers(&[("ce-source", sent.as_bytes())]), Bytes::new());
            assert_eq!(read.unwrap().source, expected, "{sent}");
        }
        let dataref = "https://b.example/o%2Fk%20x?sig=a%2Bb%3D";
        let read = read(
            &headers(&[("ce-dataref", dataref.as_bytes())]),
            Bytes::new(),
        );
        assert_eq!(read.unwrap().extensions["dataref"], dataref);
        // The gateway encodes all values, also those that are not URIs.
        let ours = headers(&[("ce-source", b"amqp:%C3%A9%20x"), ("x-gw-attempt", b"1")]);
        assert_eq!(read_attributes(&ours).unwrap()["source"], "amqp:\u{e9} x");
    }

    #[test]
    fn text_that_was_not_encoded_is_taken_as_it_is() {
        for (sent, expected) in [
            ("50% off", "50% off"),
            ("50%ff", "50%ff"),
            ("100%", "100%"),
            ("Größe", "Größe"),
            ("Gr%C3%B6%C3%9Fe", "Größe"),
        ] {
            let read = read(&headers(&[("ce-subject", sent.as_bytes())]), Bytes::new());
            assert_eq!(read.unwrap().subject.as_deref(), Some(expected), "{sent}");
        }
    }

    #[test]
    fn attributes_travel_as_encoded_headers() {
        let key = "order.placed".parse().unwrap();
        let mut event = Event::new(&key, "/shop", "application/json", Bytes::from_static(b"{}"));
        event.subject = Some("Größe 50% \"x\"\n".to_owned());
        event.content_encoding = Some("gzip, br".to_owned());
        for (name, value) in [
            ("tenant", "blue"),
            ("bad name", "x"),
            ("ID", "x"),
            ("traceparent", PARENT),
            ("tracestate", "a=\"1%\", b=2"),
        ] {
            event.extensions.insert(name.to_owned(), value.to_owned());
        }
        let headers = write(&event);
        assert_eq!(headers["ce-id"], event.id);
        assert_eq!(headers["ce-type"], "order.placed");
        assert_eq!(headers["ce-source"], "/shop");
        assert_eq!(headers["ce-tenant"], "blue");
        assert_eq!(headers["traceparent"], PARENT);
        assert_eq!(headers["tracestate"], "a=\"1%\", b=2");
        assert_eq!(headers["ce-tracestate"], "a=%221%25%22,%20b=2");
        assert_eq!(headers["content-type"], "application/json");
        assert_eq!(headers["content-encoding"], "gzip, br");
        assert_eq!(
            headers["ce-subject"],
            "Gr%C3%B6%C3%9Fe%2050%25%20%22x%22%0A"
        );
        assert!(headers.keys().all(|name| !name.as_str().contains("bad")));
        event.content_type = None;
        let parent = event.extensions.get_mut("traceparent").unwrap();
        *parent = "no trace".to_owned();
        let headers = write(&event);
        assert_eq!(headers["ce-traceparent"], "no%20trace");
        for name in ["content-type", "traceparent", "tracestate"] {
            assert!(!headers.contains_key(name), "{name}");
        }
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
            problem.to_string().contains("bytes as headers"),
            "{problem:?}"
        );
    }
}
