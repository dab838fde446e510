//! What becomes of an event that its target does not take at once.

use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::{
    http::{StatusCode, header},
    response::{IntoResponse as _, Redirect},
};
use serde_json::json;
use tests::{
    eventually, http,
    rabbitmq::{Node, signal, virtual_host},
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
        0 => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        1 => StatusCode::REQUEST_TIMEOUT.into_response(),
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
    assert!(waits[0] >= 160 && waits[1] >= 560, "{waits:?}");

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

#[tokio::test(flavor = "multi_thread")]
async fn a_target_is_not_tried_sooner_than_it_asks() {
    let virtual_host = virtual_host().await;
    let dir = tempfile::tempdir().unwrap();
    let target = Target::start(|_, before| match before {
        0 => (
            StatusCode::INTERNAL_SERVER_ERROR,
            [(header::RETRY_AFTER, "1")],
        )
            .into_response(),
        _ => StatusCode::OK.into_response(),
    })
    .await;
    let routes = route(&target, "retry_ms = [100, 5000]");
    let listener = listener_alone(&virtual_host.url, dir.path(), &routes).await;
    listener.ready().await;
    let broker = broker(&virtual_host.url, &Options::default()).await;
    broker.ready().await;

    post(&broker, "event").await;
    let received = target.wait_for(2).await;
    let waited = received[1].at - received[0].at;
    // Its own level would be 0.1 s, and the level that fits is 5 s long.
    assert!((1.0..4.0).contains(&waited.as_secs_f64()), "{waited:?}");
    broker.stop().await;
    listener.stop().await;
}

/// While the target is down the route pauses: the outage costs no event an attempt.
#[tokio::test(flavor = "multi_thread")]
async fn an_outage_of_the_target_makes_no_dead_letters() {
    const EVENTS: usize = 100;
    const ROUTE: &str = "retry_ms = [100, 100, 100, 100, 100]\nconcurrency = 4\nprefetch = 8";
    let virtual_host = virtual_host().await;
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
    let listener = listener_alone(&virtual_host.url, dir.path(), &route(&target, ROUTE)).await;
    listener.ready().await;
    let broker = broker(&virtual_host.url, &Options::default()).await;
    broker.ready().await;
    for number in 0..EVENTS {
        post(&broker, &number.to_string()).await;
    }

    let url = listener.url("/routes");
    let state = eventually("the route pauses", Duration::from_secs(10), || async {
        let state = http::get(&url).await.json()["routes"][0].clone();
        (state["paused"] == true).then_some(state)
    })
    .await;
    assert_eq!(state["reason"], "the target answered 503");
    // Without the breaker every event would have used up its six attempts long before.
    tokio::time::sleep(Duration::from_secs(5)).await;
    let during = target.received();
    assert!(
        during.len() < 30,
        "{} requests to a target that is down",
        during.len()
    );

    down.store(false, Ordering::Relaxed);
    let received = target.wait_for(during.len() + EVENTS).await;
    let delivered: HashSet<_> = received[during.len()..]
        .iter()
        .map(|event| event.header("ce-id").to_owned())
        .collect();
    assert_eq!(delivered.len(), EVENTS);
    let attempts = received
        .iter()
        .map(|event| event.header("x-gw-attempt").parse::<u32>().unwrap());
    assert!(attempts.max() <= Some(3), "attempts were burnt");
    assert_eq!(http::get(&url).await.json()["routes"][0]["paused"], false);
    broker.stop().await;
    listener.stop().await;
    let dead = "events.topic.exchange.queue.one.dead";
    assert!(virtual_host.management.take(dead).await.is_empty());
}

/// RabbitMQ counts each time that a channel ends with an unacknowledged delivery, and gives the
/// message up at the fiftieth. What is held for long must not be among them.
#[tokio::test(flavor = "multi_thread")]
async fn what_waits_for_its_target_for_long_goes_back_to_its_queue() {
    const EVENTS: usize = 3;
    // Of ten minutes' hold each handler has the share of the prefetch: a second.
    const ROUTE: &str = "retry_ms = [60000]\nconcurrency = 1\nprefetch = 600";
    let virtual_host = virtual_host().await;
    let dir = tempfile::tempdir().unwrap();
    let down = Target::down();
    let routes = route(&down, ROUTE).replace("one", "held");
    let listener = listener_alone(&virtual_host.url, dir.path(), &routes).await;
    listener.ready().await;
    let broker = broker(&virtual_host.url, &Options::default()).await;
    broker.ready().await;
    let mut posted = HashSet::new();
    for number in 0..EVENTS {
        posted.insert(post(&broker, &number.to_string()).await);
    }
    let url = listener.url("/metrics");
    let put_back = || async {
        let name = r#"subscription_events_total{route="held",outcome="put_back"}"#;
        http::metric(&url, name).await.unwrap_or_default()
    };
    // Those posted first may have been put back before the last was there. From now on they take
    // turns.
    let before = put_back().await;
    eventually("all are put back", Duration::from_secs(30), || async {
        (put_back().await >= before + 2 * EVENTS).then_some(())
    })
    .await;
    listener.stop().await;
    broker.stop().await;

    let queue = "events.topic.exchange.queue.held";
    let held = virtual_host.management.take(queue).await;
    let ids: HashSet<_> = held
        .iter()
        .map(|message| {
            message["properties"]["message_id"]
                .as_str()
                .unwrap()
                .to_owned()
        })
        .collect();
    assert_eq!(ids, posted);
    assert_eq!(held.len(), EVENTS);
    for message in held {
        let headers = &message["properties"]["headers"];
        assert_eq!(headers["x-gw-attempt"], 1, "{headers}");
        let reason = headers["x-gw-reason"].as_str().unwrap();
        assert!(
            reason.starts_with("the target could not be reached"),
            "{reason}"
        );
        assert_eq!(headers["x-gw-routing-key"], "log.INFO");
    }
}

/// A hand-off whose confirm is late is not published a second time: each copy would be delivered.
#[tokio::test(flavor = "multi_thread")]
async fn a_stall_of_rabbitmq_makes_no_copies_of_an_event() {
    const EVENTS: usize = 10;
    let mut node = Node::start().await;
    let virtual_host = node.virtual_host().await;
    let dir = tempfile::tempdir().unwrap();
    // The events wait in their queue, so that all first attempts are made at one time.
    let nowhere = Target::answering(StatusCode::OK).await;
    let routes = |target: &Target| route(target, "retry_ms = [500]");
    let listener = listener_alone(&virtual_host.url, dir.path(), &routes(&nowhere)).await;
    listener.ready().await;
    listener.stop().await;
    let broker = broker(&virtual_host.url, &Options::default()).await;
    broker.ready().await;
    for number in 0..EVENTS {
        post(&broker, &number.to_string()).await;
    }
    let pid = node.pid();
    let target = Target::start(move |event, before| {
        if before == 0 {
            signal(pid, "STOP");
        }
        match event.header("x-gw-attempt") {
            "1" => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
            _ => StatusCode::OK.into_response(),
        }
    })
    .await;
    let listener = listener_alone(&virtual_host.url, dir.path(), &routes(&target)).await;
    target.wait_for(1).await;
    // Longer than any client waits for a confirm, and shorter than two heartbeats.
    tokio::time::sleep(Duration::from_secs(12)).await;
    signal(pid, "CONT");

    target.wait_for(2 * EVENTS).await;
    broker.stop().await;
    listener.stop().await;
    assert_eq!(
        target.received().len(),
        2 * EVENTS,
        "two attempts for each event"
    );
    let queue = "events.topic.exchange.queue.one";
    for queue in [
        queue.to_owned(),
        format!("{queue}.retry.500"),
        format!("{queue}.dead"),
    ] {
        let left = virtual_host.management.take(&queue).await;
        assert!(left.is_empty(), "{queue}: {left:?}");
    }
    node.stop().await;
}
