//! The balance of a ledger, event by event.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use tokio::time::Instant;

use super::{Answer, Ledger, Places, Sent};

/// The balance of a [`Ledger`]. Ids are given with their route, so that a log can be searched.
#[derive(Debug, Default)]
pub struct Reconciliation {
    /// Events answered 202.
    pub accepted: usize,
    /// Events that a destination took, each once; where there are several routes, the fewest.
    pub delivered: usize,
    /// Accepted, and neither at the destination of a route nor among its dead letters nor in one
    /// of its queues.
    pub lost: Vec<String>,
    /// Accepted, and still in a queue of a route.
    pub waiting: Vec<String>,
    /// Accepted or not, among the dead letters of a route.
    pub dead: usize,
    /// Times a destination took an event that it had taken before.
    pub duplicates: usize,
    /// Delivered, though no request with its number was sent, or the client was told that nothing
    /// was published or was given another id.
    pub unexpected: Vec<String>,
}

impl Ledger {
    /// Strikes the balance of all routes.
    pub fn reconcile(&self) -> Reconciliation {
        let accepted: BTreeSet<&str> = self.accepted().map(|(id, _)| id).collect();
        let mut balance = Reconciliation {
            accepted: accepted.len(),
            delivered: usize::MAX,
            ..Reconciliation::default()
        };
        for (route, places) in &self.routes {
            let named = |id: &str| format!("{route}: {id}");
            let taken = places.taken();
            balance.delivered = balance.delivered.min(taken.len());
            balance.duplicates += taken.values().map(|times| times - 1).sum::<usize>();
            balance.dead += places.dead.len();
            for id in &accepted {
                if taken.contains_key(id) || places.dead.contains_key(*id) {
                    continue;
                }
                if places.waiting.contains(*id) {
                    balance.waiting.push(named(id));
                } else {
                    balance.lost.push(named(id));
                }
            }
            let unexpected = places.deliveries.iter().filter_map(|delivery| {
                let sent = delivery.number.and_then(|number| self.sent.get(&number));
                let why = unexpected(sent, &delivery.id)?;
                Some(format!("{} ({why})", named(&delivery.id)))
            });
            balance.unexpected.extend(unexpected);
        }
        balance
    }

    /// The longest time between two deliveries to `route`, its beginning and its end being those
    /// of the requests: what waits after the last request is no gap.
    pub fn longest_gap(&self, route: &str) -> Duration {
        let sent = || self.sent.values().map(|sent| sent.at);
        let (Some(first), Some(last)) = (sent().min(), sent().max()) else {
            return Duration::ZERO;
        };
        let places = self.routes.get(route).into_iter();
        let deliveries = places.flat_map(|places| &places.deliveries);
        let mut times: Vec<Instant> = deliveries
            .map(|delivery| delivery.at)
            .filter(|at| (first..=last).contains(at))
            .collect();
        times.extend([first, last]);
        times.sort_unstable();
        let gaps = times.windows(2).map(|pair| pair[1] - pair[0]);
        gaps.max().unwrap_or_default()
    }

    /// Times from the request to the first delivery to `route`, of the accepted events that it
    /// took, in ascending order.
    pub fn latencies(&self, route: &str) -> Vec<Duration> {
        let places = self.routes.get(route).into_iter();
        let mut first = BTreeMap::<&str, Instant>::new();
        for delivery in places.flat_map(|places| &places.deliveries) {
            if delivery.taken {
                let at = first.entry(&delivery.id).or_insert(delivery.at);
                *at = delivery.at.min(*at);
            }
        }
        let mut latencies: Vec<_> = self
            .accepted()
            .filter_map(|(id, sent)| Some(first.get(id)?.duration_since(sent.at)))
            .collect();
        latencies.sort_unstable();
        latencies
    }
}

impl Places {
    /// How many times the destination took each event.
    fn taken(&self) -> BTreeMap<&str, usize> {
        let mut taken = BTreeMap::new();
        for delivery in self.deliveries.iter().filter(|delivery| delivery.taken) {
            *taken.entry(delivery.id.as_str()).or_default() += 1;
        }
        taken
    }
}

/// Why a delivery should not have been, if so.
fn unexpected(sent: Option<&Sent>, id: &str) -> Option<String> {
    let Some(sent) = sent else {
        return Some("nobody sent it".to_owned());
    };
    match &sent.answer {
        Answer::Accepted(accepted) if accepted == id => None,
        Answer::Accepted(other) => Some(format!("accepted under the id {other}")),
        Answer::Refused(problem) => Some(format!("the client was told {problem}")),
        Answer::Unsent => Some("no connection to send it by".to_owned()),
        Answer::Indeterminate => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::Delivery;

    fn sent(number: u64, at: Instant, answer: Answer) -> Sent {
        Sent {
            number,
            at,
            answered_at: at,
            answer,
        }
    }

    fn accepted(number: u64, at: Instant) -> Sent {
        sent(number, at, Answer::Accepted(format!("id-{number}")))
    }

    fn delivery(number: u64, at: Instant) -> Delivery {
        Delivery {
            id: format!("id-{number}"),
            number: Some(number),
            at,
            attempt: 1,
            taken: true,
        }
    }

    #[test]
    fn each_place_is_counted_and_what_is_nowhere_is_lost() {
        let now = Instant::now();
        let mut ledger = Ledger::new(&["one", "two"]);
        ledger.sent((1..=4).map(|number| accepted(number, now)));
        ledger.delivered("one", (1..=4).map(|number| delivery(number, now)));
        ledger.delivered("two", [delivery(1, now), delivery(1, now)]);
        ledger.dead("two", "id-2", "422");
        ledger.waiting("two", "id-3");
        let balance = ledger.reconcile();
        assert_eq!((balance.accepted, balance.delivered), (4, 1));
        assert_eq!((balance.duplicates, balance.dead), (1, 1));
        assert_eq!(balance.waiting, ["two: id-3"]);
        assert_eq!(balance.lost, ["two: id-4"]);
        assert!(balance.unexpected.is_empty(), "{balance:?}");
    }

    #[test]
    fn an_attempt_that_was_not_taken_is_neither_a_delivery_nor_a_duplicate() {
        let now = Instant::now();
        let mut ledger = Ledger::new(&["one"]);
        ledger.sent([accepted(1, now)]);
        let failed = Delivery {
            taken: false,
            ..delivery(1, now)
        };
        ledger.delivered("one", [failed.clone(), failed]);
        assert_eq!(ledger.reconcile().lost, ["one: id-1"]);
        ledger.delivered("one", [delivery(1, now)]);
        assert_eq!(ledger.reconcile().duplicates, 0);
        assert!(ledger.reconcile().lost.is_empty());
    }

    #[test]
    fn what_was_never_sent_or_was_refused_is_unexpected_and_what_is_unknown_is_not() {
        let now = Instant::now();
        let mut ledger = Ledger::new(&["one"]);
        ledger.sent([
            sent(1, now, Answer::Indeterminate),
            sent(2, now, Answer::Refused("blocked".to_owned())),
            sent(3, now, Answer::Unsent),
            sent(4, now, Answer::Accepted("another id".to_owned())),
        ]);
        ledger.delivered("one", (1..=5).map(|number| delivery(number, now)));
        let ids: Vec<_> = ledger
            .reconcile()
            .unexpected
            .iter()
            .filter_map(|text| text.split(' ').nth(1).map(str::to_owned))
            .collect();
        assert_eq!(ids, ["id-2", "id-3", "id-4", "id-5"]);
    }

    #[test]
    fn the_longest_gap_lies_within_the_time_of_the_requests() {
        let now = Instant::now();
        let at = |seconds| now + Duration::from_secs(seconds);
        let mut ledger = Ledger::new(&["one"]);
        ledger.sent([accepted(1, at(0)), accepted(2, at(10))]);
        ledger.delivered("one", [delivery(1, at(1)), delivery(2, at(100))]);
        assert_eq!(ledger.longest_gap("one"), Duration::from_secs(9));
        let latencies = ledger.latencies("one");
        assert_eq!(latencies, [1, 90].map(Duration::from_secs));
    }
}
