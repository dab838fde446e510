//! What is declared, by whom, and what happens when it is not there or is not as it should be.

use std::{collections::BTreeSet, time::Duration};

use axum::http::StatusCode;
use lapin::{Connection, ConnectionProperties, options::QueueDeclareOptions, types::FieldTable};
use serde_json::json;
use tests::{
    http,
    management::Management,
    rabbitmq::{Node, virtual_host},
    suite::{Options, Suite, broker, listener_alone},
    target::Target,
};

const LOGGER_QUEUE: &str = "events.topic.exchange.queue.logger";

#[tokio::test(flavor = "multi_thread")]
async fn the_listener_declares_what_the_design_says() {
    let virtual_host = virtual_host().await;
    let suite = Suite::start(&virtual_host.url).await;
    let mut queues = virtual_host.management.queues().await;
    queues.sort();
    assert_eq!(
        queues,
        [
            "auth-service.direct.exchange.request.queue".to_owned(),
            LOGGER_QUEUE.to_owned(),
            format!("{LOGGER_QUEUE}.dead"),
            format!("{LOGGER_QUEUE}.retry.1000"),
            format!("{LOGGER_QUEUE}.retry.120000"),
            format!("{LOGGER_QUEUE}.retry.30000"),
            format!("{LOGGER_QUEUE}.retry.5000"),
            format!("{LOGGER_QUEUE}.retry.600000"),
        ]
    );
    assert_eq!(
        virtual_host.management.arguments(LOGGER_QUEUE).await,
        json!({
            "x-queue-type": "quorum",
            "x-delivery-limit": 50,
            "x-dead-letter-exchange": "gw.retry",
            "x-dead-letter-routing-key": format!("{LOGGER_QUEUE}.dead"),
            "x-dead-letter-strategy": "at-least-once",
            "x-overflow": "reject-publish",
        })
    );
    suite.stop().await;
}

/// The broker's producers name no queue; without a listener there is none, and they are told.
#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_no_queue_is_bound_for_is_not_accepted() {
    let virtual_host = virtual_host().await;
    let broker = broker(&virtual_host.url, &Options::default()).await;
    broker.ready().await;
    let body = json!({"action": "log", "log": {"name": "event", "data": 1}});
    let answer = http::post(&broker.url("/handle"), &body).await;
    assert!(
        answer
            .problem(503)
            .contains("no queue is bound for log.INFO")
    );
    assert_eq!(answer.json()["type"], "urn:problem:unroutable");
    assert!(answer.headers.contains_key("retry-after"));
    let body = json!({"action": "auth", "auth": {"email": "a@example.com", "password": "b"}});
    http::post(&broker.url("/handle"), &body).await.problem(503);
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn deleted_queues_and_exchanges_are_declared_again() {
    // A node of its own: deleting queues is what RabbitMQ itself takes worst.
    let mut node = Node::start().await;
    let virtual_host = node.virtual_host().await;
    let suite = Suite::start(&virtual_host.url).await;
    let consuming = async |expected: bool| {
        let url = suite.listener.url("/routes");
        tests::eventually("the logger's route", Duration::from_secs(20), || async {
            let routes = http::get(&url).await.json();
            (routes["routes"][0]["consuming"] == expected).then_some(())
        })
        .await;
    };
    for _ in 0..2 {
        virtual_host.management.delete_queue(LOGGER_QUEUE).await;
        consuming(false).await;
        consuming(true).await;
    }
    suite.ready().await;
    let answer = suite
        .log(json!({"name": "after the queue", "data": 1}))
        .await;
    assert_eq!(answer.status, 202, "{}", answer.text);
    suite
        .logged(answer.json()["data"]["id"].as_str().unwrap())
        .await;

    // Its bindings went with the exchange, and RabbitMQ told nobody.
    virtual_host
        .management
        .delete_exchange("events.topic.exchange")
        .await;
    let answer = tests::eventually("accepted again", Duration::from_secs(20), || async {
        let answer = suite
            .log(json!({"name": "after the exchange", "data": 1}))
            .await;
        assert!(
            answer.status == 202 || answer.status == 503,
            "{}",
            answer.text
        );
        (answer.status == 202).then_some(answer)
    })
    .await;
    suite
        .logged(answer.json()["data"]["id"].as_str().unwrap())
        .await;
    suite.stop().await;
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_with_other_arguments_is_named_and_stops_no_other_route() {
    let virtual_host = virtual_host().await;
    let other = Connection::connect(&virtual_host.url, ConnectionProperties::default())
        .await
        .unwrap();
    let channel = other.create_channel().await.unwrap();
    let classic = QueueDeclareOptions {
        durable: true,
        ..QueueDeclareOptions::default()
    };
    let taken = "events.topic.exchange.queue.taken";
    channel
        .queue_declare(taken.into(), classic, FieldTable::default())
        .await
        .unwrap();

    let dir = tempfile::tempdir().unwrap();
    let target = Target::answering(StatusCode::OK).await;
    let route = |name: &str| {
        format!(
            "[[route]]\nname = \"{name}\"\nbindings = [\"#\"]\ntarget = \"http://{}/\"\n",
            target.addr
        )
    };
    let routes = format!("{}{}", route("taken"), route("good"));
    let listener = listener_alone(&virtual_host.url, dir.path(), &routes).await;
    let broker = broker(&virtual_host.url, &Options::default()).await;
    broker.ready().await;
    let body = json!({"action": "log", "log": {"name": "event", "data": 1}});
    tests::eventually(
        "the good route's queue",
        Duration::from_secs(10),
        || async { (http::post(&broker.url("/handle"), &body).await.status == 202).then_some(()) },
    )
    .await;
    target.wait_for(1).await;

    let reason = tests::eventually("the reason", Duration::from_secs(10), || async {
        let reason = http::get(&listener.url("/readyz")).await.problem(503);
        reason.contains("PRECONDITION").then_some(reason)
    })
    .await;
    assert!(
        reason.contains(taken) && !reason.contains("good:"),
        "{reason}"
    );
    // The broken route tries again all the time; nobody else's connection may end by that.
    let before = connections(&virtual_host.management).await;
    tokio::time::sleep(Duration::from_secs(8)).await;
    assert_eq!(connections(&virtual_host.management).await, before);
    broker.stop().await;
    listener.stop().await;
}

/// Connections as RabbitMQ knows them, once it knows those of broker, listener and test: it tells
/// of new ones a few seconds late.
async fn connections(management: &Management) -> BTreeSet<String> {
    tests::eventually("four connections", Duration::from_secs(20), || async {
        let connections = management.connections().await;
        (connections.len() == 4).then_some(connections)
    })
    .await
}
