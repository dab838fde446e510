//! Clients that hold back the end of their bodies, read no answer, keep sockets, search through
//! everything.

use std::time::Duration;

use serde_json::json;
use tests::{eventually, http, rabbitmq::virtual_host};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    task::JoinSet,
};

use super::{
    ATTACK, Confined, MIB, any_listener, attack, fill, in_time, logger, part_of, post_log, served,
    store,
};

/// That send bodies, at full size.
const SENDERS: usize = 700;
/// That read no answer, at full size.
const READERS: usize = 300;

#[tokio::test(flavor = "multi_thread")]
async fn bodies_whose_end_is_held_back() {
    let virtual_host = virtual_host().await;
    let dir = tempfile::tempdir().unwrap();
    let (listener, _target) = any_listener(&virtual_host, dir.path()).await;
    let environment = [("AMQP_URL", virtual_host.url.as_str())];
    let broker = Confined::start("broker-service", dir.path(), &environment).await;
    let head = "POST /events/a.b HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/plain\r\n";
    let most = "x".repeat(MIB - 10);
    let declared = format!("{head}Content-Length: {MIB}\r\n\r\n{most}");
    let chunked = format!("{head}Transfer-Encoding: chunked\r\n\r\n{MIB:x}\r\n{most}");
    for request in [declared, chunked] {
        let _attack = attack(broker.process.addr, part_of(SENDERS), &request.into());
        served(ATTACK, async || {
            let answer = post_log(&broker.process).await;
            assert_eq!(answer.status, 202, "{}", answer.text);
            assert!(broker.process.is_ready().await);
        })
        .await;
    }
    broker.end().await;
    listener.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_that_nobody_reads() {
    let dir = tempfile::tempdir().unwrap();
    let logger = logger(dir.path()).await;
    let megabyte = "x".repeat(MIB - 1000);
    for _ in 0..20 {
        store(&logger.process, &megabyte).await;
    }
    let request = "GET /logs?limit=500 HTTP/1.1\r\nHost: localhost\r\n\r\n".into();
    let _attack = attack(logger.process.addr, part_of(READERS), &request);
    served(ATTACK, async || {
        store(&logger.process, "small").await;
        // With Retry-After while the attackers have all reads.
        eventually("a page", in_time(), async || {
            let page = http::get(&logger.process.url("/logs?limit=1")).await;
            (page.status == 200).then_some(())
        })
        .await;
    })
    .await;
    logger.end().await;
}

/// Each would have ten seconds for its body, and all connections are theirs.
#[tokio::test(flavor = "multi_thread")]
async fn sockets_with_one_byte_of_a_body() {
    const CONNECTIONS: usize = 256;
    let dir = tempfile::tempdir().unwrap();
    let database = format!("sqlite:{}/logger.db", dir.path().display());
    let connections = CONNECTIONS.to_string();
    let environment = [
        ("LOGGER_DATABASE_URL", database.as_str()),
        ("MAX_CONNECTIONS", &connections),
    ];
    let logger = Confined::start("logger-service", dir.path(), &environment).await;
    let request = "POST /log HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\nx";
    let mut sockets = Vec::new();
    for _ in 0..CONNECTIONS * 5 / 4 {
        let mut socket = TcpStream::connect(logger.process.addr).await.unwrap();
        socket.write_all(request.as_bytes()).await.unwrap();
        sockets.push(socket);
    }
    // The first one waits for the grace of the others, and for those that came before it.
    eventually("an answer", Duration::from_secs(7), async || {
        logger.process.is_ready().await.then_some(())
    })
    .await;
    served(ATTACK, async || store(&logger.process, "small").await).await;
    let mut first = String::new();
    let closed = sockets[0].read_to_string(&mut first).await;
    assert!(first.is_empty(), "{closed:?} {first}");
    logger.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn searches_through_many_events() {
    const ROWS: usize = 300_000;
    const SEARCHES: usize = 24;
    let dir = tempfile::tempdir().unwrap();
    let logger = logger(dir.path()).await;
    store(&logger.process, "first").await;
    fill(dir.path(), ROWS).await;
    let mut searches = JoinSet::new();
    for _ in 0..SEARCHES {
        let url = logger.process.url("/logs?q=nowhere%20to%20be%20found");
        searches.spawn(async move { http::get(&url).await });
    }
    served(ATTACK, async || {
        store(&logger.process, "small").await;
        assert!(logger.process.is_ready().await);
    })
    .await;
    while let Some(search) = searches.join_next().await {
        let answer = search.unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text);
        assert_eq!(answer.json()["events"], json!([]));
    }
    // What was too much for one request is found by those that follow.
    let mut cursor = String::new();
    let found = loop {
        let url = format!("/logs?q=FIRST&limit=1&cursor={cursor}");
        let page = http::get(&logger.process.url(&url)).await.json();
        if let Some(event) = page["events"].as_array().and_then(|events| events.first()) {
            break event.clone();
        }
        cursor = page["next_cursor"].as_str().expect("more").to_owned();
    };
    assert_eq!(found["data"]["data"], "first");
    logger.end().await;
}
