//! Messages larger than RabbitMQ's `max_message_size`, which was larger when they were sent: they are
//! delivered, and RabbitMQ takes no copy of them any more.

use std::{collections::BTreeMap, sync::Mutex, time::Duration};

use axum::{http::StatusCode, response::IntoResponse as _};
use lapin::{BasicProperties, types::FieldTable};
use reqwest::Method;
use serde_json::Value;
use tests::{
    eventually,
    foreign::Foreign,
    http,
    rabbitmq::{Node, VirtualHost},
    suite::{Options, Suite, broker, listener_alone},
    target::Target,
};

const PATIENCE: Duration = Duration::from_secs(30);
const EXCHANGE: &str = "events.topic.exchange";
const LIMIT: usize = 500_000;
const LARGE: usize = 600_000;
/// Events of each kind.
const EVENTS: usize = 5;

/// Of all channels that are opened from now on.
async fn limit(node: &Node, bytes: usize) {
    // RabbitMQ 3 reads the one, RabbitMQ 4 the other.
    let three = format!("application:set_env(rabbit, max_message_size, {bytes})");
    let four = format!("persistent_term:put(max_message_size, {bytes})");
    node.ctl(&["eval", &format!("{three}, {four}.")]).await;
}

async fn publish(foreign: &Foreign, exchange: &str, key: &str) {
    for number in 0..EVENTS {
        for bytes in [LARGE, 10] {
            let id = format!("{key}-{bytes}-{number}");
            let properties = BasicProperties::default().with_message_id(id.as_str().into());
            let body = vec![b'x'; bytes];
            foreign.publish(exchange, key, properties, &body).await;
        }
    }
}

fn route(name: &str, target: &Target) -> String {
    format!(
        "[[route]]\nname = \"{name}\"\nbindings = [\"{name}\"]\nretry_ms = [50]\n\
         target = \"http://{}/\"\n",
        target.addr
    )
}

/// The dead letters of a queue, by their ids, once there are `count`.
async fn dead(virtual_host: &VirtualHost, queue: &str, count: usize) -> BTreeMap<String, Value> {
    let found = Mutex::new(BTreeMap::new());
    let queue = format!("{queue}.dead");
    eventually("all dead letters", PATIENCE, || async {
        for letter in virtual_host.management.empty(&queue).await {
            let id = letter["properties"]["message_id"].as_str().unwrap();
            found.lock().unwrap().insert(id.to_owned(), letter.clone());
        }
        (found.lock().unwrap().len() == count).then_some(())
    })
    .await;
    found.into_inner().unwrap()
}

/// In one pass: RabbitMQ moves what it takes no copy of. Before, the channel of the copies was closed
/// again and again, and nothing of the route went on.
#[tokio::test(flavor = "multi_thread")]
async fn what_no_copy_is_taken_of_is_a_dead_letter_after_one_attempt() {
    let node = Node::start().await;
    let virtual_host = node.virtual_host().await;
    let [refuses, fails, healthy] = [422, 500, 200].map(|status| {
        let status = StatusCode::from_u16(status).unwrap();
        Target::answering(status)
    });
    let (refuses, fails, healthy) = (refuses.await, fails.await, healthy.await);
    let all = [
        ("refuses", &refuses),
        ("fails", &fails),
        ("healthy", &healthy),
    ];
    let routes = all.map(|(name, target)| route(name, target)).concat();
    let dir = tempfile::tempdir().unwrap();
    let listener = listener_alone(&virtual_host.url, dir.path(), &routes).await;
    listener.ready().await;
    listener.stop().await;
    let foreign = Foreign::connect(&virtual_host.url).await;
    for (name, _) in all {
        publish(&foreign, EXCHANGE, name).await;
    }
    limit(&node, LIMIT).await;

    let listener = listener_alone(&virtual_host.url, dir.path(), &routes).await;
    for (name, target) in [("refuses", &refuses), ("fails", &fails)] {
        let queue = format!("{EXCHANGE}.queue.{name}");
        let letters = dead(&virtual_host, &queue, 2 * EVENTS).await;
        for (id, letter) in letters {
            let headers = &letter["properties"]["headers"];
            let is_large = id.contains(&LARGE.to_string());
            assert_eq!(
                headers["x-death"][0]["reason"] == "rejected",
                is_large,
                "{id}"
            );
            assert_eq!(headers["x-gw-status"].is_u64(), !is_large, "{id}");
            let bytes = letter["payload_bytes"].as_u64().unwrap();
            assert_eq!(bytes > 10, is_large, "{id}");
        }
        let received = target.received();
        let large = received.iter().filter(|event| event.body.len() == LARGE);
        assert_eq!(large.count(), EVENTS, "{name}");
    }
    assert_eq!(healthy.wait_for(2 * EVENTS).await.len(), 2 * EVENTS);
    foreign.close().await;
    listener.stop().await;
    assert_eq!(healthy.count(), 2 * EVENTS);
}

/// Of a queue whose owner may not keep what is rejected nothing is rejected.
#[tokio::test(flavor = "multi_thread")]
async fn in_a_queue_of_somebody_elses_it_stays() {
    let node = Node::start().await;
    let virtual_host = node.virtual_host().await;
    let foreign = Foreign::connect(&virtual_host.url).await;
    foreign.queue("theirs", FieldTable::default()).await;
    publish(&foreign, "", "theirs").await;
    limit(&node, LIMIT).await;
    let target = Target::answering(StatusCode::UNPROCESSABLE_ENTITY).await;
    let routes = format!(
        "[[route]]\nname = \"one\"\nqueue = {{ name = \"theirs\", existing = true }}\n\
         target = \"http://{}/\"\n",
        target.addr
    );
    let dir = tempfile::tempdir().unwrap();
    let listener = listener_alone(&virtual_host.url, dir.path(), &routes).await;
    let letters = dead(&virtual_host, "theirs", EVENTS).await;
    assert!(letters.keys().all(|id| !id.contains(&LARGE.to_string())));
    assert_eq!(target.wait_for(2 * EVENTS).await.len(), 2 * EVENTS);
    listener.stop().await;
    let mut left = foreign.take_ids("theirs").await;
    // What was handed off as RabbitMQ closed the channel may be so once more, or be left.
    left.retain(|id| id.contains(&LARGE.to_string()));
    assert_eq!(left.len(), EVENTS, "{left:?}");
    foreign.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_letter_that_is_too_large_is_listed_and_is_replayed_once_it_is_not() {
    let node = Node::start().await;
    let virtual_host = node.virtual_host().await;
    let target = Target::start(|_, before| {
        let refused = before < 2 * EVENTS;
        let status = if refused { 422 } else { 200 };
        StatusCode::from_u16(status).unwrap().into_response()
    })
    .await;
    let dir = tempfile::tempdir().unwrap();
    let routes = route("one", &target);
    let listener = listener_alone(&virtual_host.url, dir.path(), &routes).await;
    listener.ready().await;
    listener.stop().await;
    let foreign = Foreign::connect(&virtual_host.url).await;
    publish(&foreign, EXCHANGE, "one").await;
    limit(&node, LIMIT).await;
    let options = Options {
        routes: Some(routes),
        ..Options::default()
    };
    let suite = Suite::start_with(&virtual_host.url, options).await;
    let list = suite.listener.url("/dead-letters?q=max_message_size");
    let letters = eventually("dead letters", PATIENCE, || async {
        let letters = http::get(&list).await.json()["dead_letters"].take();
        (letters.as_array()?.len() == EVENTS).then_some(letters)
    })
    .await;
    let id = letters[0]["id"].as_str().unwrap();
    let replay = suite.listener.url(&format!("/dead-letters/{id}/replay"));
    let refused = http::send(Method::POST, &replay, "").await;
    assert_eq!(refused.status, 409, "{}", refused.text);
    assert!(refused.text.contains("message size"), "{}", refused.text);

    limit(&node, 10 * LARGE).await;
    virtual_host.management.close_connections().await;
    eventually("a replay", PATIENCE, || async {
        let replayed = http::send(Method::POST, &replay, "").await;
        (replayed.status == 200).then_some(())
    })
    .await;
    let received = target.wait_for(2 * EVENTS + 1).await;
    assert_eq!(received.last().unwrap().body.len(), LARGE);
    suite.stop().await;
}

/// Nobody waits for it, and who publishes beside it notices nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_is_told_that_rabbitmq_takes_no_event_of_this_size() {
    let node = Node::start().await;
    limit(&node, LIMIT).await;
    let virtual_host = node.virtual_host().await;
    let target = Target::answering(StatusCode::OK).await;
    let dir = tempfile::tempdir().unwrap();
    let listener = listener_alone(&virtual_host.url, dir.path(), &route("one", &target)).await;
    listener.ready().await;
    let broker = broker(&virtual_host.url, &Options::default()).await;
    broker.ready().await;
    let url = broker.url("/events/one");
    for (bytes, status) in [
        (LARGE, 413),
        (LARGE, 413),
        (10, 202),
        (LARGE, 413),
        (10, 202),
    ] {
        let body = format!("\"{}\"", "x".repeat(bytes));
        let answer = http::post(&url, &Value::String(body)).await;
        assert_eq!(answer.status, status, "{}", answer.text);
        let names_it = answer.text.contains("RabbitMQ takes no event of this size");
        assert_eq!(names_it, status == 413, "{}", answer.text);
    }
    assert_eq!(target.wait_for(2).await.len(), 2);
    broker.stop().await;
    listener.stop().await;
}
