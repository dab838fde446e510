//! A topology in the format that RabbitMQ exports and imports (its guide "Definition Export and
//! Import"), to create it beforehand.

use messaging::{Binding, Value, topology::Declaration};
use serde_json::{Map, Value as Json, json};

use super::plain::kind;

pub(super) fn definitions(declarations: &[Declaration], vhost: &str) -> Json {
    let (mut exchanges, mut queues, mut bindings) = (Vec::new(), Vec::new(), Vec::new());
    for declaration in declarations {
        match declaration {
            Declaration::Exchange(exchange) if !exchange.existing => exchanges.push(json!({
                "name": exchange.name,
                "vhost": vhost,
                "type": kind(exchange),
                "durable": true,
                "auto_delete": false,
                "internal": false,
                "arguments": {},
            })),
            Declaration::Queue { name, arguments } => queues.push(json!({
                "name": name,
                "vhost": vhost,
                "durable": true,
                "auto_delete": false,
                "arguments": table(arguments.iter().map(|(name, value)| (*name, value))),
            })),
            Declaration::Binding {
                queue,
                exchange,
                binding,
            } if !is_exclusive(queue, declarations) => {
                bindings.push(bound(queue, exchange, binding, vhost));
            }
            // Owned by another program, or exclusive to a connection.
            _ => {}
        }
    }
    json!({"vhosts": [{"name": vhost}], "exchanges": exchanges, "queues": queues, "bindings": bindings})
}

fn bound(queue: &str, exchange: &str, binding: &Binding, vhost: &str) -> Json {
    let (key, arguments) = match binding {
        Binding::Key(key) => (key.as_str(), Json::Object(Map::new())),
        Binding::Headers { match_all, headers } => {
            let mut arguments = table(headers.iter().map(|(name, value)| (name.as_str(), value)));
            arguments["x-match"] = json!(if *match_all { "all" } else { "any" });
            ("", arguments)
        }
    };
    json!({
        "source": exchange,
        "vhost": vhost,
        "destination": queue,
        "destination_type": "queue",
        "routing_key": key,
        "arguments": arguments,
    })
}

fn is_exclusive(queue: &str, declarations: &[Declaration]) -> bool {
    declarations.contains(&Declaration::ExclusiveQueue(queue.to_owned()))
}

fn table<'a>(pairs: impl Iterator<Item = (&'a str, &'a Value)>) -> Json {
    let pairs = pairs.map(|(name, value)| {
        let value = match value {
            Value::Text(text) => json!(text),
            Value::Integer(number) => json!(number),
            Value::Boolean(yes) => json!(yes),
        };
        (name.to_owned(), value)
    });
    Json::Object(pairs.collect())
}
