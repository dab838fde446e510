//! Queues with a limit, set by an operator's policy, and queues that are deleted at the worst time.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use axum::http::StatusCode;
use serde_json::{Value, json};
use tests::{
    eventually, http,
    management::Management,
    rabbitmq::{Node, virtual_host},
    suite::{Options, Service, broker, listener_alone},
    target::Target,
};

const QUEUE: &str = "events.topic.exchange.queue.one";
const DEAD: &str = "events.topic.exchange.queue.one.dead";

fn route(target: &Target) -> String {
    format!(
        "[[route]]\nname = \"one\"\nbindings = [\"#\"]\ntarget = \"http://{}/\"\n",
        target.addr
    )
}

fn limit() -> Value {
    json!({"max-length": 2, "overflow": "reject-publish"})
}

async fn post(broker: &Service, number: usize) -> http::Answer {
    let body = json!({"action": "log", "log": {"name": "event", "data": number}});
    http::post(&broker.url("/handle"), &body).await
}

/// Posts events that are all accepted, and returns their ids.
async fn accepted(broker: &Service, events: usize) -> BTreeSet<String> {
    let mut ids = BTreeSet::new();
    for number in 0..events {
        let answer = post(broker, number).await;
        assert_eq!(answer.status, 202, "{}", answer.text);
        ids.insert(answer.json()["data"]["id"].as_str().unwrap().to_owned());
    }
    ids
}

/// Takes the dead letters, as they come, until they are these and each came once.
async fn all_dead(management: &Management, ids: &BTreeSet<String>) {
    let deadline = Instant::now() + Duration::from_secs(60);
    let mut taken = BTreeSet::new();
    while taken != *ids {
        assert!(Instant::now() < deadline, "only {taken:?} of {ids:?}");
        for dead in management.take(DEAD).await {
            let id = dead["properties"]["message_id"].as_str().unwrap();
            assert_eq!(dead["properties"]["headers"]["x-gw-status"], 409);
            assert!(ids.contains(id) && taken.insert(id.to_owned()), "{dead}");
        }
    }
}

/// An event that the queue refuses is told as refused, and none is dropped in silence.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_is_told_to_the_client() {
    let virtual_host = virtual_host().await;
    let dir = tempfile::tempdir().unwrap();
    let target = Target::answering(StatusCode::OK).await;
    let listener = listener_alone(&virtual_host.url, dir.path(), &route(&target)).await;
    listener.ready().await;
    listener.stop().await;
    let broker = broker(&virtual_host.url, &Options::default()).await;
    broker.ready().await;
    let pattern = format!("^{QUEUE}$");
    virtual_host
        .management
        .set_policy("limit", &pattern, limit())
        .await;
    let mut accepted = BTreeSet::new();
    let mut number = 0;
    // A policy comes into force a moment later.
    let refused = loop {
        let answer = post(&broker, number).await;
        if answer.status != 202 {
            break answer;
        }
        accepted.insert(answer.json()["data"]["id"].as_str().unwrap().to_owned());
        number += 1;
        assert!(number < 1_000, "no limit is in force");
    };
    refused.problem(503);
    assert_eq!(refused.json()["type"], "urn:problem:refused");
    assert!(refused.headers.contains_key("retry-after"));

    let held: BTreeSet<_> = virtual_host
        .management
        .take(QUEUE)
        .await
        .iter()
        .map(|held| {
            held["properties"]["message_id"]
                .as_str()
                .unwrap()
                .to_owned()
        })
        .collect();
    assert_eq!(held, accepted);
    broker.stop().await;
}

/// What the dead letters have no room for stays where it is, until there is room.
#[tokio::test(flavor = "multi_thread")]
async fn full_dead_letters_lose_no_event() {
    const EVENTS: usize = 10;
    let virtual_host = virtual_host().await;
    let management = &virtual_host.management;
    let dir = tempfile::tempdir().unwrap();
    let target = Target::answering(StatusCode::CONFLICT).await;
    let listener = listener_alone(&virtual_host.url, dir.path(), &route(&target)).await;
    listener.ready().await;
    let broker = broker(&virtual_host.url, &Options::default()).await;
    broker.ready().await;
    let pattern = format!("^{DEAD}$");
    management.set_policy("limit", &pattern, limit()).await;

    let ids = accepted(&broker, EVENTS).await;
    target.wait_for(EVENTS).await;
    eventually("room for some only", Duration::from_secs(20), || async {
        let depth = management.depth(DEAD).await;
        assert!(depth < EVENTS, "no limit was in force");
        (depth >= 2).then_some(())
    })
    .await;
    // Taking some away makes room. (To lift the limit would not do: RabbitMQ 3.10 tells its
    // publishers of room by the limit alone.)
    all_dead(management, &ids).await;
    broker.stop().await;
    listener.stop().await;
    // Once refused is enough: what waited for room was not delivered again meanwhile.
    assert_eq!(target.count(), EVENTS);
}

#[tokio::test(flavor = "multi_thread")]
async fn deleted_dead_letters_are_declared_again_and_lose_no_later_event() {
    const EVENTS: usize = 5;
    // A node of its own: deleting queues is what RabbitMQ itself takes worst.
    let mut node = Node::start().await;
    let virtual_host = node.virtual_host().await;
    let management = &virtual_host.management;
    let dir = tempfile::tempdir().unwrap();
    let target = Target::answering(StatusCode::CONFLICT).await;
    let listener = listener_alone(&virtual_host.url, dir.path(), &route(&target)).await;
    listener.ready().await;
    let broker = broker(&virtual_host.url, &Options::default()).await;
    broker.ready().await;

    management.delete_queue(DEAD).await;
    let ids = accepted(&broker, EVENTS).await;
    eventually("declared again", Duration::from_secs(20), || async {
        let queues = management.queues().await;
        queues.iter().any(|queue| queue == DEAD).then_some(())
    })
    .await;
    all_dead(management, &ids).await;
    broker.stop().await;
    listener.stop().await;
    node.stop().await;
}
