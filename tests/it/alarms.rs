//! RabbitMQ that is short of memory or disk: it takes no publishes, and goes on delivering.

use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

use axum::{http::StatusCode, response::IntoResponse as _};
use serde_json::json;
use tests::{
    eventually, http,
    rabbitmq::Node,
    suite::{Options, Service, broker_config, listener_alone},
    target::Target,
};
use tokio_util::sync::CancellationToken;

const PREFETCH: usize = 2;
const BACKLOG: usize = 20;

/// Long, so that an answer within it shows that nobody waited for it.
const PUBLISH_TIMEOUT: Duration = Duration::from_secs(25);

async fn broker(amqp_url: &str) -> Service {
    let mut config = broker_config(amqp_url, &Options::default());
    config.publish_timeout = PUBLISH_TIMEOUT;
    let broker =
        Service::start(|listener, shutdown| broker_service::run(config, listener, shutdown)).await;
    broker.ready().await;
    broker
}

async fn post(broker: &Service, name: &str) -> http::Answer {
    let body = json!({"action": "log", "log": {"name": name, "data": 1}});
    http::post(&broker.url("/handle"), &body).await
}

/// A target that answers nobody until it is opened.
async fn gated(gate: CancellationToken) -> Target {
    Target::start_slow(move |_, _| {
        let gate = gate.clone();
        async move {
            gate.cancelled().await;
            StatusCode::OK.into_response()
        }
    })
    .await
}

/// Raises an alarm by `set` with a backlog in the queue, and ends it by `reset`.
async fn publishing_is_refused_and_deliveries_go_on(set: [&str; 2], reset: [&str; 2]) {
    let mut node = Node::start().await;
    let virtual_host = node.virtual_host().await;
    let dir = tempfile::tempdir().unwrap();
    let gate = CancellationToken::new();
    let target = gated(gate.clone()).await;
    let routes = format!(
        "[[route]]\nname = \"one\"\nbindings = [\"#\"]\ntarget = \"http://{}/\"\n\
         timeout_ms = 600000\nconcurrency = {PREFETCH}\nprefetch = {PREFETCH}\n",
        target.addr
    );
    let listener = listener_alone(&virtual_host.url, dir.path(), &routes).await;
    listener.ready().await;
    let broker = broker(&virtual_host.url).await;
    let mut accepted = HashSet::new();
    for number in 0..BACKLOG {
        let answer = post(&broker, &number.to_string()).await;
        assert_eq!(answer.status, 202, "{}", answer.text);
        accepted.insert(answer.json()["data"]["id"].as_str().unwrap().to_owned());
    }

    node.ctl(&set).await;
    // RabbitMQ says that it blocks once somebody publishes; what was under way then is uncertain.
    let begun = Instant::now();
    let first = post(&broker, "uncertain").await;
    assert!(
        begun.elapsed() < PUBLISH_TIMEOUT / 2,
        "{:?}",
        begun.elapsed()
    );
    first.problem(503);
    assert_eq!(first.json()["type"], "urn:problem:unconfirmed");
    assert!(first.headers.contains_key("retry-after"));
    let uncertain = first.json()["id"].as_str().unwrap().to_owned();
    assert!(broker.not_ready().await.contains("blocks publishing"));
    for _ in 0..5 {
        let refused = post(&broker, "refused").await;
        refused.problem(503);
        assert_eq!(refused.json()["type"], "urn:problem:blocked");
    }
    // More than the prefetch come only if acknowledgements get through.
    gate.cancel();
    target.wait_for(BACKLOG).await;

    node.ctl(&reset).await;
    broker.ready().await;
    let after = eventually("accepted again", Duration::from_secs(10), || async {
        let answer = post(&broker, "after").await;
        (answer.status == 202).then(|| answer.json()["data"]["id"].clone())
    })
    .await;
    accepted.insert(after.as_str().unwrap().to_owned());
    eventually("all are delivered", Duration::from_secs(20), || async {
        let received = target.received();
        let delivered: HashSet<_> = received.iter().map(|event| event.header("ce-id")).collect();
        accepted
            .iter()
            .all(|id| delivered.contains(id.as_str()))
            .then_some(())
    })
    .await;
    for event in target.received() {
        let id = event.header("ce-id");
        assert!(accepted.contains(id) || id == uncertain, "{id} was refused");
    }
    let metrics = http::get(&broker.url("/metrics")).await.text;
    for outcome in ["accepted", "unconfirmed", "blocked"] {
        for name in ["publishes_total", "publish_duration_seconds_count"] {
            let series = format!("broker_{name}{{outcome=\"{outcome}\"}} ");
            assert!(metrics.contains(&series), "no {series}: {metrics}");
        }
    }
    broker.stop().await;
    listener.stop().await;
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_memory_alarm_stops_publishing_alone() {
    let set = ["set_vm_memory_high_watermark", "0"];
    let reset = ["set_vm_memory_high_watermark", "0.6"];
    publishing_is_refused_and_deliveries_go_on(set, reset).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_alarm_stops_publishing_alone() {
    let set = ["set_disk_free_limit", "1000000000000000"];
    let reset = ["set_disk_free_limit", "1000000"];
    publishing_is_refused_and_deliveries_go_on(set, reset).await;
}
