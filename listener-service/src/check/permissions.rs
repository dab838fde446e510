//! The minimal permissions of the listener's user when definitions provide everything.

use messaging::{
    Queue, Source,
    topology::{EVENTS_EXCHANGE, RETRY_EXCHANGE, dead_queue, response_exchange},
};
use serde_json::{Value as Json, json};

use crate::{DeadLetters, routes::Routes};

/// RabbitMQ's name for the default exchange, to which replies go.
const DEFAULT_EXCHANGE: &str = "amq.default";
/// The names that RabbitMQ generates for queues.
const MADE_UP: &str = "amq\\.gen-.*";

/// Patterns of the names of exchanges and queues.
#[derive(Default)]
struct Permissions {
    configure: Vec<String>,
    write: Vec<String>,
    read: Vec<String>,
}

/// The members `permissions` and `topic_permissions` of definitions, for `user`.
pub(super) fn permissions(
    routes: &Routes,
    dead_letters: DeadLetters,
    user: &str,
    vhost: &str,
) -> (Json, Json) {
    let mut permissions = Permissions::default();
    for route in &routes.events {
        permissions.consume(&route.subscription.source);
        permissions.write.push(escaped(RETRY_EXCHANGE));
        if dead_letters == DeadLetters::Logger {
            let queue = route.subscription.source.queue.name();
            permissions.read.push(escaped(&dead_queue(queue)));
        }
        if let Some(service) = &route.answers_for {
            permissions.write.push(escaped(&response_exchange(service)));
        }
    }
    for route in &routes.requests {
        permissions.consume(&route.source);
        permissions.write.push(escaped(DEFAULT_EXCHANGE));
    }
    let binds_itself = !permissions.configure.is_empty();
    let Permissions {
        configure,
        write,
        read,
    } = permissions;
    let of_names = json!([{
        "user": user,
        "vhost": vhost,
        "configure": any_of(configure),
        "write": any_of(write),
        "read": any_of(read),
    }]);
    let of_types = json!([{
        "user": user,
        "vhost": vhost,
        "exchange": EVENTS_EXCHANGE,
        "write": any_of(Vec::new()),
        "read": if binds_itself { ".*".to_owned() } else { any_of(Vec::new()) },
    }]);
    (of_names, of_types)
}

impl Permissions {
    fn consume(&mut self, source: &Source) {
        let Queue::Exclusive(_) = &source.queue else {
            self.read.push(escaped(source.queue.name()));
            return;
        };
        // Definitions cannot provide it, so the listener declares and binds it: binding requires
        // write access to the queue and read access to the exchange.
        self.configure.push(MADE_UP.to_owned());
        self.write.push(MADE_UP.to_owned());
        self.read.push(MADE_UP.to_owned());
        self.read.push(escaped(RETRY_EXCHANGE));
        let exchange = source.exchange.as_ref();
        self.read
            .extend(exchange.map(|exchange| escaped(&exchange.name)));
    }
}

/// A pattern that matches only this name.
fn escaped(name: &str) -> String {
    let mut pattern = String::new();
    for character in name.chars() {
        if character.is_ascii_punctuation() && !matches!(character, '-' | '_') {
            pattern.push('\\');
        }
        pattern.push(character);
    }
    pattern
}

/// One pattern for all of them; `^$` matches no name.
fn any_of(mut patterns: Vec<String>) -> String {
    patterns.sort();
    patterns.dedup();
    match patterns.as_slice() {
        [] => "^$".to_owned(),
        patterns => format!("^({})$", patterns.join("|")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_matches_its_names_alone() {
        assert_eq!(any_of(Vec::new()), "^$");
        let names = ["b", "a.b*c", "b"].map(escaped).to_vec();
        assert_eq!(any_of(names), "^(a\\.b\\*c|b)$");
    }
}
