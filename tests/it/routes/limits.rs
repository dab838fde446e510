//! How many, and which, events a target gets.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use axum::{
    http::{StatusCode, Version},
    response::IntoResponse as _,
};
use lapin::BasicProperties;
use tests::{
    eventually, foreign::Foreign, http, rabbitmq::virtual_host, suite::listener_alone,
    target::Target,
};

use super::route;

#[tokio::test(flavor = "multi_thread")]
async fn a_target_gets_no_more_in_a_second_than_its_route_says() {
    const RATE: usize = 20;
    const EVENTS: usize = 60;
    let virtual_host = virtual_host().await;
    let dir = tempfile::tempdir().unwrap();
    let target = Target::answering(StatusCode::OK).await;
    let lines = format!("bindings = [\"#\"]\nrate_per_second = {RATE}");
    let routes = route("slow", &target, &lines);
    let listener = listener_alone(&virtual_host.url, dir.path(), &routes).await;
    listener.ready().await;
    let publisher = Foreign::connect(&virtual_host.url).await;
    for number in 0..EVENTS {
        let body = number.to_string();
        let properties = BasicProperties::default();
        publisher
            .publish("events.topic.exchange", "a", properties, body.as_bytes())
            .await;
    }
    let received = target.wait_for(EVENTS).await;
    let times: Vec<_> = received.iter().map(|event| event.at).collect();
    // Twice as many in a second would be a limit that does not hold; some may come a little late,
    // and so nearer to the next.
    let most = times.iter().map(|from| {
        let end = *from + Duration::from_secs(1);
        times.iter().filter(|at| *at >= from && **at < end).count()
    });
    let most = most.max().unwrap();
    assert!(most < RATE * 3 / 2, "{most} in a second");
    listener.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_route_does_not_want_takes_no_turn_of_its_rate() {
    let virtual_host = virtual_host().await;
    let dir = tempfile::tempdir().unwrap();
    let target = Target::answering(StatusCode::OK).await;
    let lines = "bindings = [\"#\"]\ntypes = [\"wanted\"]\nrate_per_second = 1";
    let routes = route("few", &target, lines);
    let listener = listener_alone(&virtual_host.url, dir.path(), &routes).await;
    listener.ready().await;
    let publisher = Foreign::connect(&virtual_host.url).await;
    for number in 0..=60 {
        let key = if number < 60 { "other" } else { "wanted" };
        let properties = BasicProperties::default();
        publisher
            .publish("events.topic.exchange", key, properties, b"{}")
            .await;
    }
    let begun = Instant::now();
    target.wait_for(1).await;
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(15), "{took:?}");
    listener.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_gets_the_types_it_is_for_and_the_rest_is_done_with() {
    let virtual_host = virtual_host().await;
    let dir = tempfile::tempdir().unwrap();
    let target = Target::answering(StatusCode::OK).await;
    let lines = "bindings = [\"#\"]\ntypes = [\"order.*\", \"mail.#\"]";
    let routes = route("some", &target, lines);
    let listener = listener_alone(&virtual_host.url, dir.path(), &routes).await;
    listener.ready().await;
    let publisher = Foreign::connect(&virtual_host.url).await;
    let types = [
        "order.placed",
        "order.item.placed",
        "mail",
        "log.INFO",
        "mail.sent.late",
    ];
    for event_type in types {
        let properties = BasicProperties::default();
        publisher
            .publish("events.topic.exchange", event_type, properties, b"{}")
            .await;
    }
    let ignored = r#"subscription_events_total{route="some",outcome="ignored"}"#;
    let url = listener.url("/metrics");
    eventually("two are ignored", Duration::from_secs(20), || async {
        (http::metric(&url, ignored).await == Some(2)).then_some(())
    })
    .await;
    let received = target.wait_for(3).await;
    let mut got: Vec<_> = received
        .iter()
        .map(|event| event.header("ce-type"))
        .collect();
    got.sort_unstable();
    assert_eq!(got, ["mail", "mail.sent.late", "order.placed"]);
    listener.stop().await;
    for queue in virtual_host.management.queues().await {
        assert_eq!(virtual_host.left(&queue).await, 0, "{queue}");
    }
}

/// It refuses what is too much for it at once, which is a small part of what it gets.
#[tokio::test(flavor = "multi_thread")]
async fn a_target_gets_as_much_at_once_as_it_takes() {
    const AT_ONCE: usize = 12;
    const EVENTS: usize = 1_000;
    let virtual_host = virtual_host().await;
    let dir = tempfile::tempdir().unwrap();
    let at_work = Arc::new(AtomicUsize::new(0));
    let (taken, refused) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let counts = (taken.clone(), refused.clone());
    let target = Target::start_slow(move |_, _| {
        let (at_work, (taken, refused)) = (at_work.clone(), counts.clone());
        async move {
            let is_too_much = at_work.fetch_add(1, Ordering::Relaxed) >= AT_ONCE;
            tokio::time::sleep(Duration::from_millis(20)).await;
            at_work.fetch_sub(1, Ordering::Relaxed);
            if is_too_much {
                refused.fetch_add(1, Ordering::Relaxed);
                return StatusCode::TOO_MANY_REQUESTS.into_response();
            }
            taken.fetch_add(1, Ordering::Relaxed);
            StatusCode::OK.into_response()
        }
    })
    .await;
    let lines = "bindings = [\"#\"]\nconcurrency = 100\nretry_ms = [200, 200, 200, 200, 200, 200]";
    let routes = route("busy", &target, lines);
    let listener = listener_alone(&virtual_host.url, dir.path(), &routes).await;
    listener.ready().await;
    let publisher = Foreign::connect(&virtual_host.url).await;
    for _ in 0..EVENTS {
        let properties = BasicProperties::default();
        publisher
            .publish("events.topic.exchange", "a", properties, b"{}")
            .await;
    }
    eventually("all are taken", Duration::from_secs(60), || async {
        (taken.load(Ordering::Relaxed) >= EVENTS).then_some(())
    })
    .await;
    listener.stop().await;
    assert_eq!(taken.load(Ordering::Relaxed), EVENTS);
    // A hundred at once would have more refused than taken.
    let refused = refused.load(Ordering::Relaxed);
    assert!(refused < EVENTS / 4, "{refused} of {EVENTS}");
    for queue in virtual_host.management.queues().await {
        assert_eq!(virtual_host.left(&queue).await, 0, "{queue}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_without_tls_gets_http_2_where_its_route_says_so() {
    let virtual_host = virtual_host().await;
    let dir = tempfile::tempdir().unwrap();
    let target = Target::answering(StatusCode::OK).await;
    let routes = route("plain", &target, "bindings = [\"#\"]")
        + &route("two", &target, "bindings = [\"#\"]\nhttp2 = true");
    let listener = listener_alone(&virtual_host.url, dir.path(), &routes).await;
    listener.ready().await;
    let publisher = Foreign::connect(&virtual_host.url).await;
    publisher
        .publish(
            "events.topic.exchange",
            "a",
            BasicProperties::default(),
            b"{}",
        )
        .await;
    let received = target.wait_for(2).await;
    let mut versions: Vec<_> = received.iter().map(|event| event.version).collect();
    versions.sort_unstable();
    assert_eq!(versions, [Version::HTTP_11, Version::HTTP_2]);
    listener.stop().await;
}
