//! Where the events of a route come from.

use std::collections::BTreeMap;

use event::Pattern;
use messaging::{
    Binding, Exchange, ExchangeKind, Queue, Source, Value,
    topology::{KEY_BYTES_MAX, queue_of},
};
use serde::Deserialize;

use super::{check_key, fields::Fields};

/// Leaves room for the suffixes of retry and dead-letter queues.
const QUEUE_BYTES_MAX: usize = KEY_BYTES_MAX - ".retry.86400000".len();
/// Most headers of a binding, so that they fit into one frame (AMQP 0-9-1, 4.2.3).
const HEADERS_MAX: usize = 64;
/// The prefix that RabbitMQ reserves.
const RESERVED: &str = "amq.";

#[derive(Deserialize)]
#[serde(
    deny_unknown_fields,
    expecting = "write { name = \"name\", kind = \"topic\" }"
)]
struct ExchangeEntry {
    name: String,
    kind: Kind,
    #[serde(default)]
    existing: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Topic,
    Direct,
    Fanout,
    Headers,
}

#[derive(Deserialize)]
#[serde(
    untagged,
    expecting = "write \"name\", { name = \"name\", existing = true }, or { exclusive = true }"
)]
enum QueueEntry {
    Own(String),
    Named(NamedQueue),
    Exclusive(ExclusiveQueue),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NamedQueue {
    name: String,
    #[serde(default)]
    existing: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ExclusiveQueue {
    exclusive: bool,
}

#[derive(Deserialize)]
#[serde(
    untagged,
    expecting = "write \"key\", or { match = \"all\", headers = { name = \"value\" } }"
)]
enum BindingEntry {
    Key(String),
    Headers(HeadersEntry),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct HeadersEntry {
    r#match: Match,
    headers: BTreeMap<String, ValueEntry>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Match {
    All,
    Any,
}

#[derive(Deserialize)]
#[serde(
    untagged,
    expecting = "a header must be a text, a whole number, true or false"
)]
enum ValueEntry {
    Boolean(bool),
    Integer(i64),
    Text(String),
}

/// The source of a `[[route]]`. Without a `queue`, the queue is named after the route.
pub(super) fn of_events(fields: &mut Fields<'_>, route: &str) -> Option<Source> {
    let exchange = fields.optional("exchange", check_exchange);
    let named = fields.has("queue").then(|| queue(fields, route));
    let is_existing = matches!(named, Some(Some(Queue::Existing(_))));
    let exchange = exchange.or_else(|| {
        // The owner of an existing queue binds it, unless the route has bindings.
        (!is_existing || fields.has("bindings")).then(Exchange::events)
    });
    let queue = match (named, &exchange) {
        (Some(named), _) => named,
        (None, Some(exchange)) => Some(Queue::Own(queue_of(&exchange.name, route))),
        (None, None) => None,
    };
    let bindings = bindings(fields, exchange.as_ref(), is_existing)?;
    // An exclusive queue is named after its route, like an own one.
    let queue = match (queue?, &exchange) {
        (Queue::Exclusive(_), Some(exchange)) => Queue::Exclusive(queue_of(&exchange.name, route)),
        (queue, _) => queue,
    };
    // A name made of exchange and route has not been checked yet.
    if let Err(reason) = check_queue(queue.name()).and_then(|()| check_copies(&queue)) {
        let name = queue.name();
        fields.mistake(format!("the name of its queue is {name}: {reason}"));
        return None;
    }
    Some(Source {
        exchange,
        queue,
        bindings,
    })
}

/// The value of `queue`; an exclusive one is called `exclusive` here.
pub(super) fn queue(fields: &mut Fields<'_>, exclusive: &str) -> Option<Queue> {
    fields.required("queue", |entry: QueueEntry| match entry {
        QueueEntry::Own(name)
        | QueueEntry::Named(NamedQueue {
            name,
            existing: false,
        }) => {
            if name.starts_with(RESERVED) {
                return Err(format!(
                    "names that begin with {RESERVED} are reserved for RabbitMQ"
                ));
            }
            check_queue(&name)?;
            Ok(Queue::Own(name))
        }
        QueueEntry::Named(NamedQueue { name, .. }) => {
            check_queue(&name)?;
            Ok(Queue::Existing(name))
        }
        QueueEntry::Exclusive(ExclusiveQueue { exclusive: true }) => {
            Ok(Queue::Exclusive(exclusive.to_owned()))
        }
        QueueEntry::Exclusive(_) => Err("leave it out, or write exclusive = true".to_owned()),
    })
}

fn check_exchange(entry: ExchangeEntry) -> Result<Exchange, String> {
    let ExchangeEntry {
        name,
        kind,
        existing,
    } = entry;
    check_key(&name)?;
    if name.is_empty() {
        return Err("the default exchange has no bindings: give only the queue".to_owned());
    }
    if name.starts_with(RESERVED) && !existing {
        return Err(format!(
            "{name} is one of RabbitMQ's exchanges: add existing = true"
        ));
    }
    let kind = match kind {
        Kind::Topic => ExchangeKind::Topic,
        Kind::Direct => ExchangeKind::Direct,
        Kind::Fanout => ExchangeKind::Fanout,
        Kind::Headers => ExchangeKind::Headers,
    };
    Ok(Exchange {
        name,
        kind,
        existing,
    })
}

fn check_queue(name: &str) -> Result<(), String> {
    if name.is_empty() || name.len() > QUEUE_BYTES_MAX {
        return Err(format!(
            "a queue's name must have 1 to {QUEUE_BYTES_MAX} bytes"
        ));
    }
    check_key(name)
}

/// RabbitMQ refuses to declare queues with a reserved name. Retry and dead-letter queues are named
/// after the route's queue, even if another program declares that one.
fn check_copies(queue: &Queue) -> Result<(), String> {
    if !queue.name().starts_with(RESERVED) {
        return Ok(());
    }
    let instead = match queue {
        Queue::Own(_) => "set another name with queue = \"…\"",
        Queue::Existing(_) => "it cannot have a dead-letter queue, so use another queue",
        Queue::Exclusive(_) => "set another name with queue = \"…\", or use another exchange",
    };
    Err(format!(
        "names that begin with {RESERVED} are reserved for RabbitMQ; {instead}"
    ))
}

fn bindings(
    fields: &mut Fields<'_>,
    exchange: Option<&Exchange>,
    is_existing: bool,
) -> Option<Vec<Binding>> {
    let kind = exchange.map(|exchange| exchange.kind);
    match (exchange, kind) {
        (None, _) | (_, None) => Some(Vec::new()),
        (_, Some(ExchangeKind::Fanout)) => {
            if fields.has("bindings") {
                fields.mistake(
                    "a fanout exchange sends everything to every queue: leave bindings out",
                );
            }
            Some(vec![Binding::Key(String::new())])
        }
        (Some(exchange), Some(_)) => {
            if is_existing && !fields.has("bindings") {
                return Some(Vec::new());
            }
            fields.required("bindings", |entries: Vec<BindingEntry>| {
                if entries.is_empty() {
                    return Err("it is empty, and the route would never get an event".to_owned());
                }
                let bindings = entries.into_iter();
                bindings
                    .map(|entry| check_binding(entry, exchange))
                    .collect()
            })
        }
    }
}

fn check_binding(entry: BindingEntry, exchange: &Exchange) -> Result<Binding, String> {
    match (entry, exchange.kind) {
        (BindingEntry::Headers(entry), ExchangeKind::Headers) => {
            let reserved = |name: &String| name.starts_with("x-") || name.is_empty();
            if entry.headers.len() > HEADERS_MAX || entry.headers.iter().any(is_long) {
                return Err(format!(
                    "it can have up to {HEADERS_MAX} headers, with {} bytes each in name and value",
                    KEY_BYTES_MAX
                ));
            }
            if entry.headers.is_empty() || entry.headers.keys().any(reserved) {
                return Err("it needs at least one header, and none that begins with x-".to_owned());
            }
            let headers = entry.headers.into_iter();
            Ok(Binding::Headers {
                match_all: matches!(entry.r#match, Match::All),
                headers: headers.map(|(name, value)| (name, value.into())).collect(),
            })
        }
        (BindingEntry::Key(_), ExchangeKind::Headers) => {
            Err("a headers exchange requires { match = \"all\", headers = { … } }".to_owned())
        }
        (BindingEntry::Headers(_), _) => {
            Err("only a headers exchange routes by headers: write routing keys".to_owned())
        }
        (BindingEntry::Key(key), kind) => {
            check_key(&key)?;
            let has_wildcard = key.split('.').any(|word| matches!(word, "*" | "#"));
            if kind == ExchangeKind::Direct && has_wildcard {
                return Err(format!(
                    "\"{key}\": a direct exchange does not support wildcards"
                ));
            }
            if exchange.name == Exchange::events().name {
                key.parse::<Pattern>()?;
            }
            if key.is_empty() && kind == ExchangeKind::Topic {
                return Err("a key is empty".to_owned());
            }
            Ok(Binding::Key(key))
        }
    }
}

fn is_long((name, value): (&String, &ValueEntry)) -> bool {
    let text = match value {
        ValueEntry::Text(text) => text.len(),
        ValueEntry::Boolean(_) | ValueEntry::Integer(_) => 0,
    };
    name.len().max(text) > KEY_BYTES_MAX
}

impl From<ValueEntry> for Value {
    fn from(entry: ValueEntry) -> Self {
        match entry {
            ValueEntry::Boolean(yes) => Self::Boolean(yes),
            ValueEntry::Integer(number) => Self::Integer(number),
            ValueEntry::Text(text) => Self::Text(text),
        }
    }
}
