//! One endpoint accepts larger bodies than the others, as many at a time as the memory budget
//! allows.

use std::time::Duration;

use service_kit::server::HttpConfig;

use crate::harness::{LARGE_BODIES, Server, within};

const LIMIT: usize = 64 * 1024;

async fn server() -> Server {
    Server::start(config()).await
}

fn config() -> HttpConfig {
    HttpConfig {
        max_body_bytes: LIMIT,
        read_timeout: Duration::from_secs(2),
        ..HttpConfig::default()
    }
}

fn post(path: &str, length: usize) -> String {
    format!("POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n")
}

#[tokio::test]
async fn the_limit_is_the_routes_own() {
    let server = server().await;
    let largest = LARGE_BODIES.bytes_max;
    let answer = server
        .send(&(post("/large", largest) + &"x".repeat(largest)))
        .await;
    assert_eq!(answer.text(), largest.to_string());
    server
        .send(&post("/large", largest + 1))
        .await
        .assert_problem(413);
    server
        .send(&post("/length", LIMIT + 1))
        .await
        .assert_problem(413);
}

#[tokio::test]
async fn a_body_of_unknown_length_is_refused_when_it_passes_the_limit() {
    let server = server().await;
    let mut client = server.connect().await;
    client
        .write("POST /large HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n")
        .await;
    let chunk = format!("{:x}\r\n{}\r\n", LIMIT, "x".repeat(LIMIT));
    for _ in 0..=LARGE_BODIES.bytes_max / LIMIT {
        client.write(&chunk).await;
    }
    client.answer().await.assert_problem(413);
}

#[tokio::test]
async fn a_large_body_keeps_its_memory_until_it_is_answered_and_leaves_the_rest() {
    let config = HttpConfig {
        memory_budget_bytes: Some(LIMIT * 3 / 2),
        ..config()
    };
    let server = Server::start(config).await;
    let large = |path| post(path, LIMIT + 1) + &"x".repeat(LIMIT + 1);
    let mut first = server.connect().await;
    first.write(large("/large?hold")).await;
    within(server.waiting.cancelled()).await;

    let small = server.send(&(post("/large", 3) + "abc")).await;
    assert_eq!(small.text(), "3");
    let refused = server.send(&large("/large")).await;
    refused.assert_problem(503);
    assert_eq!(refused.header("retry-after"), Some("1"));

    server.release.cancel();
    assert_eq!(first.answer().await.text(), (LIMIT + 1).to_string());
    let next = server.send(&large("/large")).await;
    assert_eq!(next.text(), (LIMIT + 1).to_string());
}
