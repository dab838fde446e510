//! Events that no attempt could deliver.

use std::time::Duration;

use axum::http::StatusCode;
use lapin::{
    BasicProperties, Connection, ConnectionProperties,
    options::BasicPublishOptions,
    types::{AMQPValue, FieldArray, FieldTable},
};
use serde_json::{Value, json};
use tests::{
    eventually, http,
    management::Management,
    rabbitmq::virtual_host,
    suite::{Options, broker, listener_alone},
    target::Target,
};

/// Waits for a dead letter of a route, and takes it.
pub(crate) async fn wait(management: &Management, route: &str) -> Value {
    let queue = format!("events.topic.exchange.queue.{route}.dead");
    eventually(&queue, Duration::from_secs(20), || async {
        management.take(&queue).await.pop()
    })
    .await
}

fn routes(target: &Target) -> String {
    format!(
        "[[route]]\nname = \"one\"\nbindings = [\"#\"]\ntarget = \"http://{}/\"\nretry_ms = [50, 100]\n",
        target.addr
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn after_the_last_attempt_the_event_is_a_dead_letter_with_its_story() {
    let virtual_host = virtual_host().await;
    let dir = tempfile::tempdir().unwrap();
    let target = Target::answering(StatusCode::INTERNAL_SERVER_ERROR).await;
    let listener = listener_alone(&virtual_host.url, dir.path(), &routes(&target)).await;
    listener.ready().await;
    let broker = broker(&virtual_host.url, &Options::default()).await;
    broker.ready().await;

    let body = json!({"action": "log", "log": {"name": "doomed", "data": 1}});
    let answer = http::post(&broker.url("/handle"), &body).await;
    let id = answer.json()["data"]["id"].as_str().unwrap().to_owned();

    let dead = wait(&virtual_host.management, "one").await;
    let headers = &dead["properties"]["headers"];
    assert_eq!(target.received().len(), 3);
    assert_eq!(dead["properties"]["message_id"], id);
    assert_eq!(dead["properties"]["delivery_mode"], 2);
    assert_eq!(dead["payload"], r#"{"data":1,"name":"doomed"}"#);
    assert_eq!(headers["x-gw-attempt"], 3);
    assert_eq!(headers["x-gw-status"], 500);
    assert_eq!(headers["x-gw-routing-key"], "log.INFO");
    assert_eq!(headers["x-gw-exchange"], "events.topic.exchange");
    assert_eq!(
        headers["x-gw-reason"],
        "the target answered 500, in the last of 3 attempts"
    );
    let time = |name: &str| headers[name].as_str().unwrap().to_owned();
    assert!(time("x-gw-first-failure") < time("x-gw-last-failure"));
    broker.stop().await;
    listener.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_event_is_a_dead_letter_at_once() {
    let virtual_host = virtual_host().await;
    let dir = tempfile::tempdir().unwrap();
    let target = Target::answering(StatusCode::CONFLICT).await;
    let listener = listener_alone(&virtual_host.url, dir.path(), &routes(&target)).await;
    listener.ready().await;
    let broker = broker(&virtual_host.url, &Options::default()).await;
    broker.ready().await;

    let body = json!({"action": "log", "log": {"name": "refused", "data": 1}});
    http::post(&broker.url("/handle"), &body).await;
    let dead = wait(&virtual_host.management, "one").await;
    assert_eq!(dead["properties"]["headers"]["x-gw-status"], 409);
    assert_eq!(target.received().len(), 1);
    broker.stop().await;
    listener.stop().await;
}

/// Messages of any other program take the same way, whatever is wrong with them.
#[tokio::test(flavor = "multi_thread")]
async fn a_message_of_another_producer_is_delivered_or_a_dead_letter() {
    let virtual_host = virtual_host().await;
    let dir = tempfile::tempdir().unwrap();
    let target = Target::answering(StatusCode::UNPROCESSABLE_ENTITY).await;
    let listener = listener_alone(&virtual_host.url, dir.path(), &routes(&target)).await;
    listener.ready().await;

    let other = Connection::connect(&virtual_host.url, ConnectionProperties::default())
        .await
        .unwrap();
    let channel = other.create_channel().await.unwrap();
    let mut headers = FieldTable::default();
    headers.insert("cloudEvents_id".into(), AMQPValue::Boolean(true));
    // With its copy beside it this would not fit into a frame.
    let long = AMQPValue::LongString("x".repeat(70_000).into());
    headers.insert("cloudEvents:subject".into(), long);
    headers.insert("x-gw-attempt".into(), AMQPValue::LongLongInt(i64::MIN));
    headers.insert(
        "name\nwith a break".into(),
        AMQPValue::LongString(vec![0xff].into()),
    );
    let mut copies = FieldArray::default();
    copies.push(AMQPValue::LongString("elsewhere".into()));
    headers.insert("CC".into(), AMQPValue::FieldArray(copies));
    #[expect(clippy::disallowed_methods, reason = "this plays another program")]
    let publish = channel.basic_publish(
        "events.topic.exchange".into(),
        "not a valid key\u{e9}".into(),
        BasicPublishOptions::default(),
        &[0x00, 0xff, 0xfe],
        BasicProperties::default()
            .with_headers(headers)
            .with_reply_to("elsewhere".into()),
    );
    publish.await.unwrap();

    let dead = wait(&virtual_host.management, "one").await;
    let received = target.received();
    assert_eq!(received.len(), 1);
    assert_eq!(received[0].body.as_ref(), [0x00, 0xff, 0xfe]);
    assert_eq!(received[0].header("x-gw-attempt"), "1");
    assert_eq!(
        received[0].header("ce-id"),
        dead["properties"]["message_id"]
    );
    assert_eq!(received[0].header("ce-type"), "not%20a%20valid%20key%C3%A9");
    assert!(dead["properties"]["headers"]["CC"].is_null());
    assert_eq!(dead["properties"]["reply_to"], "elsewhere");
    listener.stop().await;
}
