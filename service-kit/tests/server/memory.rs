//! The memory that clients hold is limited, and the limit hits the clients that hold it.

use std::time::{Duration, Instant};

use futures_util::future::select_all;
use service_kit::server::HttpConfig;

use crate::harness::{Client, Server};

const MIB: usize = 1024 * 1024;
/// The request after the attack, which waits until the first attacker is ended.
const SERVED: Duration = Duration::from_secs(1);

async fn server(budget: usize) -> Server {
    let config = HttpConfig {
        memory_budget_bytes: Some(budget),
        ..HttpConfig::default()
    };
    Server::start(config).await
}

/// Bodies of 1 MiB without their last byte, each on its own connection.
async fn unfinished(server: &Server, bodies: usize, head: &str) -> Vec<Client> {
    let mut clients = Vec::new();
    for _ in 0..bodies {
        let mut client = server.connect().await;
        client
            .write(format!(
                "POST /length HTTP/1.1\r\nHost: localhost\r\n{head}\r\n\r\n"
            ))
            .await;
        clients.push(client);
    }
    clients
}

async fn post(server: &Server) {
    let begun = Instant::now();
    let body = "x".repeat(1000);
    let request =
        format!("POST /length HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n{body}");
    assert_eq!(server.send(&request).await.text(), "1000");
    assert!(begun.elapsed() < SERVED, "{:?}", begun.elapsed());
}

/// Less than a millisecond may have decided which one.
async fn one_is_ended(clients: &mut [Client]) {
    let answers = clients.iter_mut().map(|client| Box::pin(client.answer()));
    let (answer, ..) = select_all(answers).await;
    answer.assert_problem(408);
}

#[tokio::test]
async fn bodies_held_back_give_way_and_are_answered_408() {
    let server = server(8 * MIB).await;
    let mut clients = unfinished(&server, 16, &format!("Content-Length: {MIB}")).await;
    // As many as fit, and some that wait.
    let most = "x".repeat(MIB - 1);
    for client in &mut clients[..8] {
        client.write(&most).await;
    }
    for client in &mut clients[8..] {
        client.write(&most[..64 * 1024]).await;
    }
    for _ in 0..20 {
        post(&server).await;
    }
    assert_eq!(server.get("/readyz").await.status(), 200);
    one_is_ended(&mut clients).await;
}

#[tokio::test]
async fn chunked_bodies_are_counted_as_they_come() {
    let server = server(8 * MIB).await;
    let mut clients = unfinished(&server, 12, "Transfer-Encoding: chunked").await;
    let chunk = format!("{:x}\r\n{}\r\n", MIB - 1, "x".repeat(MIB - 1));
    for client in &mut clients[..8] {
        client.write(&chunk).await;
    }
    for client in &mut clients[8..] {
        client.write(&chunk[..64 * 1024]).await;
    }
    post(&server).await;
    one_is_ended(&mut clients).await;
}

#[tokio::test]
async fn answers_that_nobody_reads_give_way() {
    let server = server(64 * MIB).await;
    let mut clients = Vec::new();
    for _ in 0..20 {
        let mut client = server.connect().await;
        client
            .write("GET /page HTTP/1.1\r\nHost: localhost\r\n\r\n")
            .await;
        clients.push(client);
    }
    for _ in 0..3 {
        let begun = Instant::now();
        assert_eq!(server.get("/page").await.text().len(), 7 * MIB);
        assert!(begun.elapsed() < SERVED, "{:?}", begun.elapsed());
        post(&server).await;
    }
}

#[tokio::test]
async fn without_a_slow_client_the_newcomer_is_refused() {
    let config = HttpConfig {
        memory_budget_bytes: Some(100 * 1024),
        ..HttpConfig::default()
    };
    let server = Server::start(config).await;
    let large = 90 * 1024;
    let hold = format!(
        "POST /hold HTTP/1.1\r\nHost: localhost\r\nContent-Length: {large}\r\n\r\n{}",
        "x".repeat(large)
    );
    let mut first = server.connect().await;
    first.write(&hold).await;
    server.waiting.cancelled().await;
    let refused = server.send(&hold).await;
    refused.assert_problem(503);
    assert_eq!(refused.header("retry-after"), Some("1"));
    post(&server).await;
    let larger = format!(
        "POST /hold HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n",
        101 * 1024
    );
    server.send(&larger).await.assert_problem(413);
    server.release.cancel();
    assert_eq!(first.answer().await.status(), 200);
}

/// Each would have ten seconds for its body.
#[tokio::test]
async fn unfinished_bodies_make_room_for_the_next_connection() {
    let config = HttpConfig {
        max_connections: 32,
        ..HttpConfig::default()
    };
    let server = Server::start(config).await;
    let mut clients = unfinished(&server, 64, "Content-Length: 1000\r\n\r\nx").await;
    clients.extend(unfinished(&server, 32, "Transfer-Encoding: chunked").await);
    let begun = Instant::now();
    assert_eq!(server.get("/readyz").await.status(), 200);
    post(&server).await;
    assert!(
        begun.elapsed() < Duration::from_secs(4),
        "{:?}",
        begun.elapsed()
    );
}
