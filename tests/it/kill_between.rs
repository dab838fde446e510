//! A listener that is killed after RabbitMQ confirmed a copy, and before it acknowledged the
//! original: the moment at which an event is in two places.

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use axum::{http::StatusCode, response::IntoResponse as _};
use serde_json::{Value, json};
use tests::{
    OrPanic as _, eventually, http,
    process::Process,
    rabbitmq::{VirtualHost, virtual_host},
    suite::{Options, broker},
    target::Target,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream, tcp::OwnedReadHalf, tcp::OwnedWriteHalf},
};
use tokio_util::sync::CancellationToken;

/// How a client's `basic.ack` begins (AMQP 0-9-1: class 60, method 80).
const ACK: [u8; 4] = [0, 60, 0, 80];

/// A way to RabbitMQ that acknowledgements get lost on: whatever a client sends from its first
/// one on goes nowhere. Confirms come the other way and arrive.
struct Trap {
    addr: SocketAddr,
    /// An acknowledgement was held back.
    sprung: CancellationToken,
}

impl Trap {
    async fn start(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.or_panic("a port");
        let addr = listener.local_addr().or_panic("its address");
        let sprung = CancellationToken::new();
        let trap = Self {
            addr,
            sprung: sprung.clone(),
        };
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = TcpStream::connect(server).await.or_panic("RabbitMQ");
                let (from_client, to_client) = client.into_split();
                let (from_server, to_server) = server.into_split();
                tokio::spawn(pass(from_server, to_client, None));
                tokio::spawn(pass(from_client, to_server, Some(sprung.clone())));
            }
        });
        trap
    }
}

async fn pass(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, trap: Option<CancellationToken>) {
    let mut buffer = [0; 64 * 1024];
    let mut sprung = false;
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        let bytes = &buffer[..read];
        if let Some(trap) = trap.as_ref()
            && bytes.windows(ACK.len()).any(|bytes| bytes == ACK)
        {
            sprung = true;
            trap.cancel();
        }
        if !sprung && to.write_all(bytes).await.is_err() {
            return;
        }
    }
}

async fn take_all(virtual_host: &VirtualHost, queue: &str, messages: usize) -> Vec<Value> {
    let mut all = Vec::new();
    for _ in 0..messages {
        let one = eventually(queue, Duration::from_secs(30), || async {
            let taken = virtual_host.management.take(queue).await;
            (!taken.is_empty()).then_some(taken)
        });
        all.extend(one.await);
        if all.len() >= messages {
            break;
        }
    }
    all
}

/// Kills a listener at that moment whose target answers the first attempt with `status`, and starts
/// another one. Returns what the target got, by the number of the attempt.
async fn killed_between(virtual_host: &VirtualHost, status: StatusCode) -> BTreeMap<String, usize> {
    let trap = Trap::start(virtual_host.server()).await;
    let dir = tempfile::tempdir().unwrap();
    let killed = CancellationToken::new();
    let target = Target::start({
        let killed = killed.clone();
        move |_, _| match killed.is_cancelled() {
            false => status.into_response(),
            true if status == StatusCode::CONFLICT => status.into_response(),
            true => StatusCode::OK.into_response(),
        }
    })
    .await;
    let routes = dir.path().join("routes.toml");
    let text = format!(
        "[[route]]\nname = \"one\"\nbindings = [\"#\"]\ntarget = \"http://{}/\"\nretry_ms = [3000]\n",
        target.addr
    );
    std::fs::write(&routes, text).unwrap();
    let routes = routes.to_str().unwrap();
    let url = virtual_host.url_through(trap.addr);
    let environment = |url| {
        [
            ("AMQP_URL", url),
            ("ROUTES_FILE", routes),
            ("DEAD_LETTERS", "queue"),
        ]
    };
    let mut listener =
        Process::start("listener-service", dir.path(), &environment(url.as_str())).await;
    listener.ready().await;
    let broker = broker(&virtual_host.url, &Options::default()).await;
    broker.ready().await;
    let body = json!({"action": "log", "log": {"name": "event", "data": 1}});
    let answer = http::post(&broker.url("/handle"), &body).await;
    let id = answer.json()["data"]["id"].as_str().unwrap().to_owned();

    tokio::time::timeout(Duration::from_secs(20), trap.sprung.cancelled())
        .await
        .or_panic("an acknowledgement");
    listener.kill().await;
    killed.cancel();
    let direct = environment(virtual_host.url.as_str());
    let mut listener = Process::start("listener-service", dir.path(), &direct).await;
    // The original once more, and in case of a retry its copy.
    let attempts = if status == StatusCode::CONFLICT { 2 } else { 3 };
    target.wait_for(attempts).await;
    if status == StatusCode::CONFLICT {
        let dead = "events.topic.exchange.queue.one.dead";
        for dead in take_all(virtual_host, dead, 2).await {
            assert_eq!(dead["properties"]["message_id"], id);
            assert_eq!(dead["properties"]["headers"]["x-gw-status"], 409);
        }
    }
    broker.stop().await;
    listener.terminate().await;
    for queue in ["", ".dead", ".retry.3000"] {
        let queue = format!("events.topic.exchange.queue.one{queue}");
        let left = virtual_host.management.take(&queue).await;
        assert!(left.is_empty(), "{queue}: {left:?}");
    }
    let mut received = BTreeMap::new();
    for event in target.received() {
        assert_eq!(event.header("ce-id"), id);
        *received
            .entry(event.header("x-gw-attempt").to_owned())
            .or_default() += 1;
    }
    received
}

fn attempts<const N: usize>(counts: [(&str, usize); N]) -> BTreeMap<String, usize> {
    counts
        .map(|(attempt, count)| (attempt.to_owned(), count))
        .into()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_letter_comes_twice_at_most_with_one_id() {
    let virtual_host = virtual_host().await;
    let received = killed_between(&virtual_host, StatusCode::CONFLICT).await;
    assert_eq!(received, attempts([("1", 2)]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_comes_twice_at_most_with_one_id() {
    let virtual_host = virtual_host().await;
    let received = killed_between(&virtual_host, StatusCode::INTERNAL_SERVER_ERROR).await;
    assert_eq!(received, attempts([("1", 2), ("2", 1)]));
}
