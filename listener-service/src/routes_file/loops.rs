//! Detects routes that would send events in a circle: their target is the broker, and the events
//! that the broker publishes come back to them.

use event::Pattern;
use messaging::{Binding, Exchange};
use url::{Host, Url};

use super::mistake::Mistake;
use crate::routes::EventRoute;

/// Common log levels.
const LEVELS: [&str; 5] = ["TRACE", "DEBUG", "INFO", "WARN", "ERROR"];

/// What the broker publishes when a route delivers to it.
enum Published {
    /// `POST /events/{type}`.
    Type(String),
    /// `POST /events`: the event itself.
    Same,
    /// `POST /handle`: an entry of any level.
    Log,
}

/// One mistake for each route whose events come back to it, directly or through others.
pub(super) fn find(routes: &[EventRoute], places: &[usize], broker: &Url) -> Vec<Mistake> {
    let published: Vec<_> = routes
        .iter()
        .map(|route| published(&route.target.url, broker))
        .collect();
    let next: Vec<Vec<usize>> = published
        .iter()
        .enumerate()
        .map(|(from, published)| {
            let gets = |to: &usize| {
                published
                    .as_ref()
                    .is_some_and(|published| comes_to(published, from, &routes[*to], *to))
            };
            (0..routes.len()).filter(gets).collect()
        })
        .collect();
    let looping = (0..routes.len()).filter(|route| returns(&next, *route));
    looping
        .map(|route| Mistake {
            at: places[route],
            message: format!(
                "route \"{}\": its target is the broker (BROKER_URL), so its events would come back to it forever",
                routes[route].subscription.name
            ),
        })
        .collect()
}

/// Whether a path from `start` leads back to it.
fn returns(next: &[Vec<usize>], start: usize) -> bool {
    let mut seen = vec![false; next.len()];
    let mut open = next[start].clone();
    while let Some(route) = open.pop() {
        if route == start {
            return true;
        }
        if !std::mem::replace(&mut seen[route], true) {
            open.extend(&next[route]);
        }
    }
    false
}

fn published(target: &Url, broker: &Url) -> Option<Published> {
    let same_host = host(target) == host(broker);
    if !same_host || target.port_or_known_default() != broker.port_or_known_default() {
        return None;
    }
    let mut path = target.path_segments()?;
    match (path.next()?, path.next()) {
        ("events", None | Some("")) => Some(Published::Same),
        ("events", Some(event_type)) => Some(Published::Type(event_type.to_owned())),
        ("handle", _) => Some(Published::Log),
        _ => None,
    }
}

/// The host, with a single name for this machine.
fn host(url: &Url) -> Option<String> {
    let is_loopback = match url.host()? {
        Host::Domain(name) => name.eq_ignore_ascii_case("localhost"),
        Host::Ipv4(address) => address.is_loopback() || address.is_unspecified(),
        Host::Ipv6(address) => address.is_loopback() || address.is_unspecified(),
    };
    if is_loopback {
        return Some("localhost".to_owned());
    }
    url.host_str().map(str::to_lowercase)
}

fn comes_to(published: &Published, from: usize, route: &EventRoute, to: usize) -> bool {
    let source = &route.subscription.source;
    let is_bound = source.exchange.as_ref() == Some(&Exchange::events());
    let patterns = source.bindings.iter().filter_map(|binding| match binding {
        Binding::Key(key) => key.parse::<Pattern>().ok(),
        Binding::Headers { .. } => None,
    });
    let matches = |event_type: &str| {
        let wanted = route.subscription.wants(event_type);
        is_bound && wanted && patterns.clone().any(|pattern| pattern.matches(event_type))
    };
    match published {
        Published::Type(event_type) => matches(event_type),
        // The type is the one by which the event reached the route.
        Published::Same => is_bound && from == to,
        Published::Log => LEVELS.iter().any(|level| matches(&format!("log.{level}"))),
    }
}
