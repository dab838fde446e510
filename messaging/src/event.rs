//! An event on the wire: CloudEvents 1.0 in AMQP binary mode.
//!
//! The body is the data as it came. The attributes travel as headers with the prefix of the
//! CloudEvents AMQP binding, 3.1.3.1: `cloudEvents_` is written, `cloudEvents:` is read as well.

use std::collections::BTreeMap;

use bytes::Bytes;
use event::{Event, EventType};
use lapin::{
    BasicProperties,
    types::{FieldTable, ShortString},
};

use crate::{
    delivery::SENDER,
    headers::{Headers, as_text, entries, text},
    identity::id_of,
    message::{Message, PERSISTENT, short},
    topology::EVENTS_EXCHANGE,
};

const WRITTEN_PREFIX: &str = "cloudEvents_";
/// With the header of the id, which every event has.
const READ_PREFIXES: [(&str, &str); 2] = [
    (WRITTEN_PREFIX, "cloudEvents_id"),
    ("cloudEvents:", "cloudEvents:id"),
];
const SPEC_VERSION: &str = "1.0";
/// The attribute of the CloudEvents distributed tracing extension.
const TRACEPARENT: &str = "traceparent";
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
    if let Some(seconds) = event.time.as_deref().and_then(unix_seconds) {
        properties = properties.with_timestamp(seconds);
    }
    properties
}

/// Reads a delivered message of any producer, and fills in what is missing.
pub(crate) fn read(
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
        mut extensions,
    } = headers.map(attributes).unwrap_or_default();
    let message_id = properties.message_id().as_ref().map(ShortString::as_str);
    let id = id_of([id, message_id]);
    let event_type = event_type
        .or(present(properties.kind()))
        .or(Some(routing_key).filter(|key| !key.is_empty()))
        .unwrap_or("unknown")
        .to_owned();
    let source = source
        .or(present(properties.app_id()))
        .or(headers.and_then(sender))
        .map(str::to_owned)
        .unwrap_or_else(|| format!("amqp:{exchange}"));
    let time = time.map(str::to_owned);
    let time = time.or_else(|| properties.timestamp().and_then(rfc3339));
    if let Some(traceparent) = headers.and_then(|headers| text(headers, TRACEPARENT)) {
        extensions
            .entry(TRACEPARENT.to_owned())
            .or_insert_with(|| traceparent.to_owned());
    }
    Event {
        id,
        event_type,
        source,
        subject: subject.map(str::to_owned),
        time,
        content_type: properties.content_type().as_ref().map(ToString::to_string),
        extensions,
        data,
    }
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
    // Under its plain name too: that is where tracing libraries of other consumers look.
    if let Some(traceparent) = event.extensions.get(TRACEPARENT) {
        headers.insert_text(TRACEPARENT, traceparent);
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

/// Whether a header holds an attribute of an event, under either prefix.
pub(crate) fn is_attribute(header: &str) -> bool {
    READ_PREFIXES
        .iter()
        .any(|(prefix, _)| header.starts_with(prefix))
}

/// The CloudEvents attributes of a message, those that are empty left out.
#[derive(Default)]
struct Attributes<'a> {
    id: Option<&'a str>,
    event_type: Option<&'a str>,
    source: Option<&'a str>,
    subject: Option<&'a str>,
    time: Option<&'a str>,
    extensions: BTreeMap<String, String>,
}

/// Reads them from the headers. One prefix counts for the whole message; the first one found wins.
fn attributes(headers: &FieldTable) -> Attributes<'_> {
    let mut attributes = Attributes::default();
    let found = READ_PREFIXES
        .into_iter()
        .find(|(_, id)| text(headers, id).is_some());
    let Some((prefix, _)) = found else {
        return attributes;
    };
    for (header, value) in entries(headers) {
        let name = header.as_str().strip_prefix(prefix);
        let (Some(name), Some(value)) = (name, as_text(value)) else {
            continue;
        };
        let present = Some(value).filter(|value| !value.is_empty());
        match name {
            "id" => attributes.id = present,
            "type" => attributes.event_type = present,
            "source" => attributes.source = present,
            "subject" => attributes.subject = present,
            "time" => attributes.time = present,
            "specversion" | "datacontenttype" => {}
            _ => {
                attributes
                    .extensions
                    .insert(name.to_owned(), value.to_owned());
            }
        }
    }
    attributes
}

fn unix_seconds(rfc3339: &str) -> Option<u64> {
    let timestamp: jiff::Timestamp = rfc3339.parse().ok()?;
    u64::try_from(timestamp.as_second()).ok()
}

fn rfc3339(unix_seconds: u64) -> Option<String> {
    let seconds = i64::try_from(unix_seconds).ok()?;
    Some(jiff::Timestamp::from_second(seconds).ok()?.to_string())
}

#[cfg(test)]
mod tests {
    use lapin::types::AMQPValue;

    use super::*;

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
    fn survives_headers_of_the_wrong_type() {
        let mut headers = FieldTable::default();
        headers.insert("cloudEvents_id".into(), AMQPValue::Boolean(true));
        headers.insert(
            "cloudEvents_type".into(),
            AMQPValue::LongString(vec![0xff, 0xfe].into()),
        );
        let properties = BasicProperties::default()
            .with_headers(headers)
            .with_message_id("m-1".into())
            .with_timestamp(u64::MAX);
        let read = read("x", "", &properties, Bytes::new());
        assert_eq!(read.id, "m-1");
        assert_eq!(read.event_type, "unknown");
        assert_eq!(read.time, None);
    }
}
