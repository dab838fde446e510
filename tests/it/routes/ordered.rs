//! One event at a time, in the order of the queue, whatever fails.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{http::StatusCode, response::IntoResponse as _};
use lapin::BasicProperties;
use messaging::{
    Connection, Consumer, ConsumerConfig, Delivery, Handled, Source, topology::Topology,
};
use tests::{
    eventually, foreign::Foreign, rabbitmq::virtual_host, suite::listener_alone, target::Target,
};

use super::route;

#[tokio::test(flavor = "multi_thread")]
async fn events_are_delivered_one_by_one_through_retries_and_two_instances() {
    const EVENTS: usize = 40;
    let virtual_host = virtual_host().await;
    let at_work = Arc::new(AtomicUsize::new(0));
    let target = Target::start_slow(move |received, _| {
        let at_work = at_work.clone();
        async move {
            let others = at_work.fetch_add(1, Ordering::SeqCst);
            tokio::time::sleep(Duration::from_millis(5)).await;
            at_work.fetch_sub(1, Ordering::SeqCst);
            let number: usize = std::str::from_utf8(&received.body)
                .unwrap()
                .parse()
                .unwrap();
            let attempt = received.header("x-gw-attempt");
            match (others, number % 7, attempt) {
                (1.., ..) => StatusCode::CONFLICT, // a dead letter, and so a gap
                (0, 3, "1" | "2") => StatusCode::INTERNAL_SERVER_ERROR,
                _ => StatusCode::OK,
            }
            .into_response()
        }
    })
    .await;
    let lines = "bindings = [\"#\"]\nordered = true\nretry_ms = [50, 50]\ntimeout_ms = 2000";
    // A file of its own for each: the second one would be written while the first is read.
    let dirs = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let mut listeners = Vec::new();
    for dir in &dirs {
        let routes = route("ordered", &target, lines);
        listeners.push(listener_alone(&virtual_host.url, dir.path(), &routes).await);
    }
    for listener in &listeners {
        listener.ready().await;
    }
    let publisher = Foreign::connect(&virtual_host.url).await;
    let publish = async |number: usize| {
        let body = number.to_string();
        let properties = BasicProperties::default();
        publisher
            .publish("events.topic.exchange", "a.b", properties, body.as_bytes())
            .await;
    };
    for number in 0..EVENTS / 2 {
        publish(number).await;
    }
    // The other one takes over in the middle.
    target.wait_for(5).await;
    listeners.remove(0).stop().await;
    for number in EVENTS / 2..EVENTS {
        publish(number).await;
    }
    let last = (EVENTS - 1).to_string();
    let received = eventually("the last one", Duration::from_secs(30), || async {
        let received = target.received();
        let is_last = received.last().is_some_and(|event| event.body == last);
        is_last.then_some(received)
    })
    .await;
    let mut numbers: Vec<usize> = received
        .iter()
        .map(|event| std::str::from_utf8(&event.body).unwrap().parse().unwrap())
        .collect();
    let failed = (0..EVENTS).filter(|number| number % 7 == 3).count();
    // What the first listener was waiting with when it stopped may have begun anew.
    assert!(numbers.len() >= EVENTS + 2 * failed, "{numbers:?}");
    numbers.dedup();
    assert_eq!(numbers, (0..EVENTS).collect::<Vec<_>>());
    let arguments = virtual_host
        .management
        .arguments("events.topic.exchange.queue.ordered")
        .await;
    assert_eq!(arguments["x-single-active-consumer"], true);
    for listener in listeners {
        listener.stop().await;
    }
}

/// What is held for too long is given back, and must be the next one again.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_returned_keeps_its_place() {
    let virtual_host = virtual_host().await;
    let connection = Connection::open("ordered", &virtual_host.url.parse().unwrap());
    let source = Source::events("returned", ["#".to_owned()]);
    let config = ConsumerConfig {
        queue: source.queue.name().to_owned(),
        topology: Topology::subscription(&source, &[], true),
        prefetch: 1,
        concurrency: 1,
        ordered: true,
    };
    let (sender, mut deliveries) = tokio::sync::mpsc::unbounded_channel();
    let times = AtomicUsize::new(0);
    let consumer = Consumer::start(&connection, config, move |delivery: Delivery| {
        let body = String::from_utf8(delivery.event.data.to_vec()).unwrap();
        let returned = body == "1" && times.fetch_add(1, Ordering::SeqCst) < 3;
        sender.send(body).unwrap();
        async move {
            // The others are in the queue by then.
            tokio::time::sleep(Duration::from_millis(300)).await;
            if returned {
                Handled::Returned
            } else {
                Handled::Done
            }
        }
    });
    eventually("it consumes", Duration::from_secs(20), || async {
        consumer.status().into_result().ok()
    })
    .await;
    let publisher = Foreign::connect(&virtual_host.url).await;
    for body in ["1", "2", "3"] {
        let properties = BasicProperties::default();
        publisher
            .publish("events.topic.exchange", "a", properties, body.as_bytes())
            .await;
    }
    for expected in ["1", "1", "1", "1", "2", "3"] {
        assert_eq!(deliveries.recv().await.as_deref(), Some(expected));
    }
    consumer.drain(Duration::from_secs(5)).await;
    connection.close().await;
}
