//! Shutdown: readiness fails first, requests in flight finish, nothing hangs forever.

use std::time::{Duration, Instant};

use service_kit::server::HttpConfig;
use tokio::net::TcpStream;

use crate::harness::{Server, within};

#[tokio::test]
async fn a_request_in_flight_is_finished() {
    let config = HttpConfig {
        drain_grace: Duration::ZERO,
        ..HttpConfig::default()
    };
    let server = Server::start(config).await;
    let mut client = server.connect().await;
    client
        .write("GET /wait HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .await;
    server.waiting.cancelled().await;
    server.shutdown.cancel();
    within(async { while TcpStream::connect(server.addr).await.is_ok() {} }).await;

    server.release.cancel();
    let answer = client.answer().await;
    assert_eq!(answer.text(), "released");
    assert_eq!(answer.header("connection"), Some("close"));
    server.stopped().await;
}

#[tokio::test]
async fn a_connection_made_just_before_is_served_once() {
    let config = HttpConfig {
        drain_grace: Duration::ZERO,
        ..HttpConfig::default()
    };
    let server = Server::start(config).await;
    let mut client = server.connect().await;
    server.shutdown.cancel();
    within(async { while TcpStream::connect(server.addr).await.is_ok() {} }).await;
    client
        .write("GET /items/1 HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .await;
    let answer = client.answer().await;
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.header("connection"), Some("close"));
    server.stopped().await;
}

#[tokio::test]
async fn readiness_fails_before_the_listener_closes() {
    let grace = Duration::from_millis(500);
    let config = HttpConfig {
        drain_grace: grace,
        ..HttpConfig::default()
    };
    let server = Server::start(config).await;
    assert_eq!(server.get("/readyz").await.status(), 200);
    let stopping = Instant::now();
    server.shutdown.cancel();
    server.get("/readyz").await.assert_problem(503);
    assert_eq!(server.get("/items/1").await.status(), 200);
    server.stopped().await;
    assert!(stopping.elapsed() >= grace);
}

#[tokio::test]
async fn idle_connections_do_not_hold_up_the_end() {
    let server = Server::start(HttpConfig::default()).await;
    let mut idle = server.connect().await;
    idle.write("GET /items/1 HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .await;
    idle.answer().await;
    server.shutdown.cancel();
    server.stopped().await;
    assert_eq!(idle.closed().await, b"");
}

#[tokio::test]
async fn a_hanging_request_is_dropped_at_the_drain_timeout() {
    let config = HttpConfig {
        drain_grace: Duration::ZERO,
        drain_timeout: Duration::from_millis(100),
        ..HttpConfig::default()
    };
    let server = Server::start(config).await;
    let mut client = server.connect().await;
    client
        .write("GET /wait HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .await;
    server.waiting.cancelled().await;
    server.shutdown.cancel();
    server.stopped().await;
    assert_eq!(client.closed().await, b"");
}
