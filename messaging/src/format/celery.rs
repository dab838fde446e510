//! Celery's messages (its docs, "Message Protocol"): version 2 has the headers `task` and `id` and
//! the body `[args, kwargs, embed]`; version 1 has all of it in the body.
//!
//! The data stays as it came. What tells one event from another becomes attributes, which reach
//! the target as headers.

use std::fmt;

use event::Event;
use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, SeqAccess, Visitor},
};
use serde_json::value::RawValue;

use crate::{Delivery, headers::text};

/// Attributes with what zc_common puts into the keyword arguments of each of its events.
pub(super) const RESOURCE_TYPE: &str = "resourcetype";
pub(super) const RESOURCE_ID: &str = "resourceid";
pub(super) const USER_ID: &str = "userid";
/// Attribute with the name of the task.
pub(super) const TASK: &str = "celerytask";

/// Most bytes of an attribute, as broker-service has it. What is longer, or empty, is left in the
/// data alone.
const ATTRIBUTE_BYTES_MAX: usize = 1024;

struct Task<'a> {
    name: String,
    id: Option<String>,
    event_type: Option<String>,
    keywords: Keywords<'a>,
}

/// Version 1.
#[derive(Deserialize)]
struct Body<'a> {
    task: String,
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(default)]
    args: Arguments,
    #[serde(borrow, default)]
    kwargs: Keywords<'a>,
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

pub(super) fn read(delivery: &mut Delivery) {
    let data = delivery.event.data.clone();
    let Some(task) = task(&data, delivery) else {
        return;
    };
    let Task {
        name,
        id,
        event_type,
        keywords,
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
}

fn task<'a>(data: &'a [u8], delivery: &Delivery) -> Option<Task<'a>> {
    let headers = delivery.properties.headers().as_ref();
    let header = |name| {
        headers
            .and_then(|headers| text(headers, name))
            .map(str::to_owned)
    };
    let Some(name) = header("task") else {
        let body: Body = serde_json::from_slice(data).ok()?;
        return Some(Task {
            name: body.task,
            id: body.id.and_then(text_of),
            event_type: body.args.0,
            keywords: body.kwargs,
        });
    };
    let (arguments, keywords, _embed): (Arguments, Keywords, IgnoredAny) =
        serde_json::from_slice(data).ok()?;
    Some(Task {
        name,
        id: header("id"),
        event_type: arguments.0,
        keywords,
    })
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
    use lapin::{
        BasicProperties,
        message::Delivery as Raw,
        types::{AMQPValue, FieldTable},
    };

    use super::*;

    fn delivery(headers: FieldTable, body: &str) -> Delivery {
        let mut raw = Raw::mock(
            1,
            "microservice-events".into(),
            "".into(),
            false,
            body.into(),
        );
        raw.properties = BasicProperties::default().with_headers(headers);
        let mut delivery = Delivery::read("orders-events", raw);
        read(&mut delivery);
        delivery
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
    fn what_is_no_task_is_read_as_any_other_message() {
        for body in ["", "{}", "[]", "[1,2,3]", "\u{0}", r#"{"task":1}"#] {
            let event = delivery(FieldTable::default(), body).event;
            assert_eq!(event.event_type, "unknown", "{body}");
            assert!(event.extensions.is_empty());
        }
        let event = delivery(FieldTable::default(), r#"{"task":"sync","args":[{}]}"#).event;
        assert_eq!(event.event_type, "sync");
    }
}
