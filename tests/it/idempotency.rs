//! `Idempotency-Key`: a request sent again is the same event, and is published once.

use futures_util::future::join_all;
use reqwest::StatusCode;
use serde_json::{Value, json};
use tests::{
    http::{self, Answer},
    rabbitmq::{Node, VirtualHost, virtual_host},
    suite::{Options, Service, Suite, broker, listener_alone},
    target::Target,
};

const QUEUE: &str = "events.topic.exchange.queue.kept";

/// A broker, and a queue that keeps all that it publishes: the listener which declared it is gone.
async fn broker_and_queue(virtual_host: &VirtualHost) -> Service {
    let dir = tempfile::tempdir().unwrap();
    let target = Target::answering(StatusCode::OK).await;
    let route = format!(
        "[[route]]\nname = \"kept\"\nbindings = [\"#\"]\ntarget = \"http://{}/\"\n",
        target.addr
    );
    let listener = listener_alone(&virtual_host.url, dir.path(), &route).await;
    listener.ready().await;
    listener.stop().await;
    let broker = broker(&virtual_host.url, &Options::default()).await;
    broker.ready().await;
    broker
}

/// `POST /handle` under each of these keys, which should be one.
async fn post(broker: &Service, keys: &[&[u8]], body: &Value) -> Answer {
    let mut request = http::client().post(broker.url("/handle")).json(body);
    for key in keys {
        request = request.header("idempotency-key", *key);
    }
    http::read(request.send().await.unwrap()).await
}

fn entry(data: &Value) -> Value {
    json!({"action": "log", "log": {"name": "keyed", "data": data}})
}

/// The id of an accepted event, and whether the answer was given before.
#[track_caller]
fn accepted(answer: &Answer) -> (String, bool) {
    assert_eq!(answer.status, 202, "{}", answer.text);
    let replayed = answer.headers.get("idempotency-replayed");
    assert!(replayed.is_none_or(|value| value == "true"));
    let id = answer.json()["data"]["id"].as_str().unwrap().to_owned();
    (id, replayed.is_some())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_at_once_are_one_event() {
    let virtual_host = virtual_host().await;
    let broker = broker_and_queue(&virtual_host).await;

    let body = entry(&json!(1));
    let answers = join_all((0..100).map(|_| post(&broker, &[b"one"], &body))).await;
    let answers: Vec<_> = answers.iter().map(accepted).collect();
    let (id, _) = &answers[0];
    assert!(answers.iter().all(|(other, _)| other == id));
    let published = answers.iter().filter(|(_, replayed)| !replayed).count();
    assert_eq!(published, 1);

    let kept = virtual_host.management.take(QUEUE).await;
    assert_eq!(kept.len(), 1);
    assert_eq!(kept[0]["properties"]["message_id"], *id);
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_request_is_answered_again_and_another_one_is_refused() {
    let virtual_host = virtual_host().await;
    let broker = broker_and_queue(&virtual_host).await;

    let first = post(&broker, &[b"one"], &entry(&json!(1))).await;
    let (id, replayed) = accepted(&first);
    assert!(!replayed);
    let again = post(&broker, &[b"one"], &entry(&json!(1))).await;
    assert_eq!(accepted(&again), (id.clone(), true));
    assert_eq!(again.text, first.text);
    let quoted = post(&broker, &[b"\"one\""], &entry(&json!(1))).await;
    assert_eq!(accepted(&quoted), (id.clone(), true));

    let reused = post(&broker, &[b"one"], &entry(&json!(2))).await;
    assert!(reused.problem(422).contains("Idempotency-Key"));
    assert_eq!(reused.json()["type"], "urn:problem:idempotency-key-reused");
    // The one that was refused has changed nothing.
    let again = post(&broker, &[b"one"], &entry(&json!(1))).await;
    assert_eq!(accepted(&again), (id.clone(), true));

    let (other, replayed) = accepted(&post(&broker, &[b"two"], &entry(&json!(1))).await);
    assert!(other != id && !replayed);
    let kept = virtual_host.management.take(QUEUE).await;
    let ids = kept.iter().map(|event| &event["properties"]["message_id"]);
    assert_eq!(ids.collect::<Vec<_>>(), [&id, &other]);
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_key_each_request_is_an_event() {
    let virtual_host = virtual_host().await;
    let broker = broker_and_queue(&virtual_host).await;
    let first = accepted(&post(&broker, &[], &entry(&json!(1))).await);
    let second = accepted(&post(&broker, &[], &entry(&json!(1))).await);
    assert!(!first.1 && !second.1);
    assert_ne!(first.0, second.0);
    assert_eq!(virtual_host.management.take(QUEUE).await.len(), 2);
    broker.stop().await;
}

/// Each broker publishes, as neither knows of the other; what they publish is one event.
#[tokio::test(flavor = "multi_thread")]
async fn through_two_brokers_the_logger_stores_one_event() {
    let virtual_host = virtual_host().await;
    // One at a time: when the last event is stored, those before it have been dealt with.
    let routes = "[[route]]\nname = \"logger\"\nbindings = [\"#\"]\n\
                  target = \"${LOGGER_URL}/log\"\nconcurrency = 1\n";
    let options = Options {
        routes: Some(routes.to_owned()),
        ..Options::default()
    };
    let suite = Suite::start_with(&virtual_host.url, options).await;
    suite.ready().await;
    let second = broker(&virtual_host.url, &Options::default()).await;
    second.ready().await;

    let first = accepted(&post(&suite.broker, &[b"one"], &entry(&json!(1))).await);
    let other = accepted(&post(&second, &[b"one"], &entry(&json!(1))).await);
    assert_eq!(first, other);
    assert!(!first.1);

    let last = suite.log(json!({"name": "last", "data": 1})).await;
    suite.logged(&accepted(&last).0).await;
    let stored = suite.events_of_type("log.INFO").await;
    let names = stored.iter().map(|event| event["name"].as_str().unwrap());
    assert_eq!(names.collect::<Vec<_>>(), ["last", "keyed"]);
    assert_eq!(stored[1]["id"], first.0);
    // The logger took the second delivery for what it is, and did not refuse it.
    let dead = http::get(&suite.logger.url("/dead-letters")).await.json();
    assert_eq!(dead["total"], 0, "{dead}");
    let dead = "events.topic.exchange.queue.logger.dead";
    assert!(virtual_host.management.take(dead).await.is_empty());
    second.stop().await;
    suite.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_key_is_refused() {
    let virtual_host = virtual_host().await;
    let broker = broker_and_queue(&virtual_host).await;
    let longest = [b'k'; 255];
    let too_long = [b'k'; 256];
    let refused: [&[&[u8]]; 7] = [
        &[b""],
        &[b"  "],
        &[b"two words"],
        &[b"\"open"],
        &["schlüssel".as_bytes()],
        &[&too_long],
        &[b"one", b"one"],
    ];
    for keys in refused {
        let answer = post(&broker, keys, &entry(&json!(1))).await;
        let message = answer.problem(400);
        assert!(message.contains("Idempotency-Key"), "{keys:?}: {message}");
    }
    assert!(virtual_host.management.take(QUEUE).await.is_empty());
    accepted(&post(&broker, &[&longest], &entry(&json!(1))).await);
    broker.stop().await;
}

/// An authentication is answered from the state of now, whatever header comes with it.
#[tokio::test(flavor = "multi_thread")]
async fn an_authentication_ignores_the_key() {
    let suite = Suite::start(&virtual_host().await.url).await;
    let login = |password: &str| {
        json!({"action": "auth",
            "auth": {"email": tests::suite::ADMIN, "password": password}})
    };
    let wrong = post(&suite.broker, &[b"one"], &login("wrong")).await;
    assert_eq!(wrong.status, 401, "{}", wrong.text);
    let right = post(&suite.broker, &[b"one"], &login(&suite.admin_password())).await;
    assert_eq!(right.status, 200, "{}", right.text);
    suite.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_is_not_remembered() {
    let mut node = Node::start().await;
    let virtual_host = node.virtual_host().await;
    let broker = broker_and_queue(&virtual_host).await;
    let (known, _) = accepted(&post(&broker, &[b"before"], &entry(&json!(0))).await);

    node.stop().await;
    broker.not_ready().await;
    for _ in 0..2 {
        let away = post(&broker, &[b"one"], &entry(&json!(1))).await;
        away.problem(503);
        assert_eq!(away.json()["type"], "urn:problem:disconnected");
    }
    // What is remembered needs no RabbitMQ.
    let again = post(&broker, &[b"before"], &entry(&json!(0))).await;
    assert_eq!(accepted(&again), (known.clone(), true));

    node.start_again().await;
    broker.ready().await;
    let (id, replayed) = accepted(&post(&broker, &[b"one"], &entry(&json!(1))).await);
    assert!(!replayed);
    let again = post(&broker, &[b"one"], &entry(&json!(1))).await;
    assert_eq!(accepted(&again), (id.clone(), true));

    let kept = virtual_host.management.take(QUEUE).await;
    let ids = kept.iter().map(|event| &event["properties"]["message_id"]);
    assert_eq!(ids.collect::<Vec<_>>(), [&known, &id]);
    broker.stop().await;
}
