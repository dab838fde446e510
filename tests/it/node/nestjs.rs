//! NestJS: what its clients emit reaches a target as events, and what they send is answered.

use std::{collections::BTreeMap, sync::Mutex, time::Duration};

use axum::{
    Json,
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse as _, Response},
};
use lapin::{BasicProperties, types::FieldTable};
use serde_json::{Value, json};
use tests::{
    eventually,
    foreign::Foreign,
    node,
    rabbitmq::virtual_host,
    suite::listener_alone,
    target::{Received, Target},
};

const PATIENCE: Duration = Duration::from_secs(30);

/// What a target of requests answers.
async fn answer(request: Received) -> Response {
    let data: Value = serde_json::from_slice(&request.body).unwrap();
    match request.header("ce-type") {
        "{%22cmd%22:%22sum%22}" => {
            let numbers = data.as_array().unwrap().iter();
            Json(numbers.map(|number| number.as_i64().unwrap()).sum::<i64>()).into_response()
        }
        "echo" => Json(json!({ "echo": data })).into_response(),
        "text" => "plain text".into_response(),
        "nothing" => StatusCode::NO_CONTENT.into_response(),
        "refused" => {
            let problem = [(CONTENT_TYPE, "application/problem+json")];
            (
                StatusCode::UNPROCESSABLE_ENTITY,
                problem,
                r#"{"title":"no"}"#,
            )
                .into_response()
        }
        "failed" => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        "late" => std::future::pending().await,
        _ => StatusCode::OK.into_response(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_of_nestjs_emits_events_and_gets_answers() {
    let virtual_host = virtual_host().await;
    let dir = tempfile::tempdir().unwrap();
    // Each event comes twice: as it was, and as a copy.
    let events = Target::start(|received, _| match received.header("x-gw-attempt") {
        "1" => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        _ => StatusCode::OK.into_response(),
    })
    .await;
    let requests = Target::start_slow(|received, _| answer(received)).await;
    let routes = format!(
        "[[route]]\nname = \"orders\"\nqueue = {{ name = \"orders\", existing = true }}\nformat = \"nestjs\"\n\
         retry_ms = [50]\nforward = {{ headers = [\"x-tenant\"], properties = [\"priority\"] }}\n\
         target = \"http://{}/\"\n\
         [[request]]\nname = \"rpc\"\nqueue = \"rpc\"\nformat = \"nestjs\"\ntimeout_ms = 5000\n\
         target = \"http://{}/\"\n",
        events.addr, requests.addr
    );
    let foreign = Foreign::connect(&virtual_host.url).await;
    foreign.queue("orders", FieldTable::default()).await;
    let listener = listener_alone(&virtual_host.url, dir.path(), &routes).await;
    listener.ready().await;

    let client = node::start("nestjs_client.js", &[&virtual_host.url, "orders", "rpc"]).await;
    let mut said = BTreeMap::new();
    for line in client.succeed().await {
        // NestJS logs in colours of its own, after which it may say nothing at all.
        if let Ok(Value::Object(mut line)) = serde_json::from_str(&line) {
            let name = line.remove("name").unwrap();
            said.insert(name.as_str().unwrap().to_owned(), Value::Object(line));
        }
    }
    for (name, expected) in [
        ("sum", json!({ "value": 3 })),
        ("echo 1", json!({ "value": { "echo": { "number": 1 } } })),
        ("echo 2", json!({ "value": { "echo": { "number": 2 } } })),
        ("echo 3", json!({ "value": { "echo": { "number": 3 } } })),
        ("text", json!({ "value": "plain text" })),
        ("nothing", json!({ "value": null })),
        ("refused", json!({ "error": { "title": "no" } })),
        (
            "failed",
            json!({ "error": { "statusCode": 500, "message": "the target answered 500" } }),
        ),
        (
            "late",
            json!({ "error": { "statusCode": 504, "message": "the target did not answer in time" } }),
        ),
    ] {
        assert_eq!(said.get(name), Some(&expected), "{name}: {said:?}");
    }

    // An event among requests is delivered as they are.
    let among = eventually("the event among requests", PATIENCE, || async {
        let mut received = requests.received().into_iter();
        received.find(|received| received.header("ce-type") == "among.requests")
    })
    .await;
    assert_eq!(
        (&among.body[..], among.header("ce-nestjs")),
        (&b"{\"id\":3}"[..], "event")
    );

    let received = events.wait_for(8).await;
    for (event_type, body) in [
        ("order.created", r#"{"id":1,"total":9.5}"#),
        (
            "{%22area%22:{%22a%22:1%2C%22b%22:2}%2C%22cmd%22:%22created%22}",
            r#"[1,"Größe"]"#,
        ),
        ("7", "\"text\""),
        ("order.options", r#"{"id":2}"#),
    ] {
        let event_type = event_type.replace("%2C", ",");
        let same = received
            .iter()
            .filter(|event| event.header("ce-type") == event_type);
        let same: Vec<_> = same.collect();
        let [first, second] = same.as_slice() else {
            panic!("{event_type}: {received:?}");
        };
        for event in [first, second] {
            assert_eq!(event.body, body);
            assert_eq!(event.header("content-type"), "application/json");
            assert_eq!(event.header("ce-id"), first.header("ce-id"));
            assert_eq!(event.header("ce-nestjs"), "event");
        }
    }
    let options = received
        .iter()
        .find(|event| event.header("ce-type") == "order.options");
    let options = options.unwrap();
    for (name, value) in [
        ("ce-id", "own-id"),
        ("x-tenant", "blue"),
        ("x-gw-priority", "3"),
    ] {
        assert_eq!(options.header(name), value, "{name}");
    }
    foreign.close().await;
    listener.stop().await;
}

/// A request in a queue of events would wait for ever, so it is a dead letter; what is no envelope too.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_route_of_nestjs_cannot_deliver_is_a_dead_letter_with_the_reason() {
    let virtual_host = virtual_host().await;
    let dir = tempfile::tempdir().unwrap();
    let target = Target::answering(StatusCode::OK).await;
    let routes = format!(
        "[[route]]\nname = \"orders\"\nbindings = [\"#\"]\nformat = \"nestjs\"\ntypes = [\"order.*\"]\n\
         target = \"http://{}/\"\n",
        target.addr
    );
    let listener = listener_alone(&virtual_host.url, dir.path(), &routes).await;
    listener.ready().await;
    let foreign = Foreign::connect(&virtual_host.url).await;
    let mut expected = BTreeMap::new();
    for (id, body, reason) in [
        (
            "request",
            r#"{"pattern":"order.get","data":1,"id":"r"}"#,
            "[[request]]",
        ),
        ("no pattern", r#"{"data":1}"#, "it has no pattern"),
        ("no object", "[]", "not a JSON object"),
        ("cut", r#"{"pattern":"order.get","#, "not valid JSON"),
        ("good", r#"{"pattern":"order.placed","data":1}"#, ""),
        ("not wanted", r#"{"pattern":"user.made","data":1}"#, ""),
    ] {
        let mut properties = BasicProperties::default().with_message_id(id.into());
        if id == "request" {
            properties = properties.with_reply_to("replies".into());
        }
        foreign
            .publish("events.topic.exchange", "key", properties, body.as_bytes())
            .await;
        if !reason.is_empty() {
            expected.insert(id.to_owned(), reason);
        }
    }
    let dead = Mutex::new(Vec::new());
    eventually("the dead letters", PATIENCE, || async {
        let taken = virtual_host
            .management
            .take("events.topic.exchange.queue.orders.dead");
        let taken = taken.await;
        let mut dead = dead.lock().unwrap();
        dead.extend(taken);
        (dead.len() >= expected.len()).then_some(())
    })
    .await;
    let dead = dead.into_inner().unwrap();
    assert_eq!(dead.len(), expected.len());
    for letter in dead {
        let id = letter["properties"]["message_id"].as_str().unwrap();
        let reason = letter["properties"]["headers"]["x-gw-reason"]
            .as_str()
            .unwrap();
        assert!(reason.contains(expected[id]), "{id}: {reason}");
    }
    let received = target.wait_for(1).await;
    assert_eq!(received.len(), 1);
    assert_eq!(received[0].header("ce-type"), "order.placed");
    foreign.close().await;
    listener.stop().await;
}
