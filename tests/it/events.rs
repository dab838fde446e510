//! `POST /events/{type}`: any body as the data of one event.

use std::path::Path;

use reqwest::header;
use serde_json::{Value, json};
use tests::{
    gateway::{Gateway, QUEUE, send},
    http::{self, Answer},
    rabbitmq::{Node, virtual_host},
    suite::{Options, Suite},
};

const JSON: &str = "application/json";
const TRACEPARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

#[track_caller]
fn accepted(answer: &Answer, event_type: &str) -> String {
    assert_eq!(answer.status, 202, "{}", answer.text);
    let body = answer.json();
    assert_eq!(body["error"], false);
    assert_eq!(body["message"], "published via RabbitMQ");
    assert_eq!(body["data"]["type"], event_type);
    body["data"]["id"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn any_data_reaches_the_target_byte_for_byte() {
    let gateway = Gateway::start(&virtual_host().await.url).await;
    let json = r#"{ "n": 1e400, "big":18446744073709551617, "a":1,"a":2, "s":"\u00e9\/é" }"#;
    let binary: Vec<u8> = (0..=255).collect();
    let bodies = [
        (JSON, json.as_bytes().to_vec()),
        ("Application/x+json; charset=UTF-8", b" 1e400\n".to_vec()),
        ("application/json; charset=utf-16", b"\xff\xfe{\0".to_vec()),
        ("text/plain; charset=utf-8", "Größe\0".into()),
        ("image/png", binary),
        ("application/xml", Vec::new()),
    ];
    for (number, (media_type, body)) in bodies.into_iter().enumerate() {
        let request = gateway
            .post("/events/order.placed")
            .header(header::CONTENT_TYPE, media_type)
            .header("traceparent", TRACEPARENT)
            .body(body.clone());
        let id = accepted(&send(request).await, "order.placed");
        let got = gateway.target.wait_for(number + 1).await.remove(number);
        assert_eq!(got.body, body, "{media_type}");
        assert_eq!(got.header("content-type"), media_type);
        assert_eq!(got.header("ce-id"), id);
        assert_eq!(got.header("ce-type"), "order.placed");
        assert_eq!(got.header("ce-source"), "broker-service");
        assert_eq!(got.header("ce-traceparent"), TRACEPARENT);
        assert_eq!(got.header("traceparent"), TRACEPARENT);
    }
    // Nothing at all needs no media type.
    let nothing = send(gateway.post("/events/order.%70laced")).await;
    accepted(&nothing, "order.placed");
    assert!(gateway.target.wait_for(7).await[6].body.is_empty());
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_type_is_a_routing_key() {
    let virtual_host = virtual_host().await;
    let gateway = Gateway::start(&virtual_host.url).await;
    let longest = format!("order.{}", "a".repeat(249));
    let post = async |event_type: &str| {
        let path = format!("/events/{event_type}");
        gateway.send(&path, JSON, "{}").await
    };
    accepted(&post(&longest).await, &longest);
    accepted(
        &post("order.v1_2.Some-thing").await,
        "order.v1_2.Some-thing",
    );
    for wrong in [
        &format!("{longest}a"),
        ".order",
        "order.",
        "order..placed",
        "order.*",
        "order.%23",
        "order%20placed",
        "order.%0a",
        "order.%00",
        "order%2Fplaced",
        "order.%ff",
        "ord%C3%A9",
    ] {
        let answer = post(wrong).await;
        assert!(answer.problem(400).contains("event type"), "{wrong}");
    }
    post("order/placed").await.problem(404);
    post("").await.problem(404);
    let get = http::get(&gateway.broker.url("/events/order.placed")).await;
    get.problem(405);
    assert_eq!(get.headers[header::ALLOW], "POST");
    gateway.target.wait_for(2).await;

    let nobody = post("nobody.wants").await;
    assert!(nobody.problem(503).contains("nobody.wants"));
    assert_eq!(nobody.json()["type"], "urn:problem:unroutable");
    assert_eq!(gateway.target.count(), 2);
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_body_is_must_be_said_and_true() {
    let gateway = Gateway::start(&virtual_host().await.url).await;
    let path = "/events/order.placed";
    let form = gateway
        .send(path, "application/x-www-form-urlencoded", "{}")
        .await;
    let form = form.problem(415);
    assert!(
        form.contains("--json") && form.contains("Content-Type"),
        "{form}"
    );
    let unsaid = send(gateway.post(path).body("{}")).await;
    assert!(unsaid.problem(415).contains("Content-Type"));
    let long = format!("text/{}", "x".repeat(251));
    for wrong in ["json", "text/", "text/plain; a=\u{e9}", &long] {
        gateway.send(path, wrong, "{}").await.problem(415);
    }
    let packed = gateway.post(path).header(header::CONTENT_ENCODING, "gzip");
    send(packed.header(header::CONTENT_TYPE, JSON).body("{}"))
        .await
        .problem(415);
    let twice = gateway.post(path).header(header::CONTENT_TYPE, JSON);
    send(twice.header(header::CONTENT_TYPE, "text/plain").body("{}"))
        .await
        .problem(400);
    let binary = gateway
        .post(path)
        .header("ce-id", "1")
        .header(header::CONTENT_TYPE, JSON);
    assert!(
        send(binary.body("{}"))
            .await
            .problem(400)
            .contains("POST /events")
    );

    let deep = format!("{}1{}", "[".repeat(128), "]".repeat(128));
    let deeper = format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000));
    for body in [
        "",
        "{",
        "NaN",
        "\u{feff}{}",
        "{} {}",
        "{'secret':1}",
        &deep,
        &deeper,
    ] {
        let answer = gateway.send(path, JSON, body.to_owned()).await;
        assert!(!answer.problem(400).contains("secret"), "{body:.20}");
    }
    gateway
        .send(path, JSON, b"\"\xff\"".to_vec())
        .await
        .problem(400);
    let large = vec![b' '; 2_000_000];
    gateway.send(path, "text/plain", large).await.problem(413);

    // Still as fit as before, and nothing of it was published.
    gateway.send(path, JSON, "1").await;
    assert_eq!(gateway.target.wait_for(1).await[0].body, "1");
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_makes_the_answer_repeat() {
    let virtual_host = virtual_host().await;
    let gateway = Gateway::start(&virtual_host.url).await;
    let post = async |body: &'static str, media_type: &str| {
        let request = gateway.post("/events/order.placed");
        let request = request.header(header::CONTENT_TYPE, media_type);
        send(request.header("idempotency-key", "one").body(body)).await
    };
    let first = post("1", JSON).await;
    let id = accepted(&first, "order.placed");
    assert!(!first.headers.contains_key("idempotency-replayed"));
    let again = post("1", JSON).await;
    assert_eq!(again.headers["idempotency-replayed"], "true");
    assert_eq!(again.text, first.text);
    for other in [post("2", JSON).await, post("1", "text/plain").await] {
        other.problem(422);
        assert_eq!(other.json()["type"], "urn:problem:idempotency-key-reused");
    }
    assert_eq!(gateway.target.wait_for(1).await[0].header("ce-id"), id);
    let broken = gateway
        .post("/events/order.placed")
        .header("idempotency-key", "a b");
    assert!(send(broken).await.problem(400).contains("Idempotency-Key"));
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_rabbitmq_it_is_a_503() {
    let mut node = Node::start().await;
    let virtual_host = node.virtual_host().await;
    let gateway = Gateway::start(&virtual_host.url).await;
    node.stop().await;
    gateway.broker.not_ready().await;
    let away = gateway.send("/events/order.placed", JSON, "1").await;
    away.problem(503);
    assert_eq!(away.json()["type"], "urn:problem:disconnected");
    assert!(away.headers.contains_key(header::RETRY_AFTER));
    node.start_again().await;
    gateway.broker.ready().await;
    let back = gateway.send("/events/order.placed", JSON, "2").await;
    let id = accepted(&back, "order.placed");
    assert_eq!(gateway.target.wait_for(1).await[0].header("ce-id"), id);
    gateway.stop().await;
}

fn write(folder: &Path, name: &str, schema: &Value) {
    std::fs::write(folder.join(name), schema.to_string()).unwrap();
}

/// One file for a type, one that it refers to, and what goes by it on each of the ways in.
#[tokio::test(flavor = "multi_thread")]
async fn data_that_violates_its_schema_is_refused() {
    let virtual_host = virtual_host().await;
    let folder = tempfile::tempdir().unwrap();
    let order = json!({"required": ["id"], "properties": {"to": {"$ref": "address.json"}}});
    write(folder.path(), "order.placed.json", &order);
    write(
        folder.path(),
        "address.json",
        &json!({"properties": {"zip": {"type": "string"}}}),
    );
    let options = Options {
        schemas_dir: Some(folder.path().to_owned()),
        ..Options::default()
    };
    let gateway = Gateway::start_with(&virtual_host.url, &options).await;
    let post = async |media_type: &str, body: &'static str| {
        gateway.send("/events/order.placed", media_type, body).await
    };
    let wrong = post(JSON, r#"{"to":{"zip":12345}}"#).await;
    let message = wrong.problem(422);
    assert!(!wrong.text.contains("12345"), "{message}");
    let problem = wrong.json();
    assert_eq!(problem["type"], "urn:problem:schema-violation");
    let mut errors = problem["errors"].as_array().unwrap().clone();
    errors.sort_by_key(ToString::to_string);
    assert_eq!(
        Value::from(errors),
        json!([
            {"pointer": "/to/zip", "message": "must be of the type string"},
            {"pointer": "", "message": "the member \"id\" is missing"},
        ])
    );
    post("text/plain", r#"{"id":1}"#).await.problem(422);
    send(gateway.post("/events/order.placed"))
        .await
        .problem(422);
    accepted(&post(JSON, r#"{"id":1}"#).await, "order.placed");
    accepted(
        &gateway.send("/events/order.paid", "text/plain", "x").await,
        "order.paid",
    );
    gateway.target.wait_for(2).await;
    let target = gateway.stop().await;
    assert_eq!(target.count(), 2);
    assert_eq!(virtual_host.left(QUEUE).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn log_entries_go_by_a_schema_as_well() {
    let folder = tempfile::tempdir().unwrap();
    let entry = json!({"properties": {"data": {"type": "object"}}});
    write(folder.path(), "log.AUDIT.json", &entry);
    let options = Options {
        schemas_dir: Some(folder.path().to_owned()),
        ..Options::default()
    };
    let suite = Suite::start_with(&virtual_host().await.url, options).await;
    suite.ready().await;
    let wrong = suite
        .log(json!({"name": "n", "data": 1, "level": "AUDIT"}))
        .await;
    assert!(
        wrong
            .problem(422)
            .contains("/data: must be of the type object")
    );
    let good = suite
        .log(json!({"name": "n", "data": {}, "level": "AUDIT"}))
        .await;
    suite
        .logged(good.json()["data"]["id"].as_str().unwrap())
        .await;
    assert_eq!(suite.events_of_type("log.AUDIT").await.len(), 1);
    assert_eq!(suite.log(json!({"name": "n", "data": 1})).await.status, 202);
    suite.stop().await;
}
