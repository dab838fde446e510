//! Celery's messages (its docs, "Message Protocol"): version 2 has the headers `task` and `id` and
//! the body `[args, kwargs, embed]`; version 1 has all of it in the body.
//!
//! The data stays as it came, but that it is decompressed. What tells one event from another becomes
//! attributes, which reach the target as headers. What cannot be read as a task may be one that
//! somebody wants, so it is an error and not nobody's.
//!
//! `expires` is heeded. `eta` is not, nor is the `countdown` that becomes one: a task is an event
//! from the moment it is sent.

use std::{fmt, time::Duration};

use event::Event;
use jiff::{
    Timestamp,
    civil::{Date, DateTime, date},
    fmt::temporal::Pieces,
    tz::TimeZone,
};
use lapin::types::{AMQPValue, FieldTable};
use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, SeqAccess, Visitor},
};
use serde_json::{error::Category, value::RawValue};

use super::{compression::decompress, says_what_it_is};
use crate::{
    Delivery,
    headers::{integer, text},
};

/// Attributes with what zc_common puts into the keyword arguments of each of its events.
pub(super) const RESOURCE_TYPE: &str = "resourcetype";
pub(super) const RESOURCE_ID: &str = "resourceid";
pub(super) const USER_ID: &str = "userid";
/// Attribute with the name of the task.
pub(super) const TASK: &str = "celerytask";

/// Most bytes of an attribute, as broker-service has it. What is longer, or empty, is left in the
/// data alone.
const ATTRIBUTE_BYTES_MAX: usize = 1024;

/// The last moment that there is, for what is later, as `datetime.max` of Python: never.
const NEVER: Timestamp = Timestamp::MAX;
/// In some zones it is past by then, and the rest of the calendar are two days.
const LAST_DAYS: Date = date(9999, 12, 30);
/// From 1970 to the end of the year 9999.
const CALENDAR_SECONDS: i64 = 253_402_300_800;

/// Header with the name of what compressed the body.
const COMPRESSION: &str = "compression";
/// What kombu can serialise a body as, besides JSON.
const OTHER_THAN_JSON: [&str; 5] = [
    "application/x-python-serialize",
    "application/x-yaml",
    "application/yaml",
    "application/x-msgpack",
    "application/msgpack",
];

struct Task<'a> {
    name: String,
    id: Option<String>,
    event_type: Option<String>,
    keywords: Keywords<'a>,
    /// Where it cannot be read, all else is.
    expires: Result<Option<Timestamp>, String>,
}

/// Version 1.
#[derive(Deserialize)]
struct Body<'a> {
    task: String,
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    args: Option<Arguments>,
    #[serde(borrow)]
    kwargs: Option<Keywords<'a>>,
    #[serde(borrow)]
    expires: Option<&'a RawValue>,
}

/// The first of the positional arguments; the others are the event's business.
#[derive(Default)]
struct Arguments(Option<String>);

/// The values are not read before they are asked for: a list of a million numbers is no id.
#[derive(Default, Deserialize)]
struct Keywords<'a> {
    #[serde(borrow)]
    task_id: Option<&'a RawValue>,
    #[serde(borrow)]
    resource_type: Option<&'a RawValue>,
    #[serde(borrow)]
    resource_id: Option<&'a RawValue>,
    #[serde(borrow)]
    user_id: Option<&'a RawValue>,
}

/// Reads a message, and returns when its task expires.
///
/// # Errors
/// Why it cannot be read.
pub(super) fn read(delivery: &mut Delivery) -> Result<Option<Timestamp>, String> {
    if is_named(delivery)
        && let Some(id) = fitting(header(delivery, "id"), Event::MAX_ID_BYTES)
    {
        // Also where the rest cannot be read: a dead letter is found by it.
        delivery.event.id = id;
    }
    inflate(delivery)?;
    let data = delivery.event.data.clone();
    let task = match task(&data, delivery) {
        Ok(task) => task,
        Err(_) if !is_named(delivery) && says_what_it_is(delivery) => return Ok(None),
        Err(reason) => return Err(reason),
    };
    let Task {
        name,
        id,
        event_type,
        keywords,
        expires,
    } = task;
    let attributes = [
        (RESOURCE_TYPE, keywords.resource_type.and_then(text_of)),
        (RESOURCE_ID, keywords.resource_id.and_then(text_of)),
        (USER_ID, keywords.user_id.and_then(text_of)),
        (TASK, Some(name.clone())),
    ];
    let id = id.or_else(|| keywords.task_id.and_then(text_of));
    let event_type = event_type.unwrap_or(name);
    let event = &mut delivery.event;
    if let Some(id) = fitting(id, Event::MAX_ID_BYTES) {
        event.id = id;
    }
    if let Some(event_type) = fitting(Some(event_type), ATTRIBUTE_BYTES_MAX) {
        event.event_type = event_type;
    }
    for (attribute, value) in attributes {
        if let Some(value) = fitting(value, ATTRIBUTE_BYTES_MAX) {
            event.extensions.insert(attribute.to_owned(), value);
        }
    }
    expires
}

/// Decompresses the body, for the target and for the copies: the header goes with it.
fn inflate(delivery: &mut Delivery) -> Result<(), String> {
    let Some(headers) = delivery.properties.headers() else {
        return Ok(());
    };
    let name = match headers.inner().get(COMPRESSION) {
        None | Some(AMQPValue::Void) => return Ok(()),
        Some(_) => text(headers, COMPRESSION).unwrap_or_default(),
    };
    let data = decompress(name, &delivery.event.data)?;
    let mut others = headers.inner().clone();
    others.remove(COMPRESSION);
    delivery.event.data = data.into();
    delivery.properties = (delivery.properties.clone()).with_headers(FieldTable::from(others));
    Ok(())
}

/// Whether it is a task of version 2 by its headers, whatever it holds.
fn is_named(delivery: &Delivery) -> bool {
    let headers = delivery.properties.headers().as_ref();
    headers.is_some_and(|headers| headers.contains_key("task"))
}

fn task<'a>(data: &'a [u8], delivery: &Delivery) -> Result<Task<'a>, String> {
    let content_type = delivery.event.content_type.as_deref().unwrap_or_default();
    let other = OTHER_THAN_JSON
        .iter()
        .find(|other| content_type.eq_ignore_ascii_case(other));
    if let Some(other) = other {
        return Err(format!(
            "the task is serialised as {other}, and only JSON is read"
        ));
    }
    let Some(name) = header(delivery, "task") else {
        let body: Body = serde_json::from_slice(data).map_err(|error| no_task(&error))?;
        return Ok(Task {
            name: body.task,
            id: body.id.and_then(text_of),
            event_type: body.args.unwrap_or_default().0,
            keywords: body.kwargs.unwrap_or_default(),
            expires: body.expires.map_or(Ok(None), expires_in_body),
        });
    };
    let headers = delivery.properties.headers().as_ref();
    let (arguments, keywords, _embed): (Arguments, Keywords, IgnoredAny) =
        serde_json::from_slice(data).map_err(|error| no_task(&error))?;
    Ok(Task {
        name,
        id: header(delivery, "id"),
        event_type: arguments.0,
        keywords,
        expires: headers.map_or(Ok(None), expires_in_headers),
    })
}

fn header(delivery: &Delivery, name: &str) -> Option<String> {
    let headers = delivery.properties.headers().as_ref()?;
    text(headers, name).map(str::to_owned)
}

/// Where the body is wrong, and nothing of what it says.
fn no_task(error: &serde_json::Error) -> String {
    let (what, line, column) = (error.classify(), error.line(), error.column());
    let what = match what {
        Category::Data => "a task of Celery",
        Category::Syntax | Category::Eof | Category::Io => "JSON",
    };
    format!("the body is not {what}: see line {line}, column {column}")
}

fn expires_in_body(expires: &RawValue) -> Result<Option<Timestamp>, String> {
    match expires.get() {
        "null" => Ok(None),
        number if number.starts_with(|first: char| first.is_ascii_digit()) => {
            let seconds = number.parse::<f64>().map(Duration::try_from_secs_f64);
            let since_epoch = seconds.ok().and_then(Result::ok).ok_or_else(no_time)?;
            match Timestamp::UNIX_EPOCH.checked_add(since_epoch) {
                Ok(time) => Ok(Some(time)),
                Err(_) => moment(i64::try_from(since_epoch.as_secs()).ok()),
            }
        }
        _ => time(&text_of(expires).ok_or_else(no_time)?),
    }
}

fn expires_in_headers(headers: &FieldTable) -> Result<Option<Timestamp>, String> {
    const EXPIRES: &str = "expires";
    let seconds = match headers.inner().get(EXPIRES) {
        None | Some(AMQPValue::Void) => return Ok(None),
        Some(AMQPValue::Timestamp(seconds)) => i64::try_from(*seconds).ok(),
        Some(_) => match text(headers, EXPIRES) {
            Some(text) => return time(text),
            None => integer(headers, EXPIRES),
        },
    };
    moment(seconds)
}

fn moment(unix_seconds: Option<i64>) -> Result<Option<Timestamp>, String> {
    let seconds = unix_seconds.ok_or_else(no_time)?;
    if (NEVER.as_second()..CALENDAR_SECONDS).contains(&seconds) {
        return Ok(Some(NEVER));
    }
    let time = Timestamp::from_second(seconds);
    time.map(Some).map_err(|_error| no_time())
}

/// A time of ISO 8601. Without a zone it is UTC, as Celery has it where nothing else is set.
fn time(text: &str) -> Result<Option<Timestamp>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    if let Ok(time) = text.parse() {
        return Ok(Some(time));
    }
    if let Ok(local) = text.parse::<DateTime>()
        && let Ok(zoned) = local.to_zoned(TimeZone::UTC)
    {
        return Ok(Some(zoned.timestamp()));
    }
    match Pieces::parse(text) {
        Ok(pieces) if pieces.date() >= LAST_DAYS => Ok(Some(NEVER)),
        _ => Err(no_time()),
    }
}

fn no_time() -> String {
    "the time at which the task expires cannot be read".to_owned()
}

impl<'de> Deserialize<'de> for Arguments {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(FirstArgument)
    }
}

struct FirstArgument;

impl<'de> Visitor<'de> for FirstArgument {
    type Value = Arguments;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of arguments")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Arguments, A::Error> {
        let first: Option<&RawValue> = list.next_element()?;
        while list.next_element::<IgnoredAny>()?.is_some() {}
        let first = first.and_then(|first| serde_json::from_str(first.get()).ok());
        Ok(Arguments(first))
    }
}

/// Ids are numbers with some programs and texts with others.
fn text_of(value: &RawValue) -> Option<String> {
    let text = value.get();
    match text.as_bytes().first()? {
        b'"' => serde_json::from_str(text).ok(),
        b'-' | b'0'..=b'9' => Some(text.to_owned()),
        _ => None,
    }
}

fn fitting(text: Option<String>, bytes_max: usize) -> Option<String> {
    text.filter(|text| !text.is_empty() && text.len() <= bytes_max)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::{Compression, write::ZlibEncoder};
    use lapin::{BasicProperties, message::Delivery as Raw};

    use super::*;

    fn delivery(headers: FieldTable, body: &str) -> Delivery {
        try_read(headers, body).unwrap().0
    }

    fn try_read(headers: FieldTable, body: &str) -> Result<(Delivery, Option<Timestamp>), String> {
        let mut raw = Raw::mock(
            1,
            "microservice-events".into(),
            "".into(),
            false,
            body.into(),
        );
        raw.properties = BasicProperties::default().with_headers(headers);
        let mut delivery = Delivery::read("orders-events", raw);
        let expires = read(&mut delivery)?;
        Ok((delivery, expires))
    }

    fn headers(entries: &[(&str, &str)]) -> FieldTable {
        let mut headers = FieldTable::default();
        for (name, value) in entries {
            headers.insert((*name).into(), AMQPValue::LongString((*value).into()));
        }
        headers
    }

    /// Celery's own name for never is the last moment of a calendar.
    #[test]
    fn what_never_expires_is_read_in_every_form() {
        let never = |expires: &str| {
            let body = format!(r#"{{"task":"a","id":"1","args":[],"expires":{expires}}}"#);
            try_read(FieldTable::default(), &body).map(|(_, expires)| expires)
        };
        for text in [
            "9999-12-31T23:59:59",
            "9999-12-31T23:59:59.999999",
            "9999-12-31T23:59:59+00:00",
            "9999-12-31T23:59:59Z",
            "9999-12-30T23:59:59-12:00",
        ] {
            assert_eq!(never(&format!("\"{text}\"")), Ok(Some(NEVER)), "{text}");
            let headers = headers(&[("task", "a"), ("id", "1"), ("expires", text)]);
            let (_, expires) = try_read(headers, "[[],{},{}]").unwrap();
            assert_eq!(expires, Some(NEVER), "{text}");
        }
        for number in ["253402300799", "253402300799.5"] {
            assert_eq!(never(number), Ok(Some(NEVER)), "{number}");
        }
        for none in ["\"soon\"", "\"9999-99-31\"", "true"] {
            assert_eq!(never(none), Err(no_time()), "{none}");
        }
        let mut headers = headers(&[("task", "a"), ("id", "1")]);
        headers.insert("expires".into(), AMQPValue::Timestamp(253_402_300_799));
        let (_, expires) = try_read(headers, "[[],{},{}]").unwrap();
        assert_eq!(expires, Some(NEVER));
    }

    #[test]
    fn a_task_that_cannot_be_read_keeps_its_id() {
        for (name, value, body) in [
            ("compression", "application/x-unknown", "x"),
            ("expires", "soon", "[[],{},{}]"),
            ("other", "", "no JSON"),
        ] {
            let mut raw = Raw::mock(1, "x".into(), "".into(), false, body.into());
            let headers = headers(&[("task", "a"), ("id", "t-1"), (name, value)]);
            raw.properties = BasicProperties::default().with_headers(headers);
            let mut delivery = Delivery::read("Q", raw);
            assert!(read(&mut delivery).is_err(), "{name}");
            assert_eq!(delivery.event.id, "t-1", "{name}");
        }
        let body = r#"{"task":"a","id":"t-2","expires":"soon"}"#;
        let mut delivery =
            Delivery::read("Q", Raw::mock(1, "x".into(), "".into(), false, body.into()));
        assert!(read(&mut delivery).is_err());
        assert_eq!(delivery.event.id, "t-2");
    }

    #[test]
    fn both_protocols_give_the_same_event() {
        let keywords =
            r#"{"task_id":"t-1","resource_type":"Order","resource_id":7,"user_id":null,"meta":{}}"#;
        let one = format!(
            r#"{{"task":"microservice.event","id":"t-1","args":["order_created",1],"kwargs":{keywords}}}"#
        );
        let two = format!(r#"[["order_created"],{keywords},{{"chord":null}}]"#);
        let mut headers = FieldTable::default();
        for (name, value) in [("task", "microservice.event"), ("id", "t-1")] {
            headers.insert(name.into(), AMQPValue::LongString(value.into()));
        }
        for (headers, body) in [(FieldTable::default(), &one), (headers, &two)] {
            let event = delivery(headers, body).event;
            assert_eq!(
                (event.id.as_str(), event.event_type.as_str()),
                ("t-1", "order_created")
            );
            assert_eq!(event.extensions[RESOURCE_TYPE], "Order");
            assert_eq!(event.extensions[RESOURCE_ID], "7");
            assert_eq!(event.extensions[TASK], "microservice.event");
            assert!(!event.extensions.contains_key(USER_ID));
            assert_eq!(event.data, body.as_bytes());
        }
    }

    /// What no header could hold, and what no parser should build up, stays in the data.
    #[test]
    fn attributes_that_are_none_are_left_out() {
        let long = "x".repeat(ATTRIBUTE_BYTES_MAX + 1);
        let deep = "[".repeat(100_000) + &"]".repeat(100_000);
        let body = format!(
            r#"{{"task":"sync","args":["{long}",{deep}],"kwargs":{{"task_id":"","resource_id":{deep},"resource_type":"{long}","user_id":30000000000000000000000000000}}}}"#
        );
        let event = delivery(FieldTable::default(), &body).event;
        assert_eq!(event.event_type, "unknown");
        let attributes: Vec<_> = event.extensions.iter().collect();
        assert_eq!(
            attributes,
            [
                (&TASK.to_owned(), &"sync".to_owned()),
                (
                    &USER_ID.to_owned(),
                    &"30000000000000000000000000000".to_owned()
                )
            ]
        );
        assert_eq!(event.id.len(), 36, "the id is that of the message");
        assert_eq!(event.data.len(), body.len());
    }

    #[test]
    fn what_is_no_task_is_an_error_unless_it_says_what_it_is() {
        for body in [
            "",
            "{}",
            "[]",
            "[1,2,3]",
            "\u{0}",
            r#"{"task":1}"#,
            r#"{"task":"a","args":7}"#,
        ] {
            let reason = try_read(FieldTable::default(), body).unwrap_err();
            assert!(reason.starts_with("the body is not "), "{body}: {reason}");
            let task = headers(&[
                ("task", "sync"),
                ("id", "1"),
                ("cloudEvents_type", "order.placed"),
            ]);
            assert!(try_read(task, body).is_err(), "{body}");
            let other = [
                ("cloudEvents_id", "1"),
                ("cloudEvents_type", "order.placed"),
            ];
            let event = delivery(headers(&other), body).event;
            assert_eq!(event.event_type, "order.placed");
            assert!(event.extensions.is_empty());
        }
        let event = delivery(
            FieldTable::default(),
            r#"{"task":"sync","args":[{}],"kwargs":null}"#,
        )
        .event;
        assert_eq!(event.event_type, "sync");
        let secret = try_read(FieldTable::default(), r#"{"task":["secret"]}"#).unwrap_err();
        assert!(!secret.contains("secret"), "{secret}");
    }

    #[test]
    fn what_kombu_serialises_as_anything_but_json_is_named() {
        for (content_type, body) in [
            ("application/x-python-serialize", "\u{0}"),
            ("application/x-yaml", r#"{"task":"sync"}"#),
            ("application/x-msgpack", "x"),
        ] {
            let mut raw = Raw::mock(1, "x".into(), "key".into(), false, body.into());
            raw.properties = BasicProperties::default().with_content_type(content_type.into());
            let reason = read(&mut Delivery::read("Q", raw)).unwrap_err();
            assert!(reason.contains(content_type), "{reason}");
        }
    }

    #[test]
    fn a_compressed_task_is_read_and_its_copies_are_not_compressed() {
        let body = br#"{"task":"sync","args":["order_created"]}"#;
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(body).unwrap();
        let mut raw = Raw::mock(1, "x".into(), "".into(), false, encoder.finish().unwrap());
        let compressed = headers(&[(COMPRESSION, "application/x-gzip"), ("lang", "py")]);
        raw.properties = BasicProperties::default().with_headers(compressed);
        let mut delivery = Delivery::read("Q", raw);
        read(&mut delivery).unwrap();
        assert_eq!(delivery.event.event_type, "order_created");
        let failure = crate::Failure {
            reason: "busy".to_owned(),
            status: None,
            answer: None,
        };
        let copy = delivery.put_back(&failure);
        assert_eq!(copy.payload, &body[..]);
        let kept = copy.properties.headers().as_ref().unwrap();
        assert!(kept.contains_key("lang") && !kept.contains_key(COMPRESSION));
    }

    #[test]
    fn when_a_task_expires() {
        let body = |expires: &str| format!(r#"{{"task":"sync","expires":{expires}}}"#);
        let in_body = |expires: &str| Ok(try_read(FieldTable::default(), &body(expires))?.1);
        let in_headers = |value: AMQPValue| {
            let mut headers = headers(&[("task", "sync"), ("id", "1")]);
            headers.insert("expires".into(), value);
            Ok::<_, String>(try_read(headers, "[[],{},{}]")?.1)
        };
        let text = |text: &str| in_headers(AMQPValue::LongString(text.into()));
        let time: Timestamp = "2026-11-28T06:00:00Z".parse().unwrap();
        let (at, seconds) = (Some(time), time.as_second());
        for time in [
            "2026-11-28T06:00:00Z",
            "2026-11-28T06:00:00",
            "2026-11-28T06:00:00.000000+00:00",
            "2026-11-28 08:00:00+02:00",
        ] {
            assert_eq!(in_body(&format!("\"{time}\"")), Ok(at), "{time}");
            assert_eq!(text(time), Ok(at), "{time}");
        }
        assert_eq!(in_body(&seconds.to_string()), Ok(at));
        assert_eq!(
            in_headers(AMQPValue::Timestamp(seconds.unsigned_abs())),
            Ok(at)
        );
        assert_eq!(in_headers(AMQPValue::LongLongInt(seconds)), Ok(at));
        assert!(text("2026-11-28").unwrap().is_some());
        for none in [
            in_body("null"),
            in_headers(AMQPValue::Void),
            text(""),
            in_body("\"\""),
        ] {
            assert_eq!(none, Ok(None));
        }
        for wrong in ["true", "[]", "\"soon\"", "1e400", "\"9999999\""] {
            assert!(in_body(wrong).is_err(), "{wrong}");
        }
        assert!(text("soon").is_err() && in_headers(AMQPValue::Boolean(true)).is_err());
        assert!(in_headers(AMQPValue::Timestamp(u64::MAX)).is_err());
    }
}
