//! A target for load: it notes of each delivery what a ledger needs, and answers as it is told.
//!
//! It takes its time, so that there is always something under way. One half of the events it takes
//! before that and the other half after it: a client that is gone too early shows as a duplicate in the
//! first half, and a gateway that forgets an event too early as a loss in the second.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::{
    Json, Router,
    extract::State,
    http::{HeaderMap, StatusCode},
    routing::post,
};
use serde_json::Value;
use service_kit::{readiness::Readiness, server};
use tokio::{
    net::TcpListener,
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;

use crate::{OrPanic as _, ledger::Delivery, suite::http_config};

/// For one delivery.
const WORK: Duration = Duration::from_millis(20);

/// What to answer to the event of a number.
type Rule = Box<dyn Fn(Option<u64>) -> StatusCode + Send + Sync>;

/// A running sink.
pub struct Sink {
    /// Where it listens.
    pub addr: SocketAddr,
    shared: Arc<Shared>,
    shutdown: CancellationToken,
}

struct Shared {
    rule: Mutex<Rule>,
    deliveries: Mutex<Vec<Delivery>>,
}

impl Sink {
    /// Starts a sink that takes everything.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.or_panic("a port");
        let addr = listener.local_addr().or_panic("its address");
        let shared = Arc::new(Shared {
            rule: Mutex::new(Box::new(|_| StatusCode::OK)),
            deliveries: Mutex::default(),
        });
        let routes = Router::new()
            .route("/", post(receive))
            .with_state(shared.clone());
        let shutdown = CancellationToken::new();
        let stop = shutdown.clone();
        tokio::spawn(async move {
            let (config, readiness) = (http_config(), Readiness::new(stop.clone()));
            let memory = server::prepare(&listener, &config).or_panic("the sink's address");
            server::serve("sink", listener, routes, &config, memory, readiness, stop)
                .await
                .or_panic("the sink serves");
        });
        Self {
            addr,
            shared,
            shutdown,
        }
    }

    /// From now on answers with what `rule` says to the number of the event's request.
    pub fn answer_with(&self, rule: impl Fn(Option<u64>) -> StatusCode + Send + Sync + 'static) {
        *lock(&self.shared.rule) = Box::new(rule);
    }

    /// Whether something was delivered after `moment`.
    pub fn delivered_since(&self, moment: Instant) -> bool {
        let deliveries = lock(&self.shared.deliveries);
        let last = deliveries.iter().rfind(|delivery| delivery.taken);
        last.is_some_and(|delivery| delivery.at > moment)
    }

    /// What was delivered since this was asked last.
    pub fn take(&self) -> Vec<Delivery> {
        std::mem::take(&mut lock(&self.shared.deliveries))
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

async fn receive(
    State(shared): State<Arc<Shared>>,
    headers: HeaderMap,
    Json(body): Json<Value>,
) -> StatusCode {
    let header = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let number = body["data"].as_u64();
    let takes_late = number.is_some_and(|number| number % 2 == 1);
    if takes_late {
        // Not come back from, where the client hangs up: the server drops this future.
        sleep(WORK).await;
    }
    let status = lock(&shared.rule)(number);
    let delivery = Delivery {
        id: header("ce-id").unwrap_or_default().to_owned(),
        number,
        at: Instant::now(),
        attempt: header("x-gw-attempt")
            .and_then(|attempt| attempt.parse().ok())
            .unwrap_or_default(),
        taken: status.is_success(),
    };
    lock(&shared.deliveries).push(delivery);
    if !takes_late {
        sleep(WORK).await;
    }
    status
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
