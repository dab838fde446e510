//! A queue that turns out to be a stream stops its route by name, and nothing else.

use std::time::Duration;

use axum::http::StatusCode;
use lapin::{
    BasicProperties,
    types::{AMQPValue, FieldTable},
};
use serde_json::Value;
use tempfile::TempDir;
use tests::{
    eventually,
    foreign::Foreign,
    http,
    rabbitmq::{VirtualHost, virtual_host},
    suite::{Options, Service, Suite, listener_alone},
    target::Target,
};

const PATIENCE: Duration = Duration::from_secs(20);

fn of_type(queue_type: &str) -> FieldTable {
    let mut arguments = FieldTable::default();
    let queue_type = AMQPValue::LongString(queue_type.into());
    arguments.insert("x-queue-type".into(), queue_type);
    arguments
}

/// A route of the existing queue `queue`, beside one of events.
fn routes(queue: &str, target: &Target) -> String {
    format!(
        "[[route]]\nname = \"theirs\"\nqueue = {{ name = \"{queue}\", existing = true }}\n\
         target = \"http://{addr}/theirs\"\nretry_ms = [100]\n\
         [[route]]\nname = \"healthy\"\nbindings = [\"#\"]\ntarget = \"http://{addr}/healthy\"\n",
        addr = target.addr
    )
}

/// A listener, and where its routes file is.
async fn start(virtual_host: &VirtualHost, routes: &str) -> (Service, TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let listener = listener_alone(&virtual_host.url, dir.path(), routes).await;
    (listener, dir)
}

/// What the listener shows of a route.
async fn state(listener: &Service, route: &str) -> Value {
    let listing = http::get(&listener.url("/routes")).await.json();
    let routes = listing["routes"].as_array().unwrap();
    let found = routes.iter().find(|shown| shown["name"] == route);
    found.cloned().unwrap()
}

/// Waits until a route is stopped since its queue is a stream.
async fn stopped(listener: &Service, route: &str, queue: &str) {
    let says = format!("queue {queue}: it is a stream");
    eventually("the stream is named", PATIENCE, || async {
        let state = state(listener, route).await;
        let reason = state["reason"].as_str().unwrap_or_default();
        (state["consuming"] == false && reason.starts_with(&says)).then_some(())
    })
    .await;
    let reason = listener.not_ready().await;
    assert!(reason.contains(&says), "{reason}");
    assert!(reason.contains("replace it by a quorum queue"), "{reason}");
}

async fn publish(foreign: &Foreign, exchange: &str, key: &str, bodies: &[&str]) {
    for body in bodies {
        let properties = BasicProperties::default();
        foreign
            .publish(exchange, key, properties, body.as_bytes())
            .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_stops_its_route_by_name_until_it_is_replaced() {
    let virtual_host = virtual_host().await;
    let target = Target::answering(StatusCode::OK).await;
    let owner = Foreign::connect(&virtual_host.url).await;
    owner.queue("s", of_type("stream")).await;
    publish(&owner, "", "s", &["before"]).await;
    let (listener, _dir) = start(&virtual_host, &routes("s", &target)).await;
    stopped(&listener, "theirs", "s").await;
    publish(&owner, "", "s", &["during"]).await;
    publish(&owner, "events.topic.exchange", "a", &["1", "2", "3"]).await;
    let received = target.wait_for(3).await;
    let to = |body: &'static str| {
        received
            .iter()
            .any(|event| &event.body[..] == body.as_bytes())
    };
    assert!(to("1") && to("2") && to("3") && received.len() == 3);
    stopped(&listener, "theirs", "s").await;

    virtual_host.management.delete_queue("s").await;
    owner.queue("s", of_type("quorum")).await;
    listener.ready().await;
    publish(&owner, "", "s", &["after"]).await;
    assert_eq!(&target.wait_for(4).await[3].body[..], b"after");
    owner.close().await;
    listener.stop().await;
}

/// Nothing in it could give it away.
#[tokio::test(flavor = "multi_thread")]
async fn an_empty_stream_is_known_before_anything_is_in_it() {
    let virtual_host = virtual_host().await;
    let target = Target::answering(StatusCode::OK).await;
    let owner = Foreign::connect(&virtual_host.url).await;
    for queue in ["empty", "requests"] {
        owner.queue(queue, of_type("stream")).await;
    }
    let requests = format!(
        "[[request]]\nname = \"asked\"\nqueue = {{ name = \"requests\", existing = true }}\n\
         target = \"http://{}/asked\"\n",
        target.addr
    );
    let routes = routes("empty", &target) + &requests;
    let (listener, _dir) = start(&virtual_host, &routes).await;
    for (route, queue) in [("theirs", "empty"), ("asked", "requests")] {
        stopped(&listener, route, queue).await;
        publish(&owner, "", queue, &["filled"; 20]).await;
        stopped(&listener, route, queue).await;
    }
    publish(&owner, "events.topic.exchange", "a", &["healthy"]).await;
    target.wait_for(1).await;
    assert_eq!(target.count(), 1, "nothing of the stream went anywhere");
    owner.close().await;
    listener.stop().await;
}

/// Anybody may send the header that RabbitMQ adds to what comes from a stream.
#[tokio::test(flavor = "multi_thread")]
async fn a_forged_offset_stops_no_route() {
    for (queue_type, number) in [("classic", 0), ("quorum", 1)] {
        let virtual_host = virtual_host().await;
        let target = Target::start(|received, _| {
            use axum::response::IntoResponse as _;
            match received.header("x-gw-attempt") {
                "1" => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
                _ => StatusCode::OK.into_response(),
            }
        })
        .await;
        let owner = Foreign::connect(&virtual_host.url).await;
        owner.queue("theirs", of_type(queue_type)).await;
        let (listener, _dir) = start(&virtual_host, &routes("theirs", &target)).await;
        listener.ready().await;
        for offset in 0..5_i64 {
            let mut headers = FieldTable::default();
            let offset = offset + number;
            headers.insert("x-stream-offset".into(), AMQPValue::LongLongInt(offset));
            let properties = BasicProperties::default().with_headers(headers);
            owner.publish("", "theirs", properties, b"forged").await;
        }
        target.wait_for(10).await;
        listener.ready().await;
        eventually("all are done with", PATIENCE, || async {
            (virtual_host.management.depth("theirs").await == 0).then_some(())
        })
        .await;
        assert_eq!(target.count(), 10, "{queue_type}");
        owner.close().await;
        listener.stop().await;
    }
}

/// Where a queue is provided, its type is not declared again.
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_is_provided_for_a_route_or_its_dead_letters_is_known() {
    let virtual_host = virtual_host().await;
    let target = Target::answering(StatusCode::OK).await;
    let routes = routes("theirs", &target);
    let owner = Foreign::connect(&virtual_host.url).await;
    owner.queue("theirs", of_type("quorum")).await;
    let (listener, _dir) = start(&virtual_host, &routes).await;
    listener.ready().await;
    listener.stop().await;
    let healthy = "events.topic.exchange.queue.healthy";
    for queue in [healthy, "theirs.dead"] {
        virtual_host.management.delete_queue(queue).await;
        owner.queue(queue, of_type("stream")).await;
    }
    let options = Options {
        routes: Some(routes),
        amqp_declare: false,
        ..Options::default()
    };
    let suite = Suite::start_with(&virtual_host.url, options).await;
    stopped(&suite.listener, "healthy", healthy).await;
    eventually("the drain names its stream", PATIENCE, || async {
        let drain = &state(&suite.listener, "theirs").await["dead_letters"];
        let reason = drain["reason"].as_str().unwrap_or_default();
        reason
            .starts_with("queue theirs.dead: it is a stream")
            .then_some(())
    })
    .await;
    publish(&owner, "", "theirs", &["goes on"]).await;
    target.wait_for(1).await;
    owner.close().await;
    suite.stop().await;
}
