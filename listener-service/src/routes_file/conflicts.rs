//! Finds what two routes of a file, or a route and the gateway, would declare differently: RabbitMQ
//! refuses the second declaration, and a route would never consume.

use std::collections::HashMap;

use messaging::{
    ExchangeKind, Value,
    topology::{Declaration, EVENTS_EXCHANGE, RETRY_EXCHANGE, Topology},
};

/// Declared by the gateway itself.
const EXCHANGES: [(&str, ExchangeKind, &str); 7] = [
    (EVENTS_EXCHANGE, ExchangeKind::Topic, "this gateway"),
    (RETRY_EXCHANGE, ExchangeKind::Direct, "this gateway"),
    ("amq.direct", ExchangeKind::Direct, "RabbitMQ"),
    ("amq.fanout", ExchangeKind::Fanout, "RabbitMQ"),
    ("amq.headers", ExchangeKind::Headers, "RabbitMQ"),
    ("amq.match", ExchangeKind::Headers, "RabbitMQ"),
    ("amq.topic", ExchangeKind::Topic, "RabbitMQ"),
];

/// Of a queue.
type Arguments = Vec<(&'static str, Value)>;

/// The declarations so far, and their owners.
pub(super) struct Declared {
    exchanges: HashMap<String, (ExchangeKind, String)>,
    queues: HashMap<String, (Arguments, String)>,
}

impl Declared {
    pub(super) fn new() -> Self {
        let exchanges = EXCHANGES.map(|(name, kind, owner)| {
            let owner = owner.to_owned();
            (name.to_owned(), (kind, owner))
        });
        Self {
            exchanges: exchanges.into(),
            queues: HashMap::new(),
        }
    }

    /// Adds the declarations of `route`, and returns those that conflict.
    pub(super) fn add(&mut self, route: &str, topology: &Topology) -> Vec<String> {
        let mut mistakes = Vec::new();
        let owner = || format!("route \"{route}\"");
        for declaration in topology.declarations() {
            match declaration {
                Declaration::Exchange(exchange) => {
                    let known = self.exchanges.entry(exchange.name.clone());
                    let (kind, other) = known.or_insert_with(|| (exchange.kind, owner()));
                    if *kind != exchange.kind {
                        mistakes.push(format!(
                            "the exchange {} has another kind in {other}",
                            exchange.name
                        ));
                    }
                }
                Declaration::Queue { name, arguments } => {
                    let known = self.queues.entry(name.clone());
                    let (others, other) = known.or_insert_with(|| (arguments.clone(), owner()));
                    if others != arguments {
                        mistakes.push(format!(
                            "{other} already uses the queue {name} for something else: use \
                             another name"
                        ));
                    }
                }
                _ => {}
            }
        }
        mistakes
    }
}
