//! Slow and silent clients are disconnected while others are served.

use std::time::Duration;

use service_kit::server::HttpConfig;

use crate::harness::Server;

fn impatient() -> HttpConfig {
    HttpConfig {
        read_timeout: Duration::from_millis(200),
        idle_timeout: Duration::from_millis(400),
        ..HttpConfig::default()
    }
}

#[tokio::test]
async fn slow_headers_end_the_connection() {
    let config = HttpConfig {
        // The idle limit would end it too, but later.
        idle_timeout: Duration::from_secs(60),
        ..impatient()
    };
    let server = Server::start(config).await;
    let mut slow = server.connect().await;
    slow.write("GET /items/1 HTTP/1.1\r\nHost: local").await;
    assert_eq!(server.get("/items/1").await.status(), 200);
    assert_eq!(slow.closed().await, b"");
}

#[tokio::test]
async fn a_slow_body_is_answered_408() {
    let server = Server::start(impatient()).await;
    let mut slow = server.connect().await;
    slow.write("POST /length HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n12345")
        .await;
    assert_eq!(server.get("/items/1").await.status(), 200);
    slow.answer().await.assert_problem(408);
    slow.closed().await;
}

#[tokio::test]
async fn silent_connections_are_closed() {
    let server = Server::start(impatient()).await;
    let mut silent = server.connect().await;
    // The first bytes of the HTTP/2 preface: hyper waits for the rest without a deadline.
    let mut preface = server.connect().await;
    preface.write("PRI * HT").await;
    let mut kept_alive = server.connect().await;
    kept_alive
        .write("GET /items/1 HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .await;
    assert_eq!(kept_alive.answer().await.status(), 200);
    for client in [&mut silent, &mut preface, &mut kept_alive] {
        assert_eq!(client.closed().await, b"");
    }
    assert_eq!(server.get("/items/1").await.status(), 200);
}

#[tokio::test]
async fn a_slow_handler_is_not_an_idle_connection() {
    let server = Server::start(impatient()).await;
    let mut client = server.connect().await;
    client
        .write("GET /wait HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .await;
    server.waiting.cancelled().await;
    // This one is idle from now on; when it is closed, the idle limit has passed for the other too.
    server.connect().await.closed().await;
    server.release.cancel();
    assert_eq!(client.answer().await.text(), "released");
}

#[tokio::test]
async fn an_endless_handler_is_answered_503() {
    let config = HttpConfig {
        request_timeout: Duration::from_millis(100),
        ..HttpConfig::default()
    };
    let server = Server::start(config).await;
    let answer = server.get("/wait").await;
    answer.assert_problem(503);
    assert_eq!(answer.header("retry-after"), Some("1"));
}

#[tokio::test]
async fn excess_requests_are_shed_and_health_is_not() {
    let config = HttpConfig {
        max_in_flight: 1,
        ..HttpConfig::default()
    };
    let server = Server::start(config).await;
    let mut first = server.connect().await;
    first
        .write("GET /wait HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .await;
    server.waiting.cancelled().await;

    let shed = server.get("/items/1").await;
    shed.assert_problem(503);
    assert_eq!(shed.header("retry-after"), Some("1"));
    assert_eq!(server.get("/readyz").await.status(), 200);

    server.release.cancel();
    assert_eq!(first.answer().await.status(), 200);
    assert_eq!(server.get("/items/1").await.status(), 200);
}

#[tokio::test]
async fn beyond_the_connection_cap_clients_take_turns() {
    let config = HttpConfig {
        max_connections: 1,
        ..HttpConfig::default()
    };
    let server = Server::start(config).await;
    let mut first = server.connect().await;
    let mut second = server.connect().await;
    for client in [&mut first, &mut second] {
        client
            .write("GET /items/1 HTTP/1.1\r\nHost: localhost\r\n\r\n")
            .await;
        let answer = client.answer().await;
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.header("connection"), Some("close"));
    }
}

/// The idle ones would be closed only after a minute.
#[tokio::test]
async fn hundreds_of_idle_connections_keep_nobody_waiting() {
    let config = HttpConfig {
        max_connections: 32,
        idle_timeout: Duration::from_secs(60),
        ..HttpConfig::default()
    };
    let server = Server::start(config).await;
    let mut idle = Vec::new();
    for _ in 0..100 {
        idle.push(server.connect().await);
    }
    assert_eq!(server.get("/items/1").await.status(), 200);
}
