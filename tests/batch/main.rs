//! `scripts/batch`: how much faster a batch of 500 events is than the same events one by one.
//!
//! Real processes of broker and listener and a RabbitMQ of its own. Prints each round and the
//! medians.

#![expect(
    clippy::print_stdout,
    reason = "it is a program that reports to a terminal"
)]

use std::{future::Future, time::Duration};

use axum::http::StatusCode;
use futures_util::{StreamExt as _, stream};
use reqwest::{Client, header};
use serde_json::{Value, json};
use tests::{OrPanic as _, gateway::route, http, process::Process, rabbitmq::Node, target::Target};
use tokio::time::Instant;

const EVENTS: usize = 500;
const CONNECTIONS: usize = 64;
const ROUNDS: usize = 15;

#[tokio::main]
async fn main() {
    let node = Node::start().await;
    let virtual_host = node.virtual_host().await;
    let target = Target::answering(StatusCode::OK).await;
    let dir = tempfile::tempdir().or_panic("a directory");
    let routes = dir.path().join("routes.toml");
    let nobody = "http://127.0.0.1:1";
    std::fs::write(&routes, route(&format!("http://{}/", target.addr))).or_panic("routes");
    let amqp = ("AMQP_URL", virtual_host.url.as_str());
    let mut listener = Process::start(
        "listener-service",
        dir.path(),
        &[
            amqp,
            ("ROUTES_FILE", &routes.display().to_string()),
            ("LOGGER_URL", nobody),
            ("AUTH_URL", nobody),
            ("DEAD_LETTERS", "queue"),
        ],
    )
    .await;
    listener.ready().await;
    // It has declared the queue. What it would do with the events is not what is measured here.
    listener.terminate().await;
    let broker = Process::start("broker-service", dir.path(), &[amqp]).await;
    broker.ready().await;

    let (rabbitmq, erlang) = virtual_host.management.versions().await;
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    println!(
        "{EVENTS} events of 256 bytes of data, {ROUNDS} rounds; RabbitMQ {rabbitmq}, Erlang {erlang}, {cores} cores"
    );
    let url = broker.url("/events");
    let client = http::client();
    let mut rounds = [const { Vec::new() }; 3];
    // The first round warms up, and does not count.
    for round in 0..=ROUNDS {
        let took = [
            timed(batch(&client, &url)).await,
            timed(one_by_one(&client, &url, 1)).await,
            timed(one_by_one(&client, &url, CONNECTIONS)).await,
        ];
        println!(
            "round {round}: batch {:.1?}, one connection {:.1?}, {CONNECTIONS} connections {:.1?}",
            took[0], took[1], took[2]
        );
        if round > 0 {
            rounds
                .iter_mut()
                .zip(took)
                .for_each(|(all, took)| all.push(took));
        }
    }
    let [batch, one, many] = rounds.map(median);
    let times = |other: Duration| other.as_secs_f64() / batch.as_secs_f64();
    println!("median: batch {batch:.1?}");
    println!(
        "median: one connection {one:.1?}, {:.1} times as long",
        times(one)
    );
    println!(
        "median: {CONNECTIONS} connections {many:.1?}, {:.1} times as long",
        times(many)
    );
}

async fn timed(work: impl Future<Output = ()>) -> Duration {
    let begun = Instant::now();
    work.await;
    begun.elapsed()
}

async fn batch(client: &Client, url: &str) {
    let events: Vec<_> = (0..EVENTS).map(|_| event()).collect();
    post(
        client,
        url,
        "application/cloudevents-batch+json",
        &Value::from(events),
    )
    .await;
}

async fn one_by_one(client: &Client, url: &str, at_once: usize) {
    stream::iter(0..EVENTS)
        .map(|_| async { post(client, url, "application/cloudevents+json", &event()).await })
        .buffer_unordered(at_once)
        .collect::<()>()
        .await;
}

fn event() -> Value {
    json!({"specversion": "1.0", "id": rand::random::<u128>().to_string(), "source": "/batch",
        "type": "order.placed", "data": "x".repeat(254)})
}

async fn post(client: &Client, url: &str, media_type: &str, body: &Value) {
    let request = client.post(url).header(header::CONTENT_TYPE, media_type);
    let answer = http::read(request.body(body.to_string()).send().await.or_panic(url)).await;
    assert_eq!(answer.status, 202, "{}", answer.text);
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}
