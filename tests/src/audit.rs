//! Looks into every place where an event can be, and enters what it finds into a ledger.

use std::{collections::BTreeSet, time::Duration};

use messaging::topology::{dead_queue, route_queue};
use reqwest::StatusCode;
use serde_json::Value;
use tokio::time::Instant;

use crate::{
    http,
    ledger::{Delivery, Ledger, Reconciliation},
    management::Management,
    sink::Sink,
};

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(250);

/// The places where the events of a listener with a route to a sink, and perhaps one to a logger,
/// can be.
pub struct Audit {
    management: Management,
    sink_route: String,
    /// Route and URL.
    logger: Option<(String, String)>,
    /// Ids that the logger was seen to have.
    stored: BTreeSet<String>,
}

impl Audit {
    /// An audit of the queues and the sink of `sink_route`.
    pub fn new(management: &Management, sink_route: &str) -> Self {
        Self {
            management: management.clone(),
            sink_route: sink_route.to_owned(),
            logger: None,
            stored: BTreeSet::new(),
        }
    }

    /// The same, and of the logger at `url`, to which `route` leads.
    pub fn with_logger(self, route: &str, url: String) -> Self {
        Self {
            logger: Some((route.to_owned(), url)),
            ..self
        }
    }

    /// Looks until every accepted event is at the destination of each route or a dead letter of
    /// it, or until `deadline` is over; then into all queues too. Dead letters are taken out of
    /// their queue in the course of it.
    pub async fn settle(
        &mut self,
        sink: &Sink,
        ledger: &mut Ledger,
        deadline: Duration,
    ) -> Reconciliation {
        let end = Instant::now() + deadline;
        loop {
            self.deliveries(sink, ledger).await;
            self.dead_letters(ledger).await;
            let balance = ledger.reconcile();
            if balance.lost.is_empty() {
                return balance;
            }
            if Instant::now() >= end {
                break;
            }
            tokio::time::sleep(PAUSE).await;
        }
        self.queues(ledger).await;
        self.deliveries(sink, ledger).await;
        ledger.reconcile()
    }

    async fn deliveries(&mut self, sink: &Sink, ledger: &mut Ledger) {
        ledger.delivered(&self.sink_route, sink.take());
        if let Some((route, url)) = self.logger.clone() {
            let stored = self.newly_stored(&url).await;
            ledger.delivered(&route, stored);
        }
    }

    /// What the logger has beyond what was seen before. It lists the newest first, so a page
    /// without anything new is the last one to read.
    async fn newly_stored(&mut self, url: &str) -> Vec<Delivery> {
        let mut found = Vec::new();
        let mut cursor = String::new();
        loop {
            let page = http::get(&format!("{url}/logs?limit=500{cursor}")).await;
            assert_eq!(page.status, StatusCode::OK, "{}", page.text);
            let page = page.json();
            let events = page["events"].as_array().cloned().unwrap_or_default();
            let before = found.len();
            found.extend(events.iter().filter_map(|event| {
                let id = text(&event["id"]);
                self.stored.insert(id.clone()).then(|| Delivery {
                    id,
                    number: event["data"]["data"].as_u64(),
                    at: Instant::now(),
                    attempt: 1,
                    taken: true,
                })
            }));
            match page["next_cursor"].as_str() {
                Some(next) if found.len() > before => cursor = format!("&cursor={next}"),
                _ => return found,
            }
        }
    }

    /// Dead letters lie in the route's dead-letter queue, or in the logger's store where the
    /// listener drains it.
    async fn dead_letters(&self, ledger: &mut Ledger) {
        for route in self.routes() {
            let queue = dead_queue(&route_queue(route));
            for message in self.management.empty(&queue).await {
                let reason = text(&message["properties"]["headers"]["x-gw-reason"]);
                ledger.dead(route, &id_of(&message), &reason);
            }
        }
        if let Some((_route, url)) = &self.logger {
            for route in self.routes() {
                for letter in stored_dead_letters(url, route).await {
                    ledger.dead(route, &text(&letter["event_id"]), &text(&letter["reason"]));
                }
            }
        }
    }

    /// The queue of each route and its retry queues.
    async fn queues(&self, ledger: &mut Ledger) {
        let names = self.management.queues().await;
        for route in self.routes() {
            let queue = route_queue(route);
            let retries = format!("{queue}.retry.");
            for name in &names {
                if *name == queue || name.starts_with(&retries) {
                    for message in self.management.empty(name).await {
                        ledger.waiting(route, &id_of(&message));
                    }
                }
            }
        }
    }

    fn routes(&self) -> impl Iterator<Item = &str> {
        let logger = self.logger.iter().map(|(route, _)| route.as_str());
        logger.chain([self.sink_route.as_str()])
    }
}

/// The dead letters of a route that the logger at `url` has.
pub async fn stored_dead_letters(url: &str, route: &str) -> Vec<Value> {
    let mut found = Vec::new();
    let mut cursor = String::new();
    loop {
        let list = format!("{url}/dead-letters?state=any&route={route}&limit=500{cursor}");
        let page = http::get(&list).await;
        // A logger without a store of dead letters.
        if page.status == StatusCode::NOT_FOUND {
            return found;
        }
        assert_eq!(page.status, StatusCode::OK, "{}", page.text);
        let page = page.json();
        found.extend(
            page["dead_letters"]
                .as_array()
                .into_iter()
                .flatten()
                .cloned(),
        );
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return found,
        }
    }
}

fn id_of(message: &Value) -> String {
    text(&message["properties"]["message_id"])
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
