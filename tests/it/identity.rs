//! Messages that bring no id are as many events as they are messages.

use std::{
    collections::{HashMap, HashSet},
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use axum::{http::StatusCode, response::IntoResponse as _};
use lapin::{
    BasicProperties,
    types::{AMQPValue, FieldTable},
};
use reqwest::Method;
use tests::{
    eventually,
    foreign::Foreign,
    http,
    rabbitmq::virtual_host,
    suite::{Options, Suite},
    target::Target,
};

const PATIENCE: Duration = Duration::from_secs(20);
/// Of each kind, half of them "open" and half "closed".
const MESSAGES: usize = 8;

/// What a sender may give instead of an id.
fn without_id() -> Vec<BasicProperties> {
    let mut empty = FieldTable::default();
    empty.insert("cloudEvents_id".into(), AMQPValue::LongString("".into()));
    vec![
        BasicProperties::default(),
        BasicProperties::default().with_timestamp(1_700_000_000),
        BasicProperties::default().with_message_id("".into()),
        BasicProperties::default().with_message_id("  ".into()),
        BasicProperties::default().with_headers(empty),
    ]
}

/// The logger keeps them all, and a target that drops an id that it knows sees them all; each under
/// one id over its attempts, its death and its replay.
#[tokio::test(flavor = "multi_thread")]
async fn equal_messages_without_an_id_stay_distinct() {
    static ACCEPTS: AtomicBool = AtomicBool::new(false);
    let virtual_host = virtual_host().await;
    let target = Target::start(|received, _| {
        let again = received.header("x-gw-attempt") != "1";
        match (again, ACCEPTS.load(Ordering::Relaxed)) {
            (false, false) => StatusCode::INTERNAL_SERVER_ERROR,
            (true, false) => StatusCode::UNPROCESSABLE_ENTITY,
            _ => StatusCode::OK,
        }
        .into_response()
    })
    .await;
    let routes = format!(
        "[[route]]\nname = \"logger\"\nbindings = [\"door\"]\ntarget = \"${{LOGGER_URL}}/log\"\n\
         [[route]]\nname = \"one\"\nbindings = [\"door\"]\nretry_ms = [100]\n\
         target = \"http://{}/\"\n",
        target.addr
    );
    let options = Options {
        routes: Some(routes),
        ..Options::default()
    };
    let suite = Suite::start_with(&virtual_host.url, options).await;
    suite.ready().await;
    let door = Foreign::connect(&virtual_host.url).await;
    let kinds = without_id();
    for properties in &kinds {
        for number in 0..MESSAGES {
            let says: &[u8] = [&b"open"[..], b"closed"][number % 2];
            let exchange = "events.topic.exchange";
            door.publish(exchange, "door", properties.clone(), says)
                .await;
        }
    }
    door.close().await;
    let all = kinds.len() * MESSAGES;
    eventually("all are logged", PATIENCE, || async {
        (suite.events_of_type("door").await.len() == all).then_some(())
    })
    .await;

    // Two attempts of each, under one id.
    let received = target.wait_for(2 * all).await;
    let mut attempts = HashMap::<_, usize>::new();
    for event in &received {
        *attempts
            .entry(event.header("ce-id").to_owned())
            .or_default() += 1;
    }
    assert_eq!(attempts.len(), all);
    assert!(
        attempts.values().all(|attempts| *attempts == 2),
        "{attempts:?}"
    );
    let dead = suite.listener.url("/dead-letters?route=one&limit=500");
    let dead = eventually("all are dead", PATIENCE, || async {
        let listing = http::get(&dead).await.json();
        (listing["total"] == all).then(|| listing["dead_letters"].as_array().unwrap().clone())
    })
    .await;
    let of_events: HashSet<_> = dead
        .iter()
        .map(|letter| letter["event_id"].as_str().unwrap())
        .collect();
    assert!(of_events.iter().all(|id| attempts.contains_key(*id)) && of_events.len() == all);

    ACCEPTS.store(true, Ordering::Relaxed);
    let replay = suite
        .listener
        .url("/dead-letters/replay?all=true&rate=1000");
    let replayed = http::send(Method::POST, &replay, "").await;
    assert!(replayed.text.contains("\"finished\""), "{}", replayed.text);
    let received = target.wait_for(3 * all).await;
    let replayed: HashSet<_> = received[2 * all..]
        .iter()
        .map(|event| event.header("ce-id"))
        .collect();
    assert_eq!(replayed, of_events);
    suite.stop().await;
}
