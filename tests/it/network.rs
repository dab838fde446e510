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
    eventually, http,
    proxy::{Cut, Mode, Proxy},
    rabbitmq::{VirtualHost, virtual_host},
    suite::{Options, Service, broker, listener_alone},
    target::Target,
};
use tokio::task::JoinHandle;

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
    stop: Arc<AtomicBool>,
    clients: [JoinHandle<HashSet<String>>; 4],
}

impl Gateway {
    /// Starts both, and clients that post from now on.
    async fn start(virtual_host: &VirtualHost) -> Self {
        let proxy = Proxy::start(virtual_host.server()).await;
        let url = virtual_host.url_through(proxy.addr);
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
        let stop = Arc::<AtomicBool>::default();
        let clients = [(); 4].map(|()| load(broker.url("/handle"), stop.clone()));
        Self {
            proxy,
            broker,
            listener,
            target,
            stop,
            clients,
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

    /// Ends the load, waits until all that was accepted is delivered, and stops.
    async fn end(self, at_least: usize) {
        self.stop.store(true, Ordering::Relaxed);
        let mut accepted = HashSet::new();
        for client in self.clients {
            accepted.extend(client.await.unwrap());
        }
        assert!(accepted.len() >= at_least, "{}", accepted.len());
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
fn load(url: String, stop: Arc<AtomicBool>) -> JoinHandle<HashSet<String>> {
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
    gateway.end(100).await;
}

/// Connections are reset, or closed in order, again and again.
#[tokio::test(flavor = "multi_thread")]
async fn connections_that_are_cut_are_made_again() {
    let virtual_host = virtual_host().await;
    let gateway = Gateway::start(&virtual_host).await;
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
    gateway.end(100).await;
}

/// An operator closes all connections, again and again.
#[tokio::test(flavor = "multi_thread")]
async fn connections_that_an_operator_closes_are_made_again() {
    let virtual_host = virtual_host().await;
    let gateway = Gateway::start(&virtual_host).await;
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
    gateway.end(100).await;
}
