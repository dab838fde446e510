//! Clients that post events without pause, whatever happens to the broker.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use reqwest::Client;
use serde_json::{Value, json};
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;

use crate::{
    eventually, http,
    ledger::{Answer, Sent},
};

/// Longer than the clients wait for an answer.
const ANSWER_DEADLINE: Duration = Duration::from_secs(60);

/// How much is posted, and where to.
#[derive(Clone, Debug)]
pub struct LoadConfig {
    /// Brokers, which each client takes in turn.
    pub brokers: Vec<SocketAddr>,
    /// Clients, each of which waits for its answer before it posts again.
    pub clients: u32,
    /// Events a second of all clients together, at most.
    pub rate: u32,
}

/// A running load.
pub struct Load {
    shared: Arc<Shared>,
    stop: CancellationToken,
    clients: JoinSet<()>,
}

struct Shared {
    next: AtomicU64,
    /// Requests that are under way.
    in_flight: AtomicUsize,
    paused: watch::Sender<bool>,
    sent: Mutex<Vec<Sent>>,
}

impl Load {
    /// Starts to post.
    pub fn start(config: &LoadConfig) -> Self {
        let shared = Arc::new(Shared {
            next: AtomicU64::new(0),
            in_flight: AtomicUsize::new(0),
            paused: watch::Sender::new(false),
            sent: Mutex::default(),
        });
        let stop = CancellationToken::new();
        let http = http::client();
        let mut clients = JoinSet::new();
        for number in 0..config.clients {
            let turns = config.brokers.clone().into_iter().cycle();
            let turns = turns.skip(usize::try_from(number).unwrap_or_default());
            let pace = Duration::from_secs(1) * config.clients / config.rate.max(1);
            let (http, shared, stop) = (http.clone(), shared.clone(), stop.clone());
            clients.spawn(client(http, turns, pace, shared, stop));
        }
        Self {
            shared,
            stop,
            clients,
        }
    }

    /// Requests since this was asked last, of those that were answered or given up.
    pub fn take(&self) -> Vec<Sent> {
        std::mem::take(&mut *self.shared.lock())
    }

    /// Posts nothing more until [`Self::resume`], and waits for the answers under way.
    pub async fn pause(&self) {
        self.shared.paused.send_replace(true);
        eventually("the last answers", ANSWER_DEADLINE, || async {
            (self.shared.in_flight.load(Ordering::SeqCst) == 0).then_some(())
        })
        .await;
    }

    /// Posts again.
    pub fn resume(&self) {
        self.shared.paused.send_replace(false);
    }

    /// Whether a request was accepted that was sent after `moment`.
    pub fn accepted_since(&self, moment: Instant) -> bool {
        let sent = self.shared.lock();
        let recent = sent
            .iter()
            .rev()
            .take_while(|sent| sent.answered_at >= moment);
        let mut recent = recent.filter(|sent| sent.at >= moment);
        recent.any(|sent| matches!(sent.answer, Answer::Accepted(_)))
    }

    /// Ends the load, waits for the answers under way, and returns every request.
    pub async fn stop(mut self) -> Vec<Sent> {
        self.stop.cancel();
        while self.clients.join_next().await.is_some() {}
        std::mem::take(&mut *self.shared.lock())
    }
}

/// One request under way.
struct InFlight<'a>(&'a AtomicUsize);

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Shared {
    /// Leave for one request, once the load is not paused; `None` when it stops.
    async fn go(&self, stop: &CancellationToken) -> Option<InFlight<'_>> {
        let mut paused = self.paused.subscribe();
        loop {
            // Counted before the look: who pauses either sees the count or is seen.
            self.in_flight.fetch_add(1, Ordering::SeqCst);
            let leave = InFlight(&self.in_flight);
            if !*paused.borrow_and_update() {
                return Some(leave);
            }
            drop(leave);
            tokio::select! {
                _changed = paused.changed() => {}
                () = stop.cancelled() => return None,
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Sent>> {
        self.sent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn client(
    http: Client,
    mut brokers: impl Iterator<Item = SocketAddr>,
    pace: Duration,
    shared: Arc<Shared>,
    stop: CancellationToken,
) {
    let mut turn = interval(pace);
    turn.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _time = turn.tick() => {}
            () = stop.cancelled() => return,
        }
        let Some(broker) = brokers.next() else {
            return;
        };
        let Some(_in_flight) = shared.go(&stop).await else {
            return;
        };
        let number = shared.next.fetch_add(1, Ordering::Relaxed);
        let at = Instant::now();
        let answer = post(&http, broker, number).await;
        let sent = Sent {
            number,
            at,
            answered_at: Instant::now(),
            answer,
        };
        shared.lock().push(sent);
    }
}

async fn post(http: &Client, broker: SocketAddr, number: u64) -> Answer {
    let body = json!({"action": "log", "log": {"name": "load", "data": number}});
    let request = http.post(format!("http://{broker}/handle")).json(&body);
    let answer = match request.send().await {
        Ok(answer) => answer,
        Err(error) if error.is_connect() => return Answer::Unsent,
        Err(_) => return Answer::Indeterminate,
    };
    let status = answer.status();
    let Ok(body) = answer.json::<Value>().await else {
        return Answer::Indeterminate;
    };
    if status == 202 {
        return match body["data"]["id"].as_str() {
            Some(id) => Answer::Accepted(id.to_owned()),
            None => panic!("a 202 without an id: {body}"),
        };
    }
    match body["type"].as_str() {
        Some("urn:problem:unconfirmed") | None => Answer::Indeterminate,
        Some(problem) => Answer::Refused(problem.to_owned()),
    }
}
