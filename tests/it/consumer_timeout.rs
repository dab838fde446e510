//! RabbitMQ closes the channel of a consumer that holds a delivery for too long
//! (`consumer_timeout`), which a listener does whose target is down.

use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::{http::StatusCode, response::IntoResponse as _};
use serde_json::json;
use tests::{
    eventually, http,
    process::Process,
    rabbitmq::Node,
    suite::{Options, Service, broker, listener_alone},
    target::Target,
};

/// A node whose consumer timeout is this instead of half an hour, and looked at twice a second
/// instead of once a minute.
async fn node(timeout_ms: u32) -> Node {
    let node = Node::start().await;
    let timeout = format!("application:set_env(rabbit, consumer_timeout, {timeout_ms})");
    let look = "application:set_env(rabbit, channel_tick_interval, 500)";
    node.ctl(&["eval", &format!("{timeout}, {look}.")]).await;
    node
}

/// A target that is down while this says so.
async fn target(down: Arc<AtomicBool>) -> Target {
    Target::start(move |_, _| match down.load(Ordering::Relaxed) {
        true => StatusCode::SERVICE_UNAVAILABLE.into_response(),
        false => StatusCode::OK.into_response(),
    })
    .await
}

async fn post(broker: &Service, events: usize) -> HashSet<String> {
    let mut ids = HashSet::new();
    for number in 0..events {
        let body = json!({"action": "log", "log": {"name": "held", "data": number}});
        let answer = http::post(&broker.url("/handle"), &body).await;
        ids.insert(answer.json()["data"]["id"].as_str().unwrap().to_owned());
    }
    ids
}

/// Waits until the target, after its first `tried` requests, got all of `ids`.
async fn all_delivered(target: &Target, tried: usize, ids: &HashSet<String>) {
    eventually("all are delivered", Duration::from_secs(30), || async {
        let received = target.received();
        let delivered: HashSet<_> = received[tried..]
            .iter()
            .map(|event| event.header("ce-id").to_owned())
            .collect();
        (delivered == *ids).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_longer_than_the_consumer_timeout_loses_nothing() {
    let mut node = node(2_000).await;
    let virtual_host = node.virtual_host().await;
    let dir = tempfile::tempdir().unwrap();
    let down = Arc::new(AtomicBool::new(true));
    let target = target(down.clone()).await;
    let text = format!(
        "[[route]]\nname = \"one\"\nbindings = [\"#\"]\ntarget = \"http://{}/\"\nconcurrency = 4\nprefetch = 8\n",
        target.addr
    );
    let routes = dir.path().join("routes.toml");
    std::fs::write(&routes, text).unwrap();
    let environment = [
        ("AMQP_URL", virtual_host.url.as_str()),
        ("ROUTES_FILE", routes.to_str().unwrap()),
        ("DEAD_LETTERS", "queue"),
    ];
    let mut listener = Process::start("listener-service", dir.path(), &environment).await;
    listener.ready().await;
    let broker = broker(&virtual_host.url, &Options::default()).await;
    broker.ready().await;
    let ids = post(&broker, 20).await;

    // It cannot be asked for beforehand, so this is when an operator reads of it.
    let struck = "raise its consumer_timeout";
    eventually("it strikes twice", Duration::from_secs(40), async || {
        (listener.log().matches(struck).count() >= 2).then_some(())
    })
    .await;
    let tried = target.count();
    assert!(tried < 40, "{tried} requests to a target that is down");
    down.store(false, Ordering::Relaxed);
    all_delivered(&target, tried, &ids).await;
    broker.stop().await;
    listener.terminate().await;
    let dead = "events.topic.exchange.queue.one.dead";
    assert!(virtual_host.management.take(dead).await.is_empty());
    node.stop().await;
}

/// RabbitMQ counts each return of a delivery to its queue, and moves what was returned too often to
/// the dead letters, be it tried or not. So what is held for long is put back by a copy.
#[tokio::test(flavor = "multi_thread")]
async fn a_long_outage_uses_up_no_delivery_limit() {
    /// At 0.6 s each, three times the consumer timeout.
    const PUT_BACK: usize = 30;
    let mut node = node(6_000).await;
    let virtual_host = node.virtual_host().await;
    let limit = json!({"delivery-limit": 1});
    virtual_host
        .management
        .set_policy("limit", "queue.limited$", limit)
        .await;
    let dir = tempfile::tempdir().unwrap();
    let down = Arc::new(AtomicBool::new(true));
    let target = target(down.clone()).await;
    // The share of one delivery in the ten minutes that a whole prefetch may be held.
    let routes = format!(
        "[[route]]\nname = \"limited\"\nbindings = [\"#\"]\ntarget = \"http://{}/\"\nconcurrency = 1\nprefetch = 1000\n",
        target.addr
    );
    let listener = listener_alone(&virtual_host.url, dir.path(), &routes).await;
    listener.ready().await;
    let broker = broker(&virtual_host.url, &Options::default()).await;
    broker.ready().await;
    let ids = post(&broker, 3).await;

    let metrics = listener.url("/metrics");
    let series = "subscription_events_total{route=\"limited\",outcome=\"put_back\"}";
    eventually("held and put back", Duration::from_secs(60), || async {
        (http::metric(&metrics, series).await? >= PUT_BACK).then_some(())
    })
    .await;
    let tried = target.count();
    down.store(false, Ordering::Relaxed);
    all_delivered(&target, tried, &ids).await;
    let attempts = target.received();
    let attempts = attempts.iter().map(|event| event.header("x-gw-attempt"));
    assert!(attempts.max() <= Some("5"), "attempts were burnt");
    broker.stop().await;
    listener.stop().await;
    let dead = "events.topic.exchange.queue.limited.dead";
    assert!(virtual_host.management.take(dead).await.is_empty());
    node.stop().await;
}
