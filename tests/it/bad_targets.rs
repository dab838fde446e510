//! Targets that behave badly, each in its own way, beside one that does not.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use axum::http::StatusCode;
use serde_json::{Value, json};
use tests::{
    OrPanic as _, eventually, http,
    rabbitmq::virtual_host,
    suite::{Options, broker, listener_alone},
    target::Target,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

/// What a target does with each connection, once it has got something.
#[derive(Clone, Copy)]
enum Vice {
    /// It says nothing.
    Hang,
    /// It sends one byte of its answer's head every tenth of a second, and never all of it.
    Drip,
    /// It accepts the event and then sends a body without end.
    Flood,
    /// It accepts the event with a body that says it is compressed, and is not.
    Bomb,
    /// It sends something else than HTTP.
    Gibberish,
    /// It hangs up.
    Close,
}

struct BadTarget {
    addr: SocketAddr,
    /// Bytes that it could send.
    sent: Arc<AtomicU64>,
}

impl BadTarget {
    async fn start(vice: Vice) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.or_panic("a port");
        let addr = listener.local_addr().or_panic("its address");
        let sent = Arc::<AtomicU64>::default();
        let target = Self {
            addr,
            sent: sent.clone(),
        };
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(misbehave(vice, stream, sent.clone()));
            }
        });
        target
    }
}

/// Until the other side gives up, which is an error here.
async fn misbehave(vice: Vice, mut stream: TcpStream, sent: Arc<AtomicU64>) -> std::io::Result<()> {
    let _head = stream.read(&mut [0; 16 * 1024]).await?;
    match vice {
        Vice::Hang => while stream.read(&mut [0; 1024]).await? > 0 {},
        Vice::Drip => {
            let head = b"HTTP/1.1 200 OK\r\nx: ".iter().copied();
            for byte in head.chain(std::iter::repeat(b'x')) {
                stream.write_all(&[byte]).await?;
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
        Vice::Flood => {
            stream
                .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 10737418240\r\n\r\n")
                .await?;
            loop {
                stream.write_all(&[b'x'; 16 * 1024]).await?;
                sent.fetch_add(16 * 1024, Ordering::Relaxed);
            }
        }
        Vice::Bomb => {
            let head = b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 4\r\n\r\n";
            stream.write_all(head).await?;
            stream.write_all(b"\x1f\x8b\x08\x00").await?;
            while stream.read(&mut [0; 1024]).await? > 0 {}
        }
        Vice::Gibberish => stream.write_all(b"SSH-2.0-surprise\r\n\r\n").await?,
        Vice::Close => {}
    }
    Ok(())
}

fn route(name: &str, addr: SocketAddr, more: &str) -> String {
    format!(
        "[[route]]\nname = \"{name}\"\nbindings = [\"#\"]\ntarget = \"http://{addr}/\"\n{more}\n"
    )
}

async fn state(listener: &tests::suite::Service, name: &str) -> Value {
    let routes = http::get(&listener.url("/routes")).await.json();
    let routes = routes["routes"].as_array().unwrap().clone();
    let mut routes = routes.into_iter();
    routes.find(|route| route["name"] == name).unwrap()
}

/// While the bad ones have not yet come to an end of their first events, the good one gets all.
#[tokio::test(flavor = "multi_thread")]
async fn a_good_target_does_not_notice_the_bad_ones() {
    const EVENTS: usize = 200;
    let virtual_host = virtual_host().await;
    let dir = tempfile::tempdir().unwrap();
    let good = Target::answering(StatusCode::OK).await;
    let mut routes = route("good", good.addr, "");
    let patient = "timeout_ms = 120000";
    let vices = [
        ("hang-long", Vice::Hang),
        ("drip-long", Vice::Drip),
        ("flood-long", Vice::Flood),
    ];
    for (name, vice) in vices {
        routes += &route(name, BadTarget::start(vice).await.addr, patient);
    }
    let listener = listener_alone(&virtual_host.url, dir.path(), &routes).await;
    listener.ready().await;
    let broker = broker(&virtual_host.url, &Options::default()).await;
    broker.ready().await;
    for number in 0..EVENTS {
        let body = json!({"action": "log", "log": {"name": "event", "data": number}});
        let answer = http::post(&broker.url("/handle"), &body).await;
        assert_eq!(answer.status, 202, "{}", answer.text);
    }
    good.wait_for(EVENTS).await;
    assert!(
        good.received()
            .iter()
            .all(|event| event.header("accept-encoding").is_empty())
    );
    for name in ["hang-long", "drip-long"] {
        // Not one attempt of theirs has ended, or there would be a failure to tell of.
        assert_eq!(state(&listener, name).await["paused"], false);
    }
    assert_eq!(good.count(), EVENTS);
    broker.stop().await;
    listener.stop().await;
}

/// One deadline for all of an attempt, and a reason that says what was wrong with it.
#[tokio::test(flavor = "multi_thread")]
async fn each_vice_is_an_attempt_of_the_event_or_no_failure() {
    let virtual_host = virtual_host().await;
    let dir = tempfile::tempdir().unwrap();
    let vices = [
        ("hang", Vice::Hang, "did not answer in time"),
        ("drip", Vice::Drip, "did not answer in time"),
        ("gibberish", Vice::Gibberish, "did not answer: "),
        ("close", Vice::Close, "did not answer: "),
    ];
    let mut routes = String::new();
    for (name, vice, _) in vices {
        let bad = BadTarget::start(vice).await;
        routes += &route(name, bad.addr, "timeout_ms = 500\nretry_ms = [100]");
    }
    let flood = BadTarget::start(Vice::Flood).await;
    let bomb = BadTarget::start(Vice::Bomb).await;
    routes += &route("flood", flood.addr, "");
    routes += &route("bomb", bomb.addr, "");
    let listener = listener_alone(&virtual_host.url, dir.path(), &routes).await;
    listener.ready().await;
    let broker = broker(&virtual_host.url, &Options::default()).await;
    broker.ready().await;
    let body = json!({"action": "log", "log": {"name": "event", "data": 1}});
    assert_eq!(http::post(&broker.url("/handle"), &body).await.status, 202);

    for (name, _, reason) in vices {
        let dead = crate::dead_letter::wait(&virtual_host.management, name).await;
        let headers = &dead["properties"]["headers"];
        assert_eq!(headers["x-gw-attempt"], 2, "{name}");
        let told = headers["x-gw-reason"].as_str().unwrap();
        assert!(told.contains(reason), "{name}: {told}");
        assert_eq!(state(&listener, name).await["paused"], false);
    }
    // Metrics are of the whole process, so no other test has routes of these names.
    // These took the event, whatever came after the status: it leaves the queue.
    for name in ["flood", "bomb"] {
        let series = format!("subscription_events_total{{route=\"{name}\",outcome=\"delivered\"}}");
        let url = listener.url("/metrics");
        eventually(name, Duration::from_secs(20), || async {
            (http::metric(&url, &series).await == Some(1)).then_some(())
        })
        .await;
    }
    // 64 KiB are read, and the rest is what the kernel's buffers took.
    let sent = flood.sent.load(Ordering::Relaxed);
    assert!(sent < 64 * 1024 * 1024, "{sent} bytes");
    broker.stop().await;
    listener.stop().await;
}
