//! An event on the wire (CloudEvents AMQP binding). Written in binary mode: the body is the data as it
//! came, the attributes are headers with the prefix `cloudEvents_`. Read in both modes, and with the
//! prefixes that other programs write.

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use event::{
    Event, EventType, coding,
    media_type::is_media_type,
    structured, time,
    trace::{TRACEPARENT, TRACESTATE, Trace},
};
use lapin::{
    BasicProperties,
    types::{AMQPValue, DecimalValue, FieldTable, ShortString},
};

use crate::{
    delivery::SENDER,
    headers::{Headers, entries, integer_of, text},
    identity::id_of,
    message::{Message, PERSISTENT, short},
    topology::EVENTS_EXCHANGE,
};

const WRITTEN_PREFIX: &str = "cloudEvents_";
/// Those of the binding (3.1.3.1), and those of Knative. With the headers of which every event has one
/// at least: they say which prefix counts for the whole message.
const READ_PREFIXES: [(&str, [&str; 2]); 4] = [
    (
        WRITTEN_PREFIX,
        ["cloudEvents_id", "cloudEvents_specversion"],
    ),
    (
        "cloudEvents:",
        ["cloudEvents:id", "cloudEvents:specversion"],
    ),
    ("ce-", ["ce-id", "ce-specversion"]),
    ("ce_", ["ce_id", "ce_specversion"]),
];
const SPEC_VERSION: &str = "1.0";

impl Message {
    /// The persistent, mandatory message that carries `event` to the events exchange under
    /// `routing_key`.
    pub fn of(event: Event, routing_key: &EventType) -> Self {
        Self {
            exchange: EVENTS_EXCHANGE.into(),
            routing_key: routing_key.as_str().into(),
            mandatory: true,
            properties: properties(&event, Headers::new()),
            payload: event.data,
        }
    }
}

/// The properties of a persistent message with this event, its attributes added to `headers`.
pub(crate) fn properties(event: &Event, mut headers: Headers) -> BasicProperties {
    insert_headers(event, &mut headers);
    let mut properties = BasicProperties::default()
        .with_headers(headers.into_table())
        .with_delivery_mode(PERSISTENT);
    if let Some(id) = short(&event.id) {
        properties = properties.with_message_id(id);
    }
    if let Some(kind) = short(&event.event_type) {
        properties = properties.with_type(kind);
    }
    if let Some(content_type) = event.content_type.as_deref().and_then(short) {
        properties = properties.with_content_type(content_type);
    }
    if let Some(coding) = event.content_encoding.as_deref().and_then(short) {
        properties = properties.with_content_encoding(coding);
    }
    if let Some(seconds) = event.time.as_deref().and_then(time::unix_seconds) {
        properties = properties.with_timestamp(seconds);
    }
    properties
}

/// Reads a delivered message of any producer, and fills in what is missing. With the event: why it is
/// not the one that the message says that it holds.
pub(crate) fn read(
    exchange: &str,
    routing_key: &str,
    properties: &BasicProperties,
    data: Bytes,
) -> (Event, Option<String>) {
    match read_structured(properties, &data) {
        Some(Ok(event)) => (event, None),
        Some(Err(reason)) => {
            let event = read_binary(exchange, routing_key, properties, data);
            (event, Some(reason))
        }
        None => (read_binary(exchange, routing_key, properties, data), None),
    }
}

/// The event that the body holds, where the media type says that it holds one (binding, 3.2).
fn read_structured(properties: &BasicProperties, data: &Bytes) -> Option<Result<Event, String>> {
    let media_type = present(properties.content_type())?;
    if !structured::is_event(media_type) {
        return None;
    }
    if !structured::is_structured(media_type) {
        return Some(Err(
            "its content_type is that of events, but not application/cloudevents+json in UTF-8: \
             neither batches nor other formats are read"
                .to_owned(),
        ));
    }
    let is_compressed = |text: &str| coding::codings(text).is_some();
    if present(properties.content_encoding()).is_some_and(is_compressed) {
        return Some(Err("its CloudEvent is compressed as a whole".to_owned()));
    }
    let event = structured::read(data, data);
    let mut event = match event {
        Ok(event) => event,
        Err(invalid) => return Some(Err(format!("its CloudEvent cannot be read: {invalid}"))),
    };
    if let Some(headers) = properties.headers() {
        carry_on_trace(headers, &mut event);
    }
    Some(Ok(event))
}

fn read_binary(
    exchange: &str,
    routing_key: &str,
    properties: &BasicProperties,
    data: Bytes,
) -> Event {
    let headers = properties.headers().as_ref();
    let Attributes {
        id,
        event_type,
        source,
        subject,
        time,
        content_type,
        extensions,
    } = headers.map(attributes).unwrap_or_default();
    let message_id = properties.message_id().as_ref();
    let message_id = message_id.map(|id| id.as_str().as_bytes());
    let id = id_of([id.as_deref(), message_id]);
    let event_type = event_type
        .or_else(|| owned(present(properties.kind())))
        .or_else(|| owned(Some(routing_key).filter(|key| !key.is_empty())))
        .unwrap_or_else(|| "unknown".to_owned());
    let source = source
        .or_else(|| owned(present(properties.app_id())))
        .or_else(|| owned(headers.and_then(sender)))
        .unwrap_or_else(|| format!("amqp:{exchange}"));
    let time = time.or_else(|| properties.timestamp().and_then(rfc3339));
    // Celery writes the charset there, for instance.
    let content_encoding = present(properties.content_encoding()).and_then(coding::codings);
    let mut event = Event {
        id,
        event_type,
        source,
        subject,
        time,
        content_type: owned(present(properties.content_type())).or(content_type),
        content_encoding,
        extensions,
        data,
    };
    if let Some(headers) = headers {
        carry_on_trace(headers, &mut event);
    }
    event
}

/// Under their plain names tracing libraries of other producers write them.
fn carry_on_trace(headers: &FieldTable, event: &mut Event) {
    let state = text(headers, TRACESTATE).unwrap_or_default();
    if let Some(trace) = text(headers, TRACEPARENT).and_then(|parent| Trace::new(parent, state)) {
        trace.carry_on(event);
    }
}

fn owned(text: Option<&str>) -> Option<String> {
    text.map(str::to_owned)
}

/// The attributes as headers, `specversion` included. Hand-offs repeat it, so that what was
/// derived once stays as it is.
pub(crate) fn insert_headers(event: &Event, headers: &mut Headers) {
    headers.insert_text("cloudEvents_specversion", SPEC_VERSION);
    headers.insert_text("cloudEvents_id", &event.id);
    headers.insert_text("cloudEvents_type", &event.event_type);
    headers.insert_text("cloudEvents_source", &event.source);
    if let Some(subject) = &event.subject {
        headers.insert_text("cloudEvents_subject", subject);
    }
    if let Some(time) = &event.time {
        headers.insert_text("cloudEvents_time", time);
    }
    for (name, value) in &event.extensions {
        headers.insert_text(&format!("{WRITTEN_PREFIX}{name}"), value);
    }
    // Under their plain names too: that is where tracing libraries of other consumers look.
    for name in [TRACEPARENT, TRACESTATE] {
        if let Some(value) = event.extensions.get(name) {
            headers.insert_text(name, value);
        }
    }
}

/// Whom programs of the goamqp convention name as the sender of an event.
fn sender(headers: &FieldTable) -> Option<&str> {
    text(headers, SENDER).filter(|service| !service.is_empty())
}

/// The text of a property that is there and not empty.
fn present(property: &Option<ShortString>) -> Option<&str> {
    let text = property.as_ref()?.as_str();
    (!text.is_empty()).then_some(text)
}

/// Which headers of a message are attributes of its event, such that a copy writes them new.
pub(crate) fn is_attribute(prefix: Option<&str>, header: &str, value: &AMQPValue) -> bool {
    let is_read = prefix.is_some_and(|prefix| header.starts_with(prefix));
    let is_written = header.starts_with(WRITTEN_PREFIX);
    // One under the written prefix that was not read would become an attribute by the copy.
    let is_new = is_written && prefix != Some(WRITTEN_PREFIX);
    is_new || is_read && (canonical(value).is_some() || *value == AMQPValue::Void)
}

/// The prefix of the attributes of a message; the first one found counts.
pub(crate) fn attribute_prefix(headers: &FieldTable) -> Option<&'static str> {
    let is_text = |name: &str| headers.inner().get(name).and_then(canonical).is_some();
    let found = |at: usize| {
        READ_PREFIXES
            .into_iter()
            .find(|(_, names)| is_text(names[at]))
    };
    // An id says more: another program may have added a version.
    found(0).or_else(|| found(1)).map(|(prefix, _)| prefix)
}

/// The CloudEvents attributes of a message, those that are empty left out.
#[derive(Default)]
struct Attributes {
    /// Not always a text.
    id: Option<Vec<u8>>,
    event_type: Option<String>,
    source: Option<String>,
    subject: Option<String>,
    time: Option<String>,
    content_type: Option<String>,
    extensions: BTreeMap<String, String>,
}

/// Reads them from the headers. What can be no attribute, a list for instance, stays a header.
fn attributes(headers: &FieldTable) -> Attributes {
    let mut attributes = Attributes::default();
    let Some(prefix) = attribute_prefix(headers) else {
        return attributes;
    };
    for (header, raw) in entries(headers) {
        let name = header.as_str().strip_prefix(prefix);
        let (Some(name), Some(value)) = (name, canonical(raw)) else {
            continue;
        };
        let present = || Some(value.clone()).filter(|value| !value.is_empty());
        match name {
            "id" => {
                attributes.id = match raw {
                    // As it came: another id must not have the same form.
                    AMQPValue::LongString(id) => Some(id.as_bytes().to_vec()),
                    _ => Some(value.into_bytes()),
                }
            }
            "type" => attributes.event_type = present(),
            "source" => attributes.source = present(),
            "subject" => attributes.subject = present(),
            "time" => {
                let number = integer_of(raw).and_then(|number| u64::try_from(number).ok());
                attributes.time = match number {
                    Some(number) => rfc3339(number),
                    None => present(),
                }
            }
            "datacontenttype" => {
                attributes.content_type = present().filter(|text| is_media_type(text));
            }
            "specversion" => {}
            _ => {
                attributes.extensions.insert(name.to_owned(), value);
            }
        }
    }
    attributes
}

/// A value in the canonical form of its type (CloudEvents 1.0, "Type System"): a boolean, an integer, a
/// timestamp, and bytes in base64. Numbers with a fraction, which the specification has no type for,
/// as they are written.
pub(crate) fn canonical(value: &AMQPValue) -> Option<String> {
    match value {
        AMQPValue::LongString(text) => Some(match std::str::from_utf8(text.as_bytes()) {
            Ok(text) => text.to_owned(),
            Err(_) => STANDARD.encode(text.as_bytes()),
        }),
        AMQPValue::ShortString(text) => Some(text.as_str().to_owned()),
        AMQPValue::ByteArray(bytes) => Some(STANDARD.encode(bytes.as_slice())),
        AMQPValue::Boolean(value) => Some(value.to_string()),
        AMQPValue::Timestamp(seconds) => rfc3339(*seconds),
        AMQPValue::Float(value) => value.is_finite().then(|| value.to_string()),
        AMQPValue::Double(value) => value.is_finite().then(|| value.to_string()),
        AMQPValue::DecimalValue(DecimalValue { scale, value }) => decimal(*scale, *value),
        value => integer_of(value).map(|integer| integer.to_string()),
    }
}

/// A decimal number (AMQP 0-9-1, 4.2.5.5), signed as RabbitMQ and its clients have it. More places than
/// any 32 bits need are a mistake.
fn decimal(scale: u8, value: u32) -> Option<String> {
    const PLACES_MAX: u8 = 20;
    let value = value.cast_signed();
    if scale == 0 || scale > PLACES_MAX {
        return (scale == 0).then(|| value.to_string());
    }
    let places = usize::from(scale);
    let sign = if value < 0 { "-" } else { "" };
    let digits = format!("{:0>width$}", value.unsigned_abs(), width = places + 1);
    let (whole, fraction) = digits.split_at(digits.len() - places);
    Some(format!("{sign}{whole}.{fraction}"))
}

/// A time since 1970 in seconds, as AMQP has it, or in milliseconds, as some clients write it: these are
/// beyond the year 9999 if they are read as seconds.
fn rfc3339(since_1970: u64) -> Option<String> {
    const YEAR_10000: i64 = 253_402_300_800;
    let since_1970 = i64::try_from(since_1970).ok()?;
    let unit = if since_1970 < YEAR_10000 {
        1_000_000
    } else {
        1_000
    };
    time::from_microseconds(since_1970.checked_mul(unit)?)
}

#[cfg(test)]
mod tests {
    use lapin::types::FieldArray;

    use super::*;

    fn read(exchange: &str, routing_key: &str, properties: &BasicProperties, data: Bytes) -> Event {
        let (event, reason) = super::read(exchange, routing_key, properties, data);
        assert_eq!(reason, None);
        event
    }

    fn event() -> Event {
        let key = "order.placed".parse().unwrap();
        let mut event = Event::new(
            &key,
            "/shop",
            "application/json",
            Bytes::from_static(b"{\"n\":1e400}"),
        );
        event.subject = Some("4711".to_owned());
        event.extensions.insert(
            TRACEPARENT.to_owned(),
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".to_owned(),
        );
        event
    }

    #[test]
    fn comes_back_from_the_wire_as_it_was() {
        let sent = event();
        let message = Message::of(sent.clone(), &"order.placed".parse().unwrap());
        assert!(message.mandatory);
        assert_eq!(*message.properties.delivery_mode(), Some(PERSISTENT));
        assert_eq!(
            message.properties.message_id().as_ref().unwrap().as_str(),
            sent.id
        );
        let read = read(
            EVENTS_EXCHANGE,
            "order.placed",
            &message.properties,
            message.payload,
        );
        assert_eq!(read, sent);
    }

    #[test]
    fn reads_the_other_prefix_but_never_mixes() {
        let mut headers = Headers::new();
        for (name, value) in [
            ("cloudEvents:id", "a"),
            ("cloudEvents:type", "t"),
            ("cloudEvents_source", "no"),
        ] {
            headers.insert_text(name, value);
        }
        let properties = BasicProperties::default().with_headers(headers.into_table());
        let read = read("x", "key", &properties, Bytes::new());
        assert_eq!((read.id.as_str(), read.event_type.as_str()), ("a", "t"));
        assert_eq!(read.source, "amqp:x");
    }

    #[test]
    fn gives_each_foreign_message_an_id_of_its_own() {
        let properties = BasicProperties::default().with_timestamp(1_700_000_000);
        let read = || read("x", "some key", &properties, Bytes::from_static(b"body"));
        let first = read();
        assert_ne!(first.id, read().id);
        assert_eq!(first.event_type, "some key");
        assert_eq!(first.time.as_deref(), Some("2023-11-14T22:13:20Z"));
    }

    /// An empty attribute is none, under either prefix.
    #[test]
    fn an_empty_id_leaves_the_other_one() {
        for prefix in ["cloudEvents_id", "cloudEvents:id"] {
            let mut headers = Headers::new();
            headers.insert_text(prefix, "");
            let properties = BasicProperties::default().with_headers(headers.into_table());
            let id = |properties: &BasicProperties| read("x", "", properties, Bytes::new()).id;
            assert_ne!(id(&properties), id(&properties));
            let properties = properties.with_message_id("m-1".into());
            assert_eq!(id(&properties), "m-1");
        }
    }

    #[test]
    fn knows_the_sender_of_a_message_by_its_app_id_or_its_header() {
        let mut headers = Headers::new();
        headers.insert_text("service", "orders");
        let properties = BasicProperties::default().with_headers(headers.into_table());
        let source =
            |properties: &BasicProperties| read("x", "key", properties, Bytes::new()).source;
        assert_eq!(source(&properties), "orders");
        assert_eq!(source(&properties.with_app_id("shop".into())), "shop");
        assert_eq!(source(&BasicProperties::default()), "amqp:x");
    }

    #[test]
    fn an_id_that_cannot_travel_is_replaced_by_one_of_its_own() {
        let id = |id: &[u8]| {
            let mut headers = FieldTable::default();
            let value = AMQPValue::LongString(id.to_vec().into());
            headers.insert("cloudEvents:id".into(), value);
            headers.insert("cloudEvents:type".into(), AMQPValue::LongString("t".into()));
            let properties = BasicProperties::default().with_headers(headers);
            let event = read("x", "key", &properties, Bytes::new());
            assert_eq!(event.event_type, "t");
            event.id
        };
        let long = "x".repeat(255);
        for good in ["caf\u{e9}", "a b", "caf%E9", &long] {
            assert_eq!(id(good.as_bytes()), good);
        }
        let longer = [format!("{long}a"), format!("{long}b"), "a\nb".into()];
        let mut bad: Vec<&[u8]> = vec![b"caf\xe9", b"caf\xe8", b"a\0b", b"a\0c"];
        bad.extend(longer.iter().map(String::as_bytes));
        let ids: std::collections::BTreeSet<_> = bad.iter().map(|bad| id(bad)).collect();
        assert_eq!(ids.len(), bad.len());
        assert!(bad.iter().all(|bad| ids.contains(&id(bad))));
        let property = BasicProperties::default().with_message_id("a\nb".into());
        assert!(ids.contains(&read("x", "key", &property, Bytes::new()).id));
    }

    #[test]
    fn native_types_become_text_and_what_has_no_form_stays_a_header() {
        let mut table = FieldTable::default();
        for (name, value) in [
            ("id", AMQPValue::LongLongInt(-7)),
            ("type", AMQPValue::LongString("a.b".into())),
            ("source", AMQPValue::ShortString("/s".into())),
            ("time", AMQPValue::Timestamp(1_700_000_000)),
            ("n", AMQPValue::ShortShortUInt(7)),
            ("flag", AMQPValue::Boolean(true)),
            ("bytes", AMQPValue::LongString(vec![0xff, 0xfe].into())),
            ("half", AMQPValue::Double(0.5)),
            ("list", AMQPValue::FieldArray(FieldArray::default())),
            ("none", AMQPValue::Void),
            (
                "datacontenttype",
                AMQPValue::LongString("text/plain".into()),
            ),
        ] {
            table.insert(format!("cloudEvents_{name}").as_str().into(), value);
        }
        let list = |name: &str| {
            let prefix = attribute_prefix(&table);
            is_attribute(prefix, name, table.inner().get(name).unwrap())
        };
        assert!(!list("cloudEvents_list") && list("cloudEvents_n"));
        let properties = BasicProperties::default().with_headers(table.clone());
        let event = read("x", "key", &properties, Bytes::new());
        assert_eq!(
            (
                event.id.as_str(),
                event.event_type.as_str(),
                event.source.as_str()
            ),
            ("-7", "a.b", "/s")
        );
        assert_eq!(event.time.as_deref(), Some("2023-11-14T22:13:20Z"));
        assert_eq!(event.content_type.as_deref(), Some("text/plain"));
        let extensions: Vec<_> = event.extensions.into_iter().collect();
        let expected = [
            ("bytes", "//4="),
            ("flag", "true"),
            ("half", "0.5"),
            ("n", "7"),
        ];
        assert_eq!(
            extensions,
            expected.map(|(name, text)| (name.to_owned(), text.to_owned()))
        );
    }

    #[test]
    fn knative_writes_other_prefixes() {
        for prefix in ["ce-", "ce_"] {
            let mut headers = Headers::new();
            for (name, value) in [
                ("id", "1"),
                ("type", "t"),
                ("source", "/s"),
                ("tenant", "blue"),
            ] {
                headers.insert_text(&format!("{prefix}{name}"), value);
            }
            headers.insert_text("cloudEvents_other", "no");
            let properties = BasicProperties::default().with_headers(headers.into_table());
            let event = read("x", "key", &properties, Bytes::new());
            assert_eq!((event.id.as_str(), event.source.as_str()), ("1", "/s"));
            assert_eq!(event.extensions.len(), 1);
            assert_eq!(event.extensions["tenant"], "blue");
        }
    }

    #[test]
    fn a_structured_event_is_itself() {
        let body = r#"{"specversion":"1.0","id":"own","type":"a.b","source":"/s","n":7,"data":{"x":1e400}}"#;
        for media_type in [
            "application/cloudevents+json",
            "Application/CloudEvents+JSON; charset=UTF-8",
        ] {
            let properties = BasicProperties::default()
                .with_message_id("other".into())
                .with_content_type(media_type.into());
            let event = read("x", "key", &properties, Bytes::from(body));
            assert_eq!(
                (event.id.as_str(), event.event_type.as_str()),
                ("own", "a.b")
            );
            assert_eq!(event.content_type.as_deref(), Some("application/json"));
            assert_eq!(event.extensions["n"], "7");
            assert_eq!(&event.data[..], br#"{"x":1e400}"#);
        }
    }

    #[test]
    fn a_structured_event_that_cannot_be_read_says_why() {
        let good = r#"{"specversion":"1.0","id":"1","type":"a","source":"/s"}"#;
        for (media_type, body, named) in [
            ("application/cloudevents+json", "{", "JSON"),
            (
                "application/cloudevents+json",
                r#"{"specversion":"1.0","id":"1"}"#,
                "missing",
            ),
            (
                "application/cloudevents+json; charset=latin1",
                good,
                "UTF-8",
            ),
            ("application/cloudevents-batch+json", "[]", "batches"),
            ("application/cloudevents+avro", "x", "formats"),
        ] {
            let properties = BasicProperties::default()
                .with_message_id("m".into())
                .with_content_type(media_type.into());
            let (event, reason) = super::read("x", "key", &properties, Bytes::from(body));
            assert!(reason.unwrap().contains(named), "{media_type} {body}");
            assert_eq!((event.id.as_str(), &event.data[..]), ("m", body.as_bytes()));
        }
    }

    #[test]
    fn compression_is_an_encoding_and_a_charset_is_none() {
        for (property, expected) in [
            ("gzip", Some("gzip")),
            ("GZIP, br", Some("gzip, br")),
            ("gzip, UTF-8", Some("gzip")),
            ("utf-8", None),
        ] {
            let properties = BasicProperties::default().with_content_encoding(property.into());
            let event = read("x", "key", &properties, Bytes::new());
            assert_eq!(event.content_encoding.as_deref(), expected);
        }
    }

    #[test]
    fn decimals_have_a_sign() {
        for (scale, value, expected) in [
            (2, -1250, Some("-12.50")),
            (2, 5, Some("0.05")),
            (3, -5, Some("-0.005")),
            (0, -7, Some("-7")),
            (21, 7, None),
        ] {
            assert_eq!(
                decimal(scale, i32::cast_unsigned(value)).as_deref(),
                expected
            );
        }
    }

    #[test]
    fn a_time_may_be_a_number_of_seconds_or_of_milliseconds() {
        for (raw, expected) in [
            (
                AMQPValue::LongLongInt(1_767_303_245_678),
                Some("2026-01-01T21:34:05.678Z"),
            ),
            (
                AMQPValue::LongInt(1_767_303_245),
                Some("2026-01-01T21:34:05Z"),
            ),
            (
                AMQPValue::Timestamp(1_767_303_245_678),
                Some("2026-01-01T21:34:05.678Z"),
            ),
            (AMQPValue::LongLongInt(-1), Some("-1")),
            (AMQPValue::LongLongInt(i64::MAX), None),
        ] {
            let mut table = FieldTable::default();
            table.insert("cloudEvents_id".into(), AMQPValue::LongString("1".into()));
            table.insert("cloudEvents_time".into(), raw);
            let properties = BasicProperties::default().with_headers(table);
            let event = read("x", "key", &properties, Bytes::new());
            assert_eq!(event.time.as_deref(), expected);
        }
        let properties = BasicProperties::default().with_timestamp(1_767_303_245_678);
        let event = read("x", "key", &properties, Bytes::new());
        assert_eq!(event.time.as_deref(), Some("2026-01-01T21:34:05.678Z"));
    }

    #[test]
    fn attributes_without_an_id_count_by_their_version() {
        for prefix in ["cloudEvents_", "cloudEvents:", "ce-", "ce_"] {
            let mut headers = Headers::new();
            for (name, value) in [("specversion", "1.0"), ("type", "a.b"), ("tenant", "blue")] {
                headers.insert_text(&format!("{prefix}{name}"), value);
            }
            let properties = BasicProperties::default()
                .with_headers(headers.into_table())
                .with_message_id("m".into());
            let event = read("x", "key", &properties, Bytes::new());
            assert_eq!((event.id.as_str(), event.event_type.as_str()), ("m", "a.b"));
            assert_eq!(event.extensions["tenant"], "blue");
        }
    }

    #[test]
    fn a_trace_travels_whole() {
        let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let mut headers = Headers::new();
        headers.insert_text("traceparent", parent);
        headers.insert_text("tracestate", "a=1");
        let properties = BasicProperties::default().with_headers(headers.into_table());
        let event = read("x", "key", &properties, Bytes::new());
        assert_eq!(event.extensions["tracestate"], "a=1");
        let message = Message::of(event, &"a.b".parse().unwrap());
        let headers = message.properties.headers().clone().unwrap();
        assert_eq!(text(&headers, "tracestate"), Some("a=1"));
        assert_eq!(text(&headers, "traceparent"), Some(parent));
    }
}
