//! Clients that post without a break, each event and dead letter until it is accepted, and a
//! ledger of what was answered.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::join_all;
use tests::http::Answer;
use tests::{OrPanic as _, eventually};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::dead_letters::report;
use super::server::{Delivery, Logger};

const CLIENTS: usize = 8;
/// For one event to be accepted, the fault included.
const ACCEPTED: Duration = Duration::from_secs(60);

/// The running clients. Even ones post events, odd ones dead letters.
pub struct Load {
    logger: Arc<Logger>,
    ledger: Arc<Ledger>,
    stop: CancellationToken,
    clients: Vec<JoinHandle<()>>,
}

#[derive(Default)]
struct Ledger {
    events: Mutex<BTreeSet<String>>,
    dead_letters: Mutex<BTreeSet<String>>,
    accepted: AtomicUsize,
    refused: AtomicUsize,
}

impl Load {
    pub fn start(logger: &Arc<Logger>) -> Self {
        let ledger = Arc::new(Ledger::default());
        let stop = CancellationToken::new();
        let clients = (0..CLIENTS).map(|client| {
            let (logger, ledger, stop) = (logger.clone(), ledger.clone(), stop.clone());
            tokio::spawn(async move {
                for number in 0.. {
                    if stop.is_cancelled() {
                        return;
                    }
                    post(&logger, &ledger, client, &format!("{client}-{number}")).await;
                }
            })
        });
        Self {
            clients: clients.collect(),
            logger: logger.clone(),
            ledger,
            stop,
        }
    }

    /// Waits until more is accepted.
    pub async fn goes_on(&self) {
        more(&self.ledger.accepted, 50).await;
    }

    /// Waits until every client may have been refused.
    pub async fn is_refused(&self) {
        more(&self.ledger.refused, CLIENTS).await;
    }

    /// Lets each client finish its request, and checks that the store contains exactly what was
    /// accepted, each once.
    pub async fn settle(self) {
        self.stop.cancel();
        for client in join_all(self.clients).await {
            client.or_panic("a client");
        }
        let events = all(&self.logger, "/logs", "events", "id").await;
        assert_same(&events, &self.ledger.events);
        let dead = all(&self.logger, "/dead-letters", "dead_letters", "event_id").await;
        assert_same(&dead, &self.ledger.dead_letters);
    }
}

async fn post(logger: &Logger, ledger: &Ledger, client: usize, id: &str) {
    let refused = AtomicUsize::new(0);
    eventually(id, ACCEPTED, async || {
        let answer = if client.is_multiple_of(2) {
            let delivery = Delivery {
                id,
                event_type: "a.b",
                content_type: "text/plain",
                data: id.as_bytes(),
            };
            logger.deliver(&delivery).await
        } else {
            logger.report(&report(id)).await
        };
        let accepted = is_accepted(&answer, refused.load(Ordering::Relaxed));
        if !accepted {
            refused.fetch_add(1, Ordering::Relaxed);
            ledger.refused.fetch_add(1, Ordering::Relaxed);
        }
        accepted.then_some(())
    })
    .await;
    let kind = if client.is_multiple_of(2) {
        &ledger.events
    } else {
        &ledger.dead_letters
    };
    kind.lock().unwrap().insert(id.to_owned());
    ledger.accepted.fetch_add(1, Ordering::Relaxed);
}

/// What is refused is refused in good order, and may be stored all the same: a later attempt may
/// find it, the first one may not.
fn is_accepted(answer: &Answer, refused: usize) -> bool {
    match answer.status.as_u16() {
        201 => true,
        200 if refused > 0 => true,
        _ => {
            answer.problem(503);
            assert_eq!(answer.headers["retry-after"], "1");
            false
        }
    }
}

async fn more(count: &AtomicUsize, number: usize) {
    let enough = count.load(Ordering::Relaxed) + number;
    eventually("more answers", ACCEPTED, async || {
        (count.load(Ordering::Relaxed) >= enough).then_some(())
    })
    .await;
}

/// One member of each row of a listing.
async fn all(logger: &Logger, path: &str, rows: &str, member: &str) -> Vec<String> {
    let mut values = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = logger
            .get_json(&format!("{path}?limit=500&cursor={cursor}"))
            .await;
        let rows = page[rows].as_array().unwrap();
        values.extend(
            rows.iter()
                .map(|row| row[member].as_str().unwrap().to_owned()),
        );
        match page["next_cursor"].as_str() {
            Some(next) => cursor = next.to_owned(),
            None => return values,
        }
    }
}

fn assert_same(stored: &[String], accepted: &Mutex<BTreeSet<String>>) {
    let accepted = accepted.lock().unwrap();
    let once: BTreeSet<_> = stored.iter().cloned().collect();
    assert_eq!(once.len(), stored.len(), "something is stored twice");
    let lost: Vec<_> = accepted.difference(&once).collect();
    let made_up: Vec<_> = once.difference(&accepted).collect();
    assert!(
        lost.is_empty() && made_up.is_empty(),
        "lost {lost:?}, made up {made_up:?}"
    );
}
