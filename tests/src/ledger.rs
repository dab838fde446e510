//! Double entry for events: what clients were told against where the events are.
//!
//! Every request carries a number of its own, so that an event whose answer never came, and whose
//! id nobody knows therefore, can still be told from one that was never sent.

mod reconcile;

use std::collections::{BTreeMap, BTreeSet};

use tokio::time::Instant;

pub use reconcile::Reconciliation;

/// One request and what became of it at the client.
#[derive(Clone, Debug)]
pub struct Sent {
    /// Unique among the requests of a test.
    pub number: u64,
    /// When it was sent.
    pub at: Instant,
    /// When the answer came, or the wait for it ended.
    pub answered_at: Instant,
    /// What the client was told.
    pub answer: Answer,
}

/// What a client was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// 202, with the event's id: a promise.
    Accepted(String),
    /// An answer that says that nothing was published, by its problem's type.
    Refused(String),
    /// "unconfirmed", or no answer: the event may or may not have been published.
    Indeterminate,
    /// No connection: nothing was sent.
    Unsent,
}

/// One event that came to a destination of a route.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// The event's id.
    pub id: String,
    /// The number of its request; `None` when it carries none.
    pub number: Option<u64>,
    /// When it came.
    pub at: Instant,
    /// `x-gw-attempt`; 1 where the destination does not know it.
    pub attempt: u32,
    /// Whether the destination took it (2xx).
    pub taken: bool,
}

/// Everything that is known of one run.
#[derive(Debug, Default)]
pub struct Ledger {
    sent: BTreeMap<u64, Sent>,
    routes: BTreeMap<String, Places>,
}

/// Where the events of one route are.
#[derive(Debug, Default)]
struct Places {
    deliveries: Vec<Delivery>,
    /// The reason by the event's id.
    dead: BTreeMap<String, String>,
    /// Ids in the route's queue and its retry queues.
    waiting: BTreeSet<String>,
}

impl Ledger {
    /// A ledger of events each of which must reach all of `routes`.
    pub fn new(routes: &[&str]) -> Self {
        let empty = |route: &&str| ((*route).to_owned(), Places::default());
        Self {
            sent: BTreeMap::new(),
            routes: routes.iter().map(empty).collect(),
        }
    }

    /// Notes requests.
    pub fn sent(&mut self, requests: impl IntoIterator<Item = Sent>) {
        let numbered = requests
            .into_iter()
            .map(|request| (request.number, request));
        self.sent.extend(numbered);
    }

    /// Notes what came to the destination of a route.
    pub fn delivered(&mut self, route: &str, deliveries: impl IntoIterator<Item = Delivery>) {
        self.places(route).deliveries.extend(deliveries);
    }

    /// Notes a dead letter of a route.
    pub fn dead(&mut self, route: &str, id: &str, reason: &str) {
        let dead = &mut self.places(route).dead;
        dead.insert(id.to_owned(), reason.to_owned());
    }

    /// Notes an event that still lies in a queue of a route.
    pub fn waiting(&mut self, route: &str, id: &str) {
        self.places(route).waiting.insert(id.to_owned());
    }

    /// The dead letters of a route: the reason by the event's id.
    pub fn dead_letters(&self, route: &str) -> impl Iterator<Item = (&str, &str)> {
        let dead = self.routes.get(route).map(|places| places.dead.iter());
        let dead = dead.into_iter().flatten();
        dead.map(|(id, reason)| (id.as_str(), reason.as_str()))
    }

    /// The events that were accepted: id and request.
    pub fn accepted(&self) -> impl Iterator<Item = (&str, &Sent)> {
        self.sent.values().filter_map(|sent| match &sent.answer {
            Answer::Accepted(id) => Some((id.as_str(), sent)),
            _ => None,
        })
    }

    #[track_caller]
    fn places(&mut self, route: &str) -> &mut Places {
        match self.routes.get_mut(route) {
            Some(places) => places,
            None => panic!("the ledger was not made for the route {route}"),
        }
    }
}
