//! Batches of many small events, which take many times their bytes: as events, and as what became of
//! each.

use std::time::Duration;

use bytes::Bytes;
use tests::{
    eventually,
    proxy::{Mode, Proxy},
    rabbitmq::virtual_host,
};

use super::{ATTACK, Confined, any_listener, attack, part_of, post_log, served};

/// That send batches, at full size.
const SENDERS: usize = 700;
/// As many as a batch may have.
const EVENTS: usize = 1000;

fn batch(event: &str) -> Bytes {
    let body = format!("[{}]", vec![event; EVENTS].join(","));
    let length = body.len();
    format!(
        "POST /events HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\
         Content-Type: application/cloudevents-batch+json\r\n\r\n{body}"
    )
    .into()
}

/// All fail at the same moment, each with its reason.
#[tokio::test(flavor = "multi_thread")]
async fn batches_while_rabbitmq_is_silent() {
    let virtual_host = virtual_host().await;
    let dir = tempfile::tempdir().unwrap();
    let (listener, _target) = any_listener(&virtual_host, dir.path()).await;
    let proxy = Proxy::start(virtual_host.server()).await;
    let amqp_url = virtual_host.url_through(proxy.addr);
    let environment = [
        ("AMQP_URL", amqp_url.as_str()),
        ("PUBLISH_TIMEOUT_MS", "700"),
    ];
    let broker = Confined::start("broker-service", dir.path(), &environment).await;
    proxy.set(Mode::HalfOpen).await;
    let event = r#"{"specversion":"1.0","id":"1","type":"a.b","source":"/"}"#;
    let attack = attack(broker.process.addr, part_of(SENDERS), &batch(event));
    served(ATTACK, async || {
        let answer = post_log(&broker.process).await;
        assert_eq!(answer.status, 503, "{}", answer.text);
    })
    .await;
    proxy.set(Mode::Pass).await;
    drop(attack);
    eventually(
        "an event is accepted",
        Duration::from_secs(20),
        async || (post_log(&broker.process).await.status == 202).then_some(()),
    )
    .await;
    broker.end().await;
    listener.stop().await;
}
