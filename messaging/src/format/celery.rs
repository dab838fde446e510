//! Celery's messages (its docs, "Message Protocol"): version 2 has the headers `task` and `id` and
//! the body `[args, kwargs, embed]`; version 1 has all of it in the body.
//!
//! The data stays as it came. What tells one event from another becomes attributes, which reach
//! the target as headers.

use serde::Deserialize;

use crate::{Delivery, Event, headers::text};

/// Attributes with what zc_common puts into the keyword arguments of each of its events.
const RESOURCE_TYPE: &str = "resourcetype";
const RESOURCE_ID: &str = "resourceid";
const USER_ID: &str = "userid";
/// Attribute with the name of the task.
const TASK: &str = "celerytask";

struct Task {
    name: String,
    id: Option<String>,
    event_type: Option<String>,
    keywords: Keywords,
}

/// Version 1.
#[derive(Deserialize)]
struct Body {
    task: String,
    id: Option<Id>,
    #[serde(default)]
    args: Arguments,
    #[serde(default)]
    kwargs: Keywords,
}

/// The first of the positional arguments; the others are the event's business.
#[derive(Default)]
struct Arguments(Option<String>);

#[derive(Default, Deserialize)]
struct Keywords {
    task_id: Option<Id>,
    resource_type: Option<Id>,
    resource_id: Option<Id>,
    user_id: Option<Id>,
}

/// Ids are numbers with some programs and texts with others.
#[derive(Deserialize)]
#[serde(untagged)]
enum Id {
    Text(String),
    Number(serde_json::Number),
    Other(serde::de::IgnoredAny),
}

pub(super) fn read(delivery: &mut Delivery) {
    let Some(task) = task(delivery) else {
        return;
    };
    let Task {
        name,
        id,
        event_type,
        keywords,
    } = task;
    let event = &mut delivery.event;
    let id = id.or_else(|| keywords.task_id.and_then(Id::text));
    if let Some(id) = id.filter(|id| !id.is_empty() && id.len() <= Event::MAX_ID_BYTES) {
        event.id = id;
    }
    event.event_type = event_type.unwrap_or_else(|| name.clone());
    let attributes = [
        (RESOURCE_TYPE, keywords.resource_type.and_then(Id::text)),
        (RESOURCE_ID, keywords.resource_id.and_then(Id::text)),
        (USER_ID, keywords.user_id.and_then(Id::text)),
        (TASK, Some(name)),
    ];
    for (attribute, value) in attributes {
        if let Some(value) = value {
            event.extensions.insert(attribute.to_owned(), value);
        }
    }
}

fn task(delivery: &Delivery) -> Option<Task> {
    let data = &delivery.event.data;
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
            id: body.id.and_then(Id::text),
            event_type: body.args.0,
            keywords: body.kwargs,
        });
    };
    let (arguments, keywords, _embed): (Arguments, Keywords, serde::de::IgnoredAny) =
        serde_json::from_slice(data).ok()?;
    Some(Task {
        name,
        id: header("id"),
        event_type: arguments.0,
        keywords,
    })
}

impl<'de> Deserialize<'de> for Arguments {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let all = Vec::<&serde_json::value::RawValue>::deserialize(deserializer)?;
        let first = all.first().map(|first| serde_json::from_str(first.get()));
        Ok(Self(first.and_then(Result::ok)))
    }
}

impl Id {
    fn text(self) -> Option<String> {
        match self {
            Self::Text(text) => Some(text),
            Self::Number(number) => Some(number.to_string()),
            Self::Other(_) => None,
        }
    }
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
