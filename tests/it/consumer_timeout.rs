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
    rabbitmq::Node,
    suite::{Options, broker, listener_alone},
    target::Target,
};

/// Two seconds instead of half an hour, looked at twice a second instead of once a minute.
const SHORT: &str = "application:set_env(rabbit, consumer_timeout, 2000), \
                     application:set_env(rabbit, channel_tick_interval, 500).";

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_longer_than_the_consumer_timeout_loses_nothing() {
    const EVENTS: usize = 20;
    let mut node = Node::start().await;
    node.ctl(&["eval", SHORT]).await;
    let virtual_host = node.virtual_host().await;
    let dir = tempfile::tempdir().unwrap();
    let down = Arc::new(AtomicBool::new(true));
    let target = Target::start({
        let down = down.clone();
        move |_, _| match down.load(Ordering::Relaxed) {
            true => StatusCode::SERVICE_UNAVAILABLE.into_response(),
            false => StatusCode::OK.into_response(),
        }
    })
    .await;
    let routes = format!(
        "[[route]]\nname = \"one\"\nbindings = [\"#\"]\ntarget = \"http://{}/\"\nconcurrency = 4\nprefetch = 8\n",
        target.addr
    );
    let listener = listener_alone(&virtual_host.url, dir.path(), &routes).await;
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
    for consuming in [false, true, false, true] {
        let what = format!("consuming: {consuming}");
        eventually(&what, Duration::from_secs(20), || async {
            let route = http::get(&url).await.json()["routes"][0].clone();
            (route["consuming"] == consuming).then_some(())
        })
        .await;
    }
    let tried = target.count();
    assert!(tried < 40, "{tried} requests to a target that is down");
    down.store(false, Ordering::Relaxed);
    eventually("all are delivered", Duration::from_secs(30), || async {
        let received = target.received();
        let delivered: HashSet<_> = received[tried..]
            .iter()
            .map(|event| event.header("ce-id").to_owned())
            .collect();
        (delivered == ids).then_some(())
    })
    .await;
    broker.stop().await;
    listener.stop().await;
    let dead = "events.topic.exchange.queue.one.dead";
    assert!(virtual_host.management.take(dead).await.is_empty());
    node.stop().await;
}
