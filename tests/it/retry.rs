//! What becomes of an event that its target does not take at once.

use axum::{
    http::StatusCode,
    response::{IntoResponse as _, Redirect},
};
use serde_json::json;
use tests::{
    http,
    rabbitmq::virtual_host,
    suite::{Options, broker, listener_alone},
    target::Target,
};

/// A listener with one route, for everything, to `target`.
fn route(target: &Target, more: &str) -> String {
    format!(
        "[[route]]\nname = \"one\"\nbindings = [\"#\"]\ntarget = \"http://{}/events\"\n{more}\n",
        target.addr
    )
}

async fn post(broker: &tests::suite::Service, name: &str) -> String {
    let body = json!({"action": "log", "log": {"name": name, "data": 1}});
    let answer = http::post(&broker.url("/handle"), &body).await;
    assert_eq!(answer.status, 202, "{}", answer.text);
    answer.json()["data"]["id"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_gets_the_event_as_cloudevents_binary_mode() {
    let virtual_host = virtual_host().await;
    let dir = tempfile::tempdir().unwrap();
    let target = Target::answering(StatusCode::NO_CONTENT).await;
    let listener = listener_alone(&virtual_host.url, dir.path(), &route(&target, "")).await;
    listener.ready().await;
    let broker = broker(&virtual_host.url, &Options::default()).await;
    broker.ready().await;

    let id = post(&broker, "event").await;
    let received = target.wait_for(1).await.remove(0);
    assert_eq!(received.header("ce-specversion"), "1.0");
    assert_eq!(received.header("ce-id"), id);
    assert_eq!(received.header("ce-type"), "log.INFO");
    assert_eq!(received.header("ce-source"), "broker-service");
    assert!(received.header("ce-time").ends_with('Z'));
    assert_eq!(received.header("idempotency-key"), id);
    assert_eq!(received.header("x-gw-attempt"), "1");
    assert_eq!(received.header("content-type"), "application/json");
    assert_eq!(received.body, r#"{"data":1,"name":"event"}"#);
    broker.stop().await;
    listener.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_target_is_tried_again_along_the_ladder() {
    let virtual_host = virtual_host().await;
    let dir = tempfile::tempdir().unwrap();
    let target = Target::start(|_, before| match before {
        0 => StatusCode::SERVICE_UNAVAILABLE.into_response(),
        1 => StatusCode::TOO_MANY_REQUESTS.into_response(),
        _ => StatusCode::OK.into_response(),
    })
    .await;
    let routes = route(&target, "retry_ms = [200, 700]");
    let listener = listener_alone(&virtual_host.url, dir.path(), &routes).await;
    listener.ready().await;
    let broker = broker(&virtual_host.url, &Options::default()).await;
    broker.ready().await;

    let id = post(&broker, "event").await;
    let received = target.wait_for(3).await;
    for (number, attempt) in (1..).zip(&received) {
        assert_eq!(attempt.header("ce-id"), id);
        assert_eq!(attempt.header("ce-type"), "log.INFO");
        assert_eq!(attempt.header("x-gw-attempt"), number.to_string());
        assert_eq!(attempt.body, received[0].body);
    }
    let waits = received
        .windows(2)
        .map(|pair| (pair[1].at - pair[0].at).as_millis());
    let waits: Vec<_> = waits.collect();
    assert!(waits[0] >= 200 && waits[1] >= 700, "{waits:?}");

    broker.stop().await;
    listener.stop().await;
    let queue = "events.topic.exchange.queue.one";
    assert!(virtual_host.management.take(queue).await.is_empty());
    assert!(
        virtual_host
            .management
            .take(&format!("{queue}.dead"))
            .await
            .is_empty()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redirect_is_not_followed() {
    let virtual_host = virtual_host().await;
    let dir = tempfile::tempdir().unwrap();
    let elsewhere = Target::answering(StatusCode::OK).await;
    let location = format!("http://{}/", elsewhere.addr);
    let target = Target::start(move |_, _| Redirect::temporary(&location).into_response()).await;
    let listener = listener_alone(&virtual_host.url, dir.path(), &route(&target, "")).await;
    listener.ready().await;
    let broker = broker(&virtual_host.url, &Options::default()).await;
    broker.ready().await;

    let id = post(&broker, "event").await;
    let dead = crate::dead_letter::wait(&virtual_host.management, "one").await;
    assert_eq!(dead["properties"]["message_id"], id);
    assert_eq!(dead["properties"]["headers"]["x-gw-status"], 307);
    assert!(elsewhere.received().is_empty());
    broker.stop().await;
    listener.stop().await;
}

/// A slow target of one route delays no event of another.
#[tokio::test(flavor = "multi_thread")]
async fn one_route_does_not_wait_for_another() {
    let virtual_host = virtual_host().await;
    let dir = tempfile::tempdir().unwrap();
    let broken = Target::answering(StatusCode::INTERNAL_SERVER_ERROR).await;
    let good = Target::answering(StatusCode::OK).await;
    let routes = format!(
        "{}{}",
        route(&broken, "concurrency = 1\nprefetch = 1"),
        route(&good, "").replace("\"one\"", "\"two\"")
    );
    let listener = listener_alone(&virtual_host.url, dir.path(), &routes).await;
    listener.ready().await;
    let broker = broker(&virtual_host.url, &Options::default()).await;
    broker.ready().await;

    for number in 0..20 {
        post(&broker, &number.to_string()).await;
    }
    good.wait_for(20).await;
    broker.stop().await;
    listener.stop().await;
}
