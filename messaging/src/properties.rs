//! What holds for every message of any producer, and for every text as a routing key.

use std::time::Duration;

use bytes::Bytes;
use event::{Event, EventType};
use lapin::{
    BasicProperties,
    message::Delivery as Raw,
    types::{AMQPValue, ByteArray, FieldArray, FieldTable},
};
use proptest::{collection::vec, option, prelude::*};

use crate::{
    Delivery, Failure, Message,
    message::short,
    topology::{EVENTS_EXCHANGE, RETRY_EXCHANGE},
};

/// As much as RabbitMQ's frames of 128 KiB hold beside the other properties.
const HEADER_BYTES_MAX: usize = 64 * 1024;

/// A text of at most 255 bytes, as AMQP's short strings are.
fn short_text() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "[ -~]{0,20}",
        2 => any::<String>().prop_map(|text| text.chars().take(60).collect()),
        1 => "[a-z]{255}",
        1 => Just("a\0b".to_owned()),
        1 => Just(String::new()),
    ]
}

/// Names that mean something here, and others.
fn header_name() -> impl Strategy<Value = String> {
    let attribute =
        "id|type|source|subject|time|specversion|datacontenttype|traceparent|[a-z]{0,9}";
    prop_oneof![
        8 => ("cloudEvents[_:]", attribute).prop_map(|(prefix, name)| prefix + &name),
        4 => "x-gw-(attempt|exchange|routing-key|first-failure|last-failure|reason|status)",
        1 => "(CC|BCC|x-death|traceparent)",
        2 => short_text(),
    ]
}

fn value() -> impl Strategy<Value = AMQPValue> {
    let leaf = prop_oneof![
        Just(AMQPValue::Void),
        any::<bool>().prop_map(AMQPValue::Boolean),
        any::<i8>().prop_map(AMQPValue::ShortShortInt),
        any::<u16>().prop_map(AMQPValue::ShortUInt),
        any::<u32>().prop_map(AMQPValue::LongUInt),
        any::<i64>().prop_map(AMQPValue::LongLongInt),
        any::<f64>().prop_map(AMQPValue::Double),
        any::<u64>().prop_map(AMQPValue::Timestamp),
        short_text().prop_map(|text| AMQPValue::ShortString(text.as_str().into())),
        vec(any::<u8>(), 0..40).prop_map(|bytes| AMQPValue::LongString(bytes.into())),
        vec(any::<u8>(), 0..40).prop_map(|bytes| AMQPValue::ByteArray(ByteArray::from(bytes))),
    ];
    leaf.prop_recursive(4, 24, 6, |value| {
        prop_oneof![
            vec(value.clone(), 0..6).prop_map(|values| AMQPValue::FieldArray(array(values))),
            vec((short_text(), value), 0..6)
                .prop_map(|entries| AMQPValue::FieldTable(table(entries))),
        ]
    })
}

/// Mostly text, as it would be, and anything else.
fn header_value() -> impl Strategy<Value = AMQPValue> {
    prop_oneof![
        3 => short_text().prop_map(|text| AMQPValue::LongString(text.into())),
        1 => (0_usize..80_000).prop_map(|bytes| AMQPValue::LongString("x".repeat(bytes).into())),
        2 => value(),
    ]
}

fn array(values: Vec<AMQPValue>) -> FieldArray {
    let mut array = FieldArray::default();
    values.into_iter().for_each(|value| array.push(value));
    array
}

fn table(entries: Vec<(String, AMQPValue)>) -> FieldTable {
    let mut table = FieldTable::default();
    for (name, value) in entries {
        if let Some(name) = short(&name) {
            table.insert(name, value);
        }
    }
    table
}

prop_compose! {
    fn properties()(
        headers in option::of(vec((header_name(), header_value()), 0..12)),
        texts in vec(option::of(short_text()), 6),
        timestamp in option::of(any::<u64>()),
    ) -> BasicProperties {
        let mut properties = BasicProperties::default();
        if let Some(headers) = headers {
            properties = properties.with_headers(table(headers));
        }
        if let Some(timestamp) = timestamp {
            properties = properties.with_timestamp(timestamp);
        }
        let mut texts = texts.into_iter().map(|text| text.as_deref().and_then(short));
        let mut with = |set: fn(BasicProperties, _) -> BasicProperties| {
            if let Some(text) = texts.next().flatten() {
                properties = set(std::mem::take(&mut properties), text);
            }
        };
        with(BasicProperties::with_message_id);
        with(BasicProperties::with_type);
        with(BasicProperties::with_app_id);
        with(BasicProperties::with_content_type);
        with(BasicProperties::with_correlation_id);
        with(BasicProperties::with_expiration);
        properties
    }
}

prop_compose! {
    fn message()(
        exchange in prop_oneof![
            Just(EVENTS_EXCHANGE.to_owned()), Just(RETRY_EXCHANGE.to_owned()), short_text(),
        ],
        key in short_text(),
        properties in properties(),
        data in vec(any::<u8>(), 0..64),
    ) -> (String, String, BasicProperties, Vec<u8>) {
        (exchange, key, properties, data)
    }
}

fn read((exchange, key, properties, data): (String, String, BasicProperties, Vec<u8>)) -> Delivery {
    let (exchange, key) = (short(&exchange), short(&key));
    let mut raw = Raw::mock(
        1,
        exchange.unwrap_or_default(),
        key.unwrap_or_default(),
        false,
        data,
    );
    raw.properties = properties;
    Delivery::read("Q", raw)
}

/// What RabbitMQ delivers of a copy once its wait is over.
fn delivered_again(copy: Message) -> Delivery {
    let Message {
        properties,
        payload,
        ..
    } = copy;
    read((
        RETRY_EXCHANGE.to_owned(),
        "Q".to_owned(),
        properties,
        payload.to_vec(),
    ))
}

/// Bytes of a header table on the wire (AMQP 0-9-1, 4.2.5.5, with RabbitMQ's types).
fn table_bytes(table: &FieldTable) -> usize {
    let entries = table.inner().iter();
    let bytes = entries.map(|(name, value)| 1 + name.as_str().len() + value_bytes(value));
    4 + bytes.sum::<usize>()
}

fn value_bytes(value: &AMQPValue) -> usize {
    1 + match value {
        AMQPValue::Void => 0,
        AMQPValue::Boolean(_) | AMQPValue::ShortShortInt(_) | AMQPValue::ShortShortUInt(_) => 1,
        AMQPValue::ShortInt(_) | AMQPValue::ShortUInt(_) => 2,
        AMQPValue::LongInt(_) | AMQPValue::LongUInt(_) | AMQPValue::Float(_) => 4,
        AMQPValue::DecimalValue(_) => 5,
        AMQPValue::LongLongInt(_) | AMQPValue::Double(_) | AMQPValue::Timestamp(_) => 8,
        AMQPValue::ShortString(text) => 1 + text.as_str().len(),
        AMQPValue::LongString(text) => 4 + text.as_bytes().len(),
        AMQPValue::ByteArray(bytes) => 4 + bytes.len(),
        AMQPValue::FieldArray(array) => 4 + array.as_slice().iter().map(value_bytes).sum::<usize>(),
        AMQPValue::FieldTable(table) => table_bytes(table),
    }
}

/// Whether its sender gave the message an id.
fn has_id(properties: &BasicProperties) -> bool {
    let headers = properties.headers().as_ref();
    let attribute = |name| {
        let value = headers.and_then(|headers| headers.inner().get(name));
        value.and_then(crate::event::canonical)
    };
    // The first prefix that is there counts alone.
    let attribute = attribute("cloudEvents_id").or_else(|| attribute("cloudEvents:id"));
    let message_id = properties.message_id().as_ref().map(|id| id.as_str());
    let mut ids = attribute.into_iter().chain(message_id.map(str::to_owned));
    ids.any(|id| !id.trim().is_empty())
}

fn failure() -> Failure {
    Failure {
        reason: "the target answered 503".to_owned(),
        status: Some(503),
        answer: Some("try later".to_owned()),
    }
}

proptest! {
    #[test]
    fn any_message_is_an_event_and_the_same_one_at_its_redelivery(message in message()) {
        let data = message.3.clone();
        let first = read(message.clone());
        prop_assert!((1..=Event::MAX_ID_BYTES).contains(&first.event.id.len()));
        prop_assert!(!first.event.event_type.is_empty() && !first.event.source.is_empty());
        prop_assert!(first.attempt >= 1);
        prop_assert_eq!(&first.event.data, &data);
        let _ = (first.expiration(), first.reply_to());
        let mut again = read(message.clone()).event;
        if !has_id(&message.2) {
            // Nothing tells it from another message that is alike.
            prop_assert_ne!(&again.id, &first.event.id);
            again.id.clone_from(&first.event.id);
        }
        prop_assert_eq!(again, first.event);
    }

    #[test]
    fn a_copy_fits_into_a_frame_and_carries_on_what_the_event_was(message in message()) {
        let first = read(message);
        let dead = first.dead_letter(&failure());
        let retry = first.retry(Duration::from_secs(1), Duration::from_millis(850), &failure());
        for copy in [&dead, &retry] {
            let headers = copy.properties.headers().clone().unwrap_or_default();
            let bytes = table_bytes(&headers);
            prop_assert!(bytes <= HEADER_BYTES_MAX, "{} bytes", bytes);
            for stripped in ["CC", "BCC", "x-death"] {
                prop_assert!(!headers.contains_key(stripped));
            }
        }
        let again = delivered_again(retry);
        prop_assert_eq!(again.attempt, first.attempt.saturating_add(1));
        prop_assert_eq!(delivered_again(dead).attempt, first.attempt);
        prop_assert_eq!((&again.exchange, &again.routing_key), (&first.exchange, &first.routing_key));
        prop_assert_eq!(&again.event.id, &first.event.id);
        prop_assert_eq!(&again.event.data, &first.event.data);
        let Event { source, event_type, subject, time, extensions, .. } = &first.event;
        let texts = [Some(source), Some(event_type), subject.as_ref(), time.as_ref()];
        let attributes: usize = texts.into_iter().flatten().chain(extensions.values()).map(String::len).sum();
        // What is larger may be left out, the more of it the longer the other headers are.
        if attributes < HEADER_BYTES_MAX / 2 {
            prop_assert_eq!(&again.event, &first.event);
            let third = again.retry(Duration::from_secs(1), Duration::from_secs(1), &failure());
            prop_assert_eq!(&delivered_again(third).event, &first.event);
            let put_back = delivered_again(first.put_back(&failure()));
            prop_assert_eq!((put_back.attempt, &put_back.event), (first.attempt, &first.event));
        }
    }

    #[test]
    fn an_event_is_read_as_it_was_published(
        id in "[!-~][ -~]{0,254}", source in ".{1,60}", subject in option::of(".{1,60}"),
        tenant in option::of(any::<String>()), data in vec(any::<u8>(), 0..64),
    ) {
        let key: EventType = "order.placed".parse().unwrap();
        let mut event = Event::new(&key, &source, "text/plain", Bytes::from(data));
        event.id = id;
        event.subject = subject;
        event.extensions.extend(tenant.map(|tenant| ("tenant".to_owned(), tenant)));
        let Message { properties, payload, .. } = Message::of(event.clone(), &key);
        let exchange = EVENTS_EXCHANGE.to_owned();
        let read = read((exchange, key.to_string(), properties, payload.to_vec()));
        prop_assert_eq!(read.event, event);
    }

    #[test]
    fn a_routing_key_is_words_joined_by_dots(
        text in prop_oneof![any::<String>(), "[A-Za-z0-9_.-]{0,260}", "[a-z.*#\0 é]{0,12}"],
    ) {
        let is_word = |word: &str| !word.is_empty()
            && word.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
        let valid = text.len() <= 255 && text.split('.').all(is_word);
        let read = text.parse::<EventType>();
        prop_assert_eq!(read.is_ok(), valid);
        if let Ok(key) = read {
            prop_assert_eq!(key.as_str(), text);
        }
    }
}
