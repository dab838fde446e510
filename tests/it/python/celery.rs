//! Tasks as Celery sends them: in both protocols, compressed, serialised, expired.

use std::{collections::BTreeMap, sync::Mutex, time::Duration};

use axum::http::StatusCode;
use lapin::BasicProperties;
use serde_json::Value;
use tests::{
    eventually, foreign::Foreign, http, python, rabbitmq::virtual_host, suite::listener_alone,
    target::Target,
};

const ROUTE: &str = r#"
[[route]]
name = "celery-ways"
exchange = { name = "microservice-events", kind = "fanout" }
queue = "search-index-events"
format = "celery"
types = ["order_placed"]
"#;

/// Each is delivered, or a dead letter with the reason: only what nobody wants is acknowledged unseen.
#[tokio::test(flavor = "multi_thread")]
async fn a_task_is_delivered_or_a_dead_letter_that_says_why() {
    let virtual_host = virtual_host().await;
    let dir = tempfile::tempdir().unwrap();
    let target = Target::answering(StatusCode::OK).await;
    let routes = format!("{ROUTE}target = \"http://{}/\"\n", target.addr);
    let listener = listener_alone(&virtual_host.url, dir.path(), &routes).await;
    listener.ready().await;

    let sent = python::run("celery_send.py", &[&virtual_host.url]).await;
    let mut fates = BTreeMap::new();
    for line in sent.lines() {
        let (id, fate) = line.split_once(' ').unwrap();
        fates.insert(id.to_owned(), fate.to_owned());
    }
    // Not of Celery.
    let publisher = Foreign::connect(&virtual_host.url).await;
    for (id, body) in [
        ("garbage", "\u{0}"),
        ("empty", ""),
        ("other-json", "{\"a\":1}"),
    ] {
        let properties = BasicProperties::default().with_message_id(id.into());
        publisher
            .publish("microservice-events", "", properties, body.as_bytes())
            .await;
        fates.insert(id.to_owned(), "the body is not ".to_owned());
    }
    // Of Celery's own that are late already RabbitMQ itself may say so, by their expiration.
    let late = r#"{"task":"a","args":["order_placed"],"expires":"2020-01-01T12:00:00"}"#;
    let properties = BasicProperties::default().with_message_id("late".into());
    publisher
        .publish("microservice-events", "", properties, late.as_bytes())
        .await;
    fates.insert(
        "late".to_owned(),
        "it expired at 2020-01-01T12:00:00Z".to_owned(),
    );
    let count = |wanted: &str| fates.values().filter(|fate| *fate == wanted).count();
    let (delivered, ignored) = (count("delivered"), count("ignored"));
    let dead = fates.len() - delivered - ignored;
    assert_eq!((delivered, ignored, dead), (12, 4, 22));

    let letters = Mutex::new(BTreeMap::<String, Value>::new());
    eventually("the dead letters", Duration::from_secs(30), || async {
        for message in virtual_host
            .management
            .take("search-index-events.dead")
            .await
        {
            // What RabbitMQ says is expired has none.
            let id = message["properties"]["message_id"].as_str();
            let headers = &message["properties"]["headers"];
            let reason = match &headers["x-gw-reason"] {
                Value::Null => headers["x-death"][0]["reason"].clone(),
                reason => reason.clone(),
            };
            // Where the task could not be read its id is the message's correlation_id.
            let task = message["properties"]["correlation_id"]
                .as_str()
                .or(id)
                .unwrap();
            letters.lock().unwrap().insert(task.to_owned(), reason);
        }
        (letters.lock().unwrap().len() >= dead).then_some(())
    })
    .await;
    target.wait_for(delivered).await;
    let url = listener.url("/metrics");
    let series = r#"subscription_events_total{route="celery-ways",outcome="ignored"}"#;
    eventually(
        "the others are ignored",
        Duration::from_secs(20),
        || async { (http::metric(&url, series).await == Some(ignored)).then_some(()) },
    )
    .await;
    let letters = letters.into_inner().unwrap();
    for event in target.received() {
        assert_eq!(fates[event.header("ce-id")], "delivered");
        assert_eq!(event.header("ce-type"), "order_placed");
        assert_eq!(event.header("ce-resourcetype"), "Order");
        let body: Value = serde_json::from_slice(&event.body).unwrap();
        assert!(body.to_string().contains("order_placed"), "{body}");
    }
    for (id, reason) in &letters {
        let reason = reason.as_str().unwrap();
        let by_rabbitmq = reason == "expired" && fates[id].starts_with(reason);
        assert!(by_rabbitmq || reason.contains(&fates[id]), "{id}: {reason}");
    }
    assert_eq!((target.count(), letters.len()), (delivered, dead));
    listener.stop().await;
}
