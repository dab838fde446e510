//! RabbitMQ that is there and does not answer (SIGSTOP, as a machine that swaps or is migrated).

use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

use axum::http::StatusCode;
use serde_json::json;
use tests::{
    eventually, http,
    rabbitmq::{Node, signal},
    suite::{Options, broker, listener_alone},
    target::Target,
};

fn route(target: &Target) -> String {
    format!(
        "[[route]]\nname = \"one\"\nbindings = [\"#\"]\ntarget = \"http://{}/\"\nretry_ms = [60000]\n",
        target.addr
    )
}

/// Its events are in hand, unacknowledged, and RabbitMQ takes no leave: the listener goes all the
/// same, and soon.
#[tokio::test(flavor = "multi_thread")]
async fn a_listener_stops_without_an_answer_and_loses_nothing() {
    const EVENTS: usize = 10;
    let mut node = Node::start().await;
    let virtual_host = node.virtual_host().await;
    let dir = tempfile::tempdir().unwrap();
    let down = Target::down();
    let listener = listener_alone(&virtual_host.url, dir.path(), &route(&down)).await;
    listener.ready().await;
    let broker = broker(&virtual_host.url, &Options::default()).await;
    broker.ready().await;
    let mut ids = HashSet::new();
    for number in 0..EVENTS {
        let body = json!({"action": "log", "log": {"name": "held", "data": number}});
        let answer = http::post(&broker.url("/handle"), &body).await;
        ids.insert(answer.json()["data"]["id"].as_str().unwrap().to_owned());
    }
    let url = listener.url("/routes");
    eventually("the route pauses", Duration::from_secs(10), || async {
        (http::get(&url).await.json()["routes"][0]["paused"] == true).then_some(())
    })
    .await;

    signal(node.pid(), "STOP");
    let begun = Instant::now();
    listener.stop().await;
    let took = begun.elapsed();
    signal(node.pid(), "CONT");
    // Three waits of the ten seconds that a request to RabbitMQ may take would be longer.
    assert!(took < Duration::from_secs(9), "{took:?}");

    let up = Target::answering(StatusCode::OK).await;
    let listener = listener_alone(&virtual_host.url, dir.path(), &route(&up)).await;
    eventually("all are delivered", Duration::from_secs(30), || async {
        let received = up.received();
        let delivered: HashSet<_> = received.iter().map(|event| event.header("ce-id")).collect();
        ids.iter()
            .all(|id| delivered.contains(id.as_str()))
            .then_some(())
    })
    .await;
    broker.stop().await;
    listener.stop().await;
    node.stop().await;
}
