//! Exchanges and queues of every kind. The programs under `examples/` show the rest.

use std::time::Duration;

use axum::{http::StatusCode, response::IntoResponse as _};
use lapin::{
    BasicProperties, ExchangeKind,
    options::QueueBindOptions,
    types::{AMQPValue, FieldTable},
};
use tests::{
    eventually, foreign::Foreign, rabbitmq::virtual_host, suite::listener_alone, target::Target,
};

use super::route;

const PATIENCE: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread")]
async fn an_existing_queue_is_consumed_as_its_owner_made_it() {
    let virtual_host = virtual_host().await;
    let dir = tempfile::tempdir().unwrap();
    let target = Target::start(|received, _| {
        match &received.body[..] {
            b"once" if received.header("x-gw-attempt") == "1" => StatusCode::INTERNAL_SERVER_ERROR,
            b"never" => StatusCode::UNPROCESSABLE_ENTITY,
            _ => StatusCode::OK,
        }
        .into_response()
    })
    .await;
    let lines = "queue = { name = \"theirs\", existing = true }\nretry_ms = [100]";
    let routes = route("theirs", &target, lines);
    let listener = listener_alone(&virtual_host.url, dir.path(), &routes).await;
    let reason = listener.not_ready().await;
    eventually("the queue is missed by its name", PATIENCE, || async {
        let reason = listener.not_ready().await;
        reason.contains("queue theirs").then_some(())
    })
    .await;
    assert!(!reason.is_empty());

    let owner = Foreign::connect(&virtual_host.url).await;
    let mut arguments = FieldTable::default();
    arguments.insert("x-expires".into(), AMQPValue::LongInt(432_000_000));
    owner.queue("theirs", arguments).await;
    owner.exchange("shop", ExchangeKind::Direct).await;
    let bound = owner.channel.queue_bind(
        "theirs".into(),
        "shop".into(),
        "placed".into(),
        QueueBindOptions { nowait: false },
        FieldTable::default(),
    );
    bound.await.unwrap();
    let as_made = virtual_host.management.arguments("theirs").await;
    assert_eq!(as_made["x-expires"], 432_000_000);
    listener.ready().await;
    for body in ["once", "never", "fine"] {
        let properties = BasicProperties::default();
        owner
            .publish("shop", "placed", properties, body.as_bytes())
            .await;
    }
    let received = target.wait_for(4).await;
    let again = received.iter().filter(|event| &event.body[..] == b"once");
    let attempts: Vec<_> = again
        .map(|event| event.header("x-gw-attempt").to_owned())
        .collect();
    assert_eq!(attempts, ["1", "2"]);
    let dead = eventually("a dead letter", PATIENCE, || async {
        virtual_host.management.take("theirs.dead").await.pop()
    })
    .await;
    assert_eq!(dead["payload"], "never");
    assert_eq!(dead["properties"]["headers"]["x-gw-exchange"], "shop");
    assert_eq!(virtual_host.management.arguments("theirs").await, as_made);
    owner.close().await;
    listener.stop().await;
}

/// Two instances, one of which fails the first attempt: its own retry goes to nobody else.
#[tokio::test(flavor = "multi_thread")]
async fn an_exclusive_queue_gives_every_instance_a_copy() {
    const EVENTS: usize = 10;
    let virtual_host = virtual_host().await;
    let lines = "exchange = { name = \"news\", kind = \"fanout\" }\nqueue = { exclusive = true }\n\
                 retry_ms = [200]\ntimeout_ms = 2000";
    let steady = Target::answering(StatusCode::OK).await;
    let failing = Target::start(|received, _| match received.header("x-gw-attempt") {
        "1" => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        _ => StatusCode::OK.into_response(),
    })
    .await;
    let mut listeners = Vec::new();
    for target in [&steady, &failing] {
        let dir = tempfile::tempdir().unwrap();
        let routes = route("copies", target, lines);
        let listener = listener_alone(&virtual_host.url, dir.path(), &routes).await;
        listener.ready().await;
        listeners.push(listener);
    }
    let publisher = Foreign::connect(&virtual_host.url).await;
    for number in 0..EVENTS {
        let body = number.to_string();
        publisher
            .publish("news", "", BasicProperties::default(), body.as_bytes())
            .await;
    }
    steady.wait_for(EVENTS).await;
    failing.wait_for(2 * EVENTS).await;
    let own = virtual_host.management.queues().await;
    let own: Vec<_> = own
        .iter()
        .filter(|queue| queue.starts_with("amq.gen-"))
        .collect();
    assert_eq!(own.len(), 2, "{own:?}");

    // Their queues went with their connections; they make new ones.
    let management = &virtual_host.management;
    eventually("all connections are known", PATIENCE, || async {
        (management.connections().await.len() == 5).then_some(())
    })
    .await;
    management.close_connections().await;
    let publisher = Foreign::connect(&virtual_host.url).await;
    for listener in &listeners {
        eventually("it has noticed", PATIENCE, || async {
            let queues = virtual_host.management.queues().await;
            let fresh = queues
                .iter()
                .filter(|queue| queue.starts_with("amq.gen-") && !own.contains(queue));
            (fresh.count() == 2).then_some(())
        })
        .await;
        listener.ready().await;
    }
    publisher
        .publish("news", "", BasicProperties::default(), b"again")
        .await;
    steady.wait_for(EVENTS + 1).await;
    failing.wait_for(2 * EVENTS + 2).await;
    assert_eq!(
        steady.count(),
        EVENTS + 1,
        "a retry of one came to the other"
    );
    for listener in listeners {
        listener.stop().await;
    }
}
