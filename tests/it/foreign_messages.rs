//! Messages of other producers that are strange, large or forged: delivered, or a dead letter with
//! its reason, in one pass.

use axum::http::StatusCode;
use lapin::{
    BasicProperties,
    types::{AMQPValue, FieldTable},
};
use serde_json::Value;
use tests::{
    foreign::Foreign,
    rabbitmq::{VirtualHost, virtual_host},
    suite::{Service, listener_alone},
    target::Target,
};

const QUEUE: &str = "events.topic.exchange.queue.one";

async fn listener(virtual_host: &VirtualHost, target: &Target) -> Service {
    let dir = tempfile::tempdir().unwrap();
    let routes = format!(
        "[[route]]\nname = \"one\"\nbindings = [\"#\"]\ntarget = \"http://{}/\"\nretry_ms = [100]\n",
        target.addr
    );
    let listener = listener_alone(&virtual_host.url, dir.path(), &routes).await;
    listener.ready().await;
    listener
}

async fn publish(
    virtual_host: &VirtualHost,
    exchange: &str,
    key: &str,
    properties: BasicProperties,
    body: &[u8],
) {
    let foreign = Foreign::connect(&virtual_host.url).await;
    foreign.publish(exchange, key, properties, body).await;
    foreign.close().await;
}

async fn dead(virtual_host: &VirtualHost) -> Value {
    crate::dead_letter::wait(&virtual_host.management, "one").await
}

/// Nearly as large as RabbitMQ 4 takes; a target that takes less refuses it, once.
#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_too_large_for_its_target_is_a_dead_letter() {
    let virtual_host = virtual_host().await;
    let target = Target::answering(StatusCode::OK).await;
    let listener = listener(&virtual_host, &target).await;
    let body = vec![b'x'; 15 * 1024 * 1024];
    let exchange = "events.topic.exchange";
    publish(
        &virtual_host,
        exchange,
        "large",
        BasicProperties::default(),
        &body,
    )
    .await;
    let dead = dead(&virtual_host).await;
    assert_eq!(dead["properties"]["headers"]["x-gw-status"], 413);
    assert_eq!(dead["properties"]["headers"]["x-gw-attempt"], 1);
    assert_eq!(dead["payload_bytes"], body.len());
    assert_eq!(target.count(), 0, "refused before its handler");
    // The next one is delivered.
    publish(
        &virtual_host,
        exchange,
        "empty",
        BasicProperties::default(),
        b"",
    )
    .await;
    let received = target.wait_for(1).await;
    assert_eq!(received[0].header("ce-type"), "empty");
    assert_eq!(
        received[0].header("ce-source"),
        "amqp:events.topic.exchange"
    );
    assert!(!received[0].headers.contains_key("content-type"));
    assert_eq!(received[0].header("content-length"), "0");
    assert_eq!(received[0].header("ce-id").len(), 36);
    assert!(received[0].body.is_empty());
    listener.stop().await;
}

/// A publisher to the retry exchange can claim any number of attempts, and gains nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_forged_count_of_attempts_ends_in_the_dead_letters() {
    let virtual_host = virtual_host().await;
    let target = Target::answering(StatusCode::INTERNAL_SERVER_ERROR).await;
    let listener = listener(&virtual_host, &target).await;
    for (count, attempts) in [(i64::from(u32::MAX), 1), (-1, 2), (i64::MAX, 2), (0, 2)] {
        let before = target.count();
        let mut headers = FieldTable::default();
        headers.insert("x-gw-attempt".into(), AMQPValue::LongLongInt(count));
        let properties = BasicProperties::default()
            .with_headers(headers)
            .with_reply_to("elsewhere".into());
        publish(&virtual_host, "gw.retry", QUEUE, properties, b"forged").await;
        let dead = dead(&virtual_host).await;
        assert_eq!(dead["properties"]["headers"]["x-gw-status"], 500, "{count}");
        assert_eq!(dead["properties"]["reply_to"], "elsewhere");
        assert_eq!(target.count() - before, attempts, "{count}");
    }
    listener.stop().await;
}
