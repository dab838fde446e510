//! The file of routes: which queue goes to which target. docs/routes.md has every field of it.
//!
//! Each field is read and checked by itself, so that `check` and the start of the listener tell
//! all mistakes at once, with their lines.

mod conflicts;
mod event;
mod fields;
mod forward;
mod loops;
mod mistake;
mod request;
mod source;
mod target;
#[cfg(test)]
mod tests;

use std::{
    collections::{HashMap, HashSet},
    path::Path,
};

use messaging::{
    Source, Subscription,
    topology::{KEY_BYTES_MAX, Topology, dead_queue, queue_of_copies},
};
use toml::de::DeTable;
use url::Url;

pub(crate) use self::mistake::Mistakes;
use self::{conflicts::Declared, fields::Fields, mistake::Mistake};
use crate::routes::{EventRoute, Flow, Routes};

const NAME_BYTES_MAX: usize = 100;
const CONCURRENCY_MAX: u16 = 1024;

/// What a file can refer to.
pub(crate) struct Environment<'a> {
    /// The value of `${NAME}`.
    pub(crate) variable: &'a dyn Fn(&str) -> Option<String>,
    /// The token of this suite's own services.
    pub(crate) own_token_file: Option<&'a Path>,
    /// Where a target would send events round in circles.
    pub(crate) broker_url: &'a Url,
}

/// What of a table could be read, and all that is wrong with it.
struct Entry<T> {
    at: usize,
    name: Option<String>,
    route: Option<T>,
    mistakes: Vec<Mistake>,
}

/// Reads the text of a file.
///
/// # Errors
/// All mistakes in it.
pub(crate) fn read(text: &str, environment: &Environment<'_>) -> Result<Routes, Mistakes> {
    let document = DeTable::parse(text).map_err(|error| Mistakes::syntax(text, &error))?;
    let mut file = Fields::new("the file", document);
    let events = file.tables("route");
    let requests = file.tables("request");
    if events.is_empty() && requests.is_empty() && !file.is_wrong() {
        file.mistake("it has neither a [[route]] nor a [[request]]");
    }
    let (_, mut mistakes) = file.finish("[[route]] and [[request]]");
    let events = events
        .into_iter()
        .map(|table| event::read(table, environment));
    let mut events: Vec<_> = events.collect();
    let mut awaited = Vec::new();
    for table in requests {
        // A request whose answer must not be lost is an event with an answer.
        match request::read(table, environment) {
            request::Read::Awaited(entry) => awaited.push(entry),
            request::Read::Durable(entry) => events.push(entry),
        }
    }
    let mut names = Names {
        routes: HashSet::new(),
        queues: HashMap::new(),
        have_copies: events.iter().filter_map(queue_and_name).collect(),
        declared: Declared::new(),
    };
    let mut routes = Routes {
        events: Vec::new(),
        requests: Vec::new(),
    };
    let mut places = Vec::new();
    for mut entry in awaited {
        mistakes.append(&mut entry.mistakes);
        mistakes.extend(names.take(&entry, |route| {
            (&route.source, Topology::requests(&route.source))
        }));
        routes.requests.extend(entry.route);
    }
    for mut entry in events {
        mistakes.append(&mut entry.mistakes);
        mistakes.extend(names.take(&entry, |route| {
            let subscription = &route.subscription;
            (&subscription.source, subscription.topology())
        }));
        if let Some(route) = entry.route {
            places.push(entry.at);
            routes.events.push(route);
        }
    }
    mistakes.extend(loops::find(&routes.events, &places, environment.broker_url));
    if mistakes.is_empty() {
        Ok(routes)
    } else {
        Err(Mistakes::new(text, mistakes))
    }
}

fn queue_and_name(entry: &Entry<EventRoute>) -> Option<(String, String)> {
    let route = entry.route.as_ref()?;
    let queue = route.subscription.source.queue.name();
    Some((queue.to_owned(), entry.name.clone()?))
}

/// The names that are taken, and the queues, by route.
struct Names {
    routes: HashSet<String>,
    queues: HashMap<String, String>,
    /// Queues that have retries and dead letters beside them, all of the file.
    have_copies: HashMap<String, String>,
    declared: Declared,
}

impl Names {
    fn take<T>(
        &mut self,
        entry: &Entry<T>,
        declares: impl Fn(&T) -> (&Source, Topology),
    ) -> Vec<Mistake> {
        let Entry {
            at, name, route, ..
        } = entry;
        let Some(name) = name else {
            return Vec::new();
        };
        let mut mistakes = Vec::new();
        let mut mistake = |message| mistakes.push(Mistake { at: *at, message });
        if !self.routes.insert(name.clone()) {
            mistake(format!(
                "route \"{name}\": the name is taken by another route"
            ));
        }
        let Some((source, topology)) = route.as_ref().map(declares) else {
            return mistakes;
        };
        // An exclusive one has no such queue, but dead letters of this name.
        let queue = source.queue.name();
        let of = queue_of_copies(queue);
        if let Some(other) = self.have_copies.get(of).filter(|_| of != queue) {
            let copies = if queue == dead_queue(of) {
                "dead letters"
            } else {
                "retries"
            };
            mistake(format!(
                "route \"{name}\": the queue {queue} belongs to route \"{other}\", for its \
                 {copies}: use another name"
            ));
            return mistakes;
        }
        let other = self.queues.insert(queue.to_owned(), name.clone());
        if let Some(other) = other.filter(|other| other != name) {
            mistake(format!(
                "route \"{name}\": route \"{other}\" also consumes the queue {queue}, and each \
                 would get only a part of its events"
            ));
            return mistakes;
        }
        for reason in self.declared.add(name, &topology) {
            mistake(format!("route \"{name}\": {reason}"));
        }
        mistakes
    }
}

fn check_name(name: String) -> Result<String, String> {
    let characters = name
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte));
    if characters && !name.is_empty() && name.len() <= NAME_BYTES_MAX {
        Ok(name)
    } else {
        Err(format!(
            "it must have 1 to {NAME_BYTES_MAX} of the characters A-Z, a-z, 0-9, _ and -"
        ))
    }
}

/// A routing key of a binding, of whatever exchange.
fn check_key(key: &str) -> Result<(), String> {
    if key.len() <= KEY_BYTES_MAX && !key.chars().any(char::is_control) {
        Ok(())
    } else {
        Err(format!(
            "a key has at most {} bytes, and no control characters",
            KEY_BYTES_MAX
        ))
    }
}

/// How much is worked on at a time. What waits `in_hand` is not sent ahead.
fn flow(fields: &mut Fields<'_>, in_hand: bool) -> Flow {
    let check = |number: u16| {
        if (1..=CONCURRENCY_MAX).contains(&number) {
            Ok(number)
        } else {
            Err(format!("it must be 1 to {CONCURRENCY_MAX}"))
        }
    };
    let concurrency = fields
        .optional("concurrency", check)
        .unwrap_or(Subscription::CONCURRENCY);
    let prefetch = fields.optional("prefetch", |number: u16| {
        // A prefetch of 0 means "without a limit" to RabbitMQ.
        if in_hand {
            Err("events of this route wait in the listener: leave prefetch out".to_owned())
        } else if number < concurrency {
            Err(format!(
                "{number} is less than the concurrency, {concurrency}"
            ))
        } else {
            Ok(number)
        }
    });
    let ahead = if in_hand {
        concurrency
    } else {
        concurrency * 2
    };
    Flow {
        concurrency,
        prefetch: prefetch.unwrap_or(ahead),
    }
}
