//! A topology for people.

use std::fmt::Write as _;

use messaging::{
    Binding, Exchange, ExchangeKind, Queue, Source, Subscription, Value, topology::Declaration,
};

use super::declarations;
use crate::routes::Routes;

pub(super) fn text(routes: &Routes) -> String {
    let mut text = String::new();
    for route in &routes.events {
        let subscription = &route.subscription;
        let name = &subscription.name;
        line(&mut text, format_args!("route {name}"));
        line(
            &mut text,
            format_args!("  {}", way(&subscription.source, &route.target)),
        );
        let order = if subscription.ordered {
            ", one at a time"
        } else {
            ""
        };
        line(
            &mut text,
            format_args!("  {}, then dead{order}", retries(subscription)),
        );
    }
    for route in &routes.requests {
        line(&mut text, format_args!("request route {}", route.name));
        line(
            &mut text,
            format_args!(
                "  {}, and the answer back",
                way(&route.source, &route.target)
            ),
        );
    }
    line(&mut text, format_args!("\ndeclares"));
    for declaration in declarations(routes) {
        line(&mut text, format_args!("  {}", declared(&declaration)));
    }
    let count = routes.events.len() + routes.requests.len();
    line(&mut text, format_args!("\nno mistakes in {count} routes"));
    text
}

fn way(source: &Source, target: &impl std::fmt::Display) -> String {
    let queue = match &source.queue {
        Queue::Own(name) | Queue::Existing(name) => name.as_str(),
        Queue::Exclusive(_) => "a queue per instance",
    };
    match &source.exchange {
        Some(exchange) => {
            let name = &exchange.name;
            let keys = keys(&source.bindings);
            format!("{name} --[{keys}]--> {queue} --> {target}")
        }
        None => format!("{queue} --> {target}"),
    }
}

/// What happens to an event that fails, in words.
fn retries(subscription: &Subscription) -> String {
    let waits: Vec<_> = subscription
        .retries
        .iter()
        .map(|wait| format!("{wait:?}"))
        .collect();
    let place = if subscription.waits_in_hand() {
        ", in hand"
    } else {
        ""
    };
    match waits.as_slice() {
        [] => "no retry".to_owned(),
        waits => format!("again after {}{place}", waits.join(", ")),
    }
}

/// The keys or headers of bindings, in a few words.
pub(super) fn keys(bindings: &[Binding]) -> String {
    let keys: Vec<_> = bindings.iter().map(key).collect();
    keys.join(" | ")
}

fn key(binding: &Binding) -> String {
    match binding {
        Binding::Key(key) if key.is_empty() => "all".to_owned(),
        Binding::Key(key) => key.clone(),
        Binding::Headers { match_all, headers } => {
            let pairs: Vec<_> = headers
                .iter()
                .map(|(name, value)| format!("{name}={}", shown(value)))
                .collect();
            pairs.join(if *match_all { " and " } else { " or " })
        }
    }
}

pub(super) fn kind(exchange: &Exchange) -> &'static str {
    match exchange.kind {
        ExchangeKind::Topic => "topic",
        ExchangeKind::Direct => "direct",
        ExchangeKind::Fanout => "fanout",
        ExchangeKind::Headers => "headers",
    }
}

fn declared(declaration: &Declaration) -> String {
    match declaration {
        Declaration::Exchange(exchange) if exchange.existing => {
            format!("nothing: the exchange {} must exist", exchange.name)
        }
        Declaration::Exchange(exchange) => {
            format!("exchange {}  {}, durable", exchange.name, kind(exchange))
        }
        Declaration::Queue { name, arguments } => {
            let pairs: Vec<_> = arguments
                .iter()
                .map(|(name, value)| format!("{name}={}", shown(value)))
                .collect();
            format!("queue {name}  durable {}", pairs.join(" "))
        }
        Declaration::ExistingQueue(name) => format!("nothing: the queue {name} must exist"),
        Declaration::ExclusiveQueue(name) => {
            format!("queue named by RabbitMQ, for {name}  exclusive, auto-delete")
        }
        Declaration::Binding {
            queue,
            exchange,
            binding,
        } => format!("binding {exchange} --[{}]--> {queue}", key(binding)),
    }
}

fn shown(value: &Value) -> String {
    match value {
        Value::Text(text) => text.clone(),
        Value::Integer(number) => number.to_string(),
        Value::Boolean(yes) => yes.to_string(),
    }
}

fn line(text: &mut String, line: std::fmt::Arguments<'_>) {
    // Writing into a string cannot fail.
    let _ = writeln!(text, "{line}");
}
