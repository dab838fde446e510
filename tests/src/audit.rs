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

/// The places where the events of the routes of one listener can be.
pub struct Audit<'a> {
    /// The queues of the routes.
    pub management: &'a Management,
    /// Address of the logger as a URL, and the name of the route to it.
    pub logger: Option<(String, &'a str)>,
    /// The sink, and the name of the route to it.
    pub sink: Option<(&'a Sink, &'a str)>,
    /// Ids that the logger was seen to have.
    stored: BTreeSet<String>,
}

impl<'a> Audit<'a> {
    /// An audit of the queues alone.
    pub fn new(management: &'a Management) -> Self {
        Self {
            management,
            logger: None,
            sink: None,
            stored: BTreeSet::new(),
        }
    }

    /// Looks until every accepted event is at the destination of each route or a dead letter of
    /// it, or until `deadline` is over; then into all queues too. Dead letters are taken out of
    /// their queue in the course of it.
    pub async fn settle(&mut self, ledger: &mut Ledger, deadline: Duration) -> Reconciliation {
        let end = Instant::now() + deadline;
        loop {
            self.deliveries(ledger).await;
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
        self.deliveries(ledger).await;
        ledger.reconcile()
    }

    async fn deliveries(&mut self, ledger: &mut Ledger) {
        if let Some((sink, route)) = self.sink {
            ledger.delivered(route, sink.take());
        }
        if let Some((url, route)) = self.logger.clone() {
            let stored = self.newly_stored(&url).await;
            ledger.delivered(route, stored);
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
        if let Some((url, _route)) = &self.logger {
            self.stored_dead_letters(url, ledger).await;
        }
    }

    async fn stored_dead_letters(&self, url: &str, ledger: &mut Ledger) {
        let mut cursor = String::new();
        loop {
            let list = format!("{url}/dead-letters?state=any&limit=500{cursor}");
            let page = http::get(&list).await;
            // A logger without a store of dead letters.
            if page.status == StatusCode::NOT_FOUND {
                return;
            }
            assert_eq!(page.status, StatusCode::OK, "{}", page.text);
            let page = page.json();
            for letter in page["dead_letters"].as_array().into_iter().flatten() {
                let route = text(&letter["route"]);
                ledger.dead(&route, &text(&letter["event_id"]), &text(&letter["reason"]));
            }
            match page["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return,
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

    fn routes(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        let logger = self.logger.as_ref().map(|(_, route)| *route);
        logger.into_iter().chain(self.sink.map(|(_, route)| route))
    }
}

fn id_of(message: &Value) -> String {
    text(&message["properties"]["message_id"])
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
