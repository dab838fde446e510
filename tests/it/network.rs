//! The way to RabbitMQ, broken: half-open, reset, closed by an operator.

use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use axum::http::StatusCode;
use serde_json::json;
use tests::{
    OrPanic as _, eventually, http,
    proxy::{Cut, Mode, Proxy},
    rabbitmq::{VirtualHost, virtual_host},
    suite::{Options, Service, broker, listener_alone},
    target::Target,
};

/// Two heartbeats of ten seconds, and the time of a busy machine.
const NOTICED: Duration = Duration::from_secs(30);
/// From the network's return to readiness.
const RECOVERY: Duration = Duration::from_secs(10);

/// Broker and listener whose way to RabbitMQ is a proxy.
struct Gateway {
    proxy: Proxy,
    broker: Service,
    listener: Service,
    target: Target,
}

impl Gateway {
    async fn start(virtual_host: &VirtualHost) -> Self {
        let (credentials, path) = virtual_host.url.split_once('@').unwrap();
        let (server, name) = path.split_once('/').unwrap();
        let proxy = Proxy::start(server.parse().or_panic("an address")).await;
        let url = format!("{credentials}@{}/{name}", proxy.addr);
        let dir = tempfile::tempdir().unwrap();
        let target = Target::answering(StatusCode::OK).await;
        let routes = format!(
            "[[route]]\nname = \"one\"\nbindings = [\"#\"]\ntarget = \"http://{}/\"\n",
            target.addr
        );
        let listener = listener_alone(&url, dir.path(), &routes).await;
        listener.ready().await;
        let broker = broker(&url, &Options::default()).await;
        broker.ready().await;
        Self {
            proxy,
            broker,
            listener,
            target,
        }
    }

    async fn ready_again(&self) {
        for service in [&self.broker, &self.listener] {
            let url = service.url("/readyz");
            eventually(&url, RECOVERY, || async {
                (http::get(&url).await.status == 200).then_some(())
            })
            .await;
        }
    }

    /// Waits until all of `accepted` are delivered, and stops.
    async fn end(self, accepted: &HashSet<String>) {
        eventually("all are delivered", Duration::from_secs(30), || async {
            let received = self.target.received();
            let delivered: HashSet<_> =
                received.iter().map(|event| event.header("ce-id")).collect();
            accepted
                .iter()
                .all(|id| delivered.contains(id.as_str()))
                .then_some(())
        })
        .await;
        self.broker.stop().await;
        self.listener.stop().await;
    }
}

/// Posts until told to stop; the ids that were accepted. Anything else must be a 503.
fn load(url: String, stop: Arc<AtomicBool>) -> tokio::task::JoinHandle<HashSet<String>> {
    tokio::spawn(async move {
        let body = json!({"action": "log", "log": {"name": "event", "data": 1}});
        let client = http::client();
        let mut accepted = HashSet::new();
        while !stop.load(Ordering::Relaxed) {
            let answer = client.post(&url).json(&body).send().await.unwrap();
            let answer = http::read(answer).await;
            if answer.status == 202 {
                accepted.insert(answer.json()["data"]["id"].as_str().unwrap().to_owned());
                tokio::time::sleep(Duration::from_millis(5)).await;
            } else {
                answer.problem(503);
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
        accepted
    })
}

/// Nobody says that the connection is gone; the heartbeats find out.
#[tokio::test(flavor = "multi_thread")]
async fn a_half_open_connection_is_noticed_and_left() {
    let virtual_host = virtual_host().await;
    let gateway = Gateway::start(&virtual_host).await;
    let stop = Arc::<AtomicBool>::default();
    let clients = [(); 4].map(|()| load(gateway.broker.url("/handle"), stop.clone()));
    gateway.target.wait_for(50).await;

    gateway.proxy.set(Mode::HalfOpen).await;
    let begun = Instant::now();
    for service in [&gateway.broker, &gateway.listener] {
        service.not_ready().await;
    }
    assert!(begun.elapsed() < NOTICED, "{:?}", begun.elapsed());
    assert_eq!(http::get(&gateway.broker.url("/healthz")).await.status, 200);
    gateway.proxy.set(Mode::Pass).await;
    gateway.ready_again().await;
    let before = gateway.target.count();
    gateway.target.wait_for(before + 50).await;

    stop.store(true, Ordering::Relaxed);
    let mut accepted = HashSet::new();
    for client in clients {
        accepted.extend(client.await.unwrap());
    }
    assert!(accepted.len() >= 100, "{}", accepted.len());
    gateway.end(&accepted).await;
}

/// Connections are reset, or closed in order, again and again.
#[tokio::test(flavor = "multi_thread")]
async fn connections_that_are_cut_are_made_again() {
    let virtual_host = virtual_host().await;
    let gateway = Gateway::start(&virtual_host).await;
    let stop = Arc::<AtomicBool>::default();
    let clients = [(); 4].map(|()| load(gateway.broker.url("/handle"), stop.clone()));
    for cut in [Cut::Reset, Cut::Close, Cut::Reset, Cut::Close, Cut::Reset] {
        let before = gateway.target.count();
        gateway.target.wait_for(before + 20).await;
        gateway.ready_again().await;
        assert!(
            gateway.proxy.cut(cut) >= 3,
            "two of the listener, one of the broker"
        );
    }
    gateway.ready_again().await;
    stop.store(true, Ordering::Relaxed);
    let mut accepted = HashSet::new();
    for client in clients {
        accepted.extend(client.await.unwrap());
    }
    assert!(accepted.len() >= 100, "{}", accepted.len());
    gateway.end(&accepted).await;
}

/// An operator closes all connections, again and again.
#[tokio::test(flavor = "multi_thread")]
async fn connections_that_an_operator_closes_are_made_again() {
    let virtual_host = virtual_host().await;
    let gateway = Gateway::start(&virtual_host).await;
    let stop = Arc::<AtomicBool>::default();
    let clients = [(); 4].map(|()| load(gateway.broker.url("/handle"), stop.clone()));
    let mut closed = 0;
    while closed < 9 {
        let before = gateway.target.count();
        gateway.target.wait_for(before + 20).await;
        // Management learns of a new connection a few seconds late.
        closed += eventually("a connection to close", Duration::from_secs(20), || async {
            Some(virtual_host.management.close_connections().await).filter(|closed| *closed > 0)
        })
        .await;
    }
    gateway.ready_again().await;
    stop.store(true, Ordering::Relaxed);
    let mut accepted = HashSet::new();
    for client in clients {
        accepted.extend(client.await.unwrap());
    }
    gateway.end(&accepted).await;
}
