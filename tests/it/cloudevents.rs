//! `POST /events`: CloudEvents, structured, binary, and in batches.

mod batch;
mod order;

use reqwest::header;
use serde_json::{Value, json};
use tests::{
    gateway::{Gateway, send},
    http::Answer,
    rabbitmq::virtual_host,
    target::Received,
};

const STRUCTURED: &str = "application/cloudevents+json; charset=utf-8";
const BATCH: &str = "application/cloudevents-batch+json";
const TRACEPARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

fn event(id: &str) -> Value {
    json!({"specversion": "1.0", "id": id, "type": "order.placed", "source": "/shop"})
}

#[track_caller]
fn accepted(answer: &Answer, id: &str) {
    assert_eq!(answer.status, 202, "{}", answer.text);
    let expected = json!({"error": false, "message": "published via RabbitMQ",
        "data": {"id": id, "type": "order.placed"}});
    assert_eq!(answer.json(), expected);
}

async fn post(gateway: &Gateway, media_type: &str, body: &Value) -> Answer {
    gateway.send("/events", media_type, body.to_string()).await
}

#[track_caller]
fn has(got: &Received, headers: &[(&str, &str)]) {
    for (name, value) in headers {
        assert_eq!(got.header(name), *value, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_attribute_of_a_structured_event_reaches_the_target() {
    let gateway = Gateway::start(&virtual_host().await.url).await;
    let body = r#"{"specversion":"1.0","id":"a b/ü","type":"order.placed","source":"https://example.com/shop?a=%20#b",
        "subject":"Größe 50% \"x\"","time":"1985-04-12T23:20:50.52+01:00","dataschema":"https://example.com/order.json#/a",
        "datacontenttype":"application/vnd.order+json","tenant":"blue","count":-5,"urgent":true,"unset":null,
        "traceparent":"00-ffffffffffffffffffffffffffffffff-b7ad6b7169203331-00",
        "data": { "n": 1e400, "n":[18446744073709551617], "s":"\u00e9\/" } }"#;
    let request = gateway
        .post("/events")
        .header(header::CONTENT_TYPE, STRUCTURED);
    let answer = send(request.header("traceparent", TRACEPARENT).body(body)).await;
    accepted(&answer, "a b/ü");
    let got = gateway.target.wait_for(1).await.remove(0);
    assert_eq!(
        got.body,
        r#"{ "n": 1e400, "n":[18446744073709551617], "s":"\u00e9\/" }"#
    );
    has(
        &got,
        &[
            ("content-type", "application/vnd.order+json"),
            ("ce-specversion", "1.0"),
            ("ce-id", "a%20b/%C3%BC"),
            ("ce-type", "order.placed"),
            ("ce-source", "https://example.com/shop?a=%2520#b"),
            ("ce-subject", "Gr%C3%B6%C3%9Fe%2050%25%20%22x%22"),
            ("ce-time", "1985-04-12T23:20:50.52+01:00"),
            ("ce-dataschema", "https://example.com/order.json#/a"),
            ("ce-tenant", "blue"),
            ("ce-count", "-5"),
            ("ce-urgent", "true"),
            // The event's own trace, not that of the request.
            (
                "ce-traceparent",
                "00-ffffffffffffffffffffffffffffffff-b7ad6b7169203331-00",
            ),
        ],
    );
    assert!(!got.headers.contains_key("ce-unset"));

    let binary = json!({"datacontenttype": "image/png", "data_base64": "AP+J\n".trim()});
    let mut with_binary = event("2");
    with_binary
        .as_object_mut()
        .unwrap()
        .extend(binary.as_object().unwrap().clone());
    accepted(&post(&gateway, STRUCTURED, &with_binary).await, "2");
    let got = gateway.target.wait_for(2).await.remove(1);
    assert_eq!(&got.body[..], b"\x00\xff\x89");
    has(&got, &[("content-type", "image/png")]);
    // Nothing is added that the client did not say.
    assert!(!got.headers.contains_key("ce-time"));

    let mut text = event("3");
    text["datacontenttype"] = json!("text/plain");
    text["data"] = json!("Grüße\n");
    accepted(&post(&gateway, STRUCTURED, &text).await, "3");
    assert_eq!(gateway.target.wait_for(3).await[2].body, "Grüße\n");
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_attribute_of_a_binary_event_reaches_the_target() {
    let gateway = Gateway::start(&virtual_host().await.url).await;
    let headers = [
        ("content-type", "application/octet-stream"),
        ("ce-specversion", "1.0"),
        ("ce-id", "1"),
        ("ce-type", "order.placed"),
        ("ce-source", "/shop"),
        ("ce-subject", "Euro%20%E2%82%AC%20%F0%9F%98%80"),
        ("ce-time", "2026-01-02T03:04:05.000006Z"),
        ("ce-dataschema", "urn:schema:1"),
        ("ce-tenant", ""),
        ("ce-longnamesarefinetoo0123456789", "x"),
    ];
    let mut request = gateway.post("/events").header("traceparent", TRACEPARENT);
    for (name, value) in headers {
        request = request.header(name, value);
    }
    let body: Vec<u8> = (0..=255).collect();
    accepted(&send(request.body(body.clone())).await, "1");
    let got = gateway.target.wait_for(1).await.remove(0);
    assert_eq!(got.body, body);
    has(&got, &headers);
    has(
        &got,
        &[
            ("ce-traceparent", TRACEPARENT),
            ("traceparent", TRACEPARENT),
        ],
    );
    assert!(got.headers.contains_key("ce-tenant"));
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_event_is_refused_by_name() {
    let gateway = Gateway::start(&virtual_host().await.url).await;
    for missing in ["id", "type", "source", "specversion"] {
        let mut body = event("1");
        body.as_object_mut().unwrap().remove(missing);
        let told = post(&gateway, STRUCTURED, &body).await.problem(400);
        assert_eq!(told, format!("the attribute {missing} is missing"));
    }
    let long = "x".repeat(256);
    for (name, value) in [
        ("specversion", json!("0.3")),
        ("id", json!("")),
        ("id", json!(long)),
        ("id", json!(1)),
        ("id", json!("a\0")),
        ("type", json!("order..placed")),
        ("type", json!("order.#")),
        ("type", json!(long)),
        ("type", json!("a b")),
        ("source", json!("")),
        ("source", json!("my shop")),
        ("subject", json!("")),
        ("time", json!("yesterday")),
        ("time", json!("2026-01-02 03:04:05")),
        ("dataschema", json!("/relative")),
        ("datacontenttype", json!("json")),
        ("tenant", json!("a\nsecret")),
        ("tenant", json!(1.5)),
        ("tenant", json!({})),
        ("Tenant", json!("secret")),
        ("ten-ant", json!("secret")),
        ("CC", json!("secret")),
        ("x_death", json!("secret")),
        ("data_base64", json!("secret!")),
    ] {
        let mut body = event("1");
        body[name] = value;
        let told = post(&gateway, STRUCTURED, &body).await.problem(400);
        assert!(
            told.contains(name) && !told.contains("secret"),
            "{name}: {told}"
        );
    }
    let good = event("1").to_string();
    let twice = good.replacen('{', r#"{"id":"2","#, 1);
    let deep = good.replacen(
        '{',
        &format!(r#"{{"data":{}1{},"#, "[".repeat(127), "]".repeat(127)),
        1,
    );
    for body in [
        "",
        "{",
        "[]",
        "1",
        &good[1..],
        &format!("\u{feff}{good}"),
        &twice,
        &deep,
    ] {
        gateway
            .send("/events", STRUCTURED, body.to_owned())
            .await
            .problem(400);
    }
    let invalid = [good.replace("/shop", "/sh").into_bytes(), vec![0xff]].concat();
    gateway
        .send("/events", STRUCTURED, invalid)
        .await
        .problem(400);
    for other in [
        "application/json",
        "text/plain",
        "application/x-www-form-urlencoded",
        "application/cloudevents+xml",
        "application/cloudevents+json; charset=utf-16",
    ] {
        let told = gateway
            .send("/events", other, good.clone())
            .await
            .problem(415);
        for mode in ["structured", "binary", "batch"] {
            assert!(told.contains(mode), "{told}");
        }
    }
    send(gateway.post("/events")).await.problem(415);
    let packed = gateway
        .post("/events")
        .header(header::CONTENT_ENCODING, "br");
    send(
        packed
            .header(header::CONTENT_TYPE, STRUCTURED)
            .body(good.clone()),
    )
    .await
    .problem(415);

    // As fit as before, and nothing of it was published.
    gateway.send("/events", STRUCTURED, good).await;
    gateway.target.wait_for(1).await;
    assert_eq!(gateway.target.received()[0].header("ce-id"), "1");
    gateway.stop().await;
}

/// As many attributes as are taken get through all the way; more of them are refused, and the
/// connection to RabbitMQ does not notice.
#[tokio::test(flavor = "multi_thread")]
async fn attributes_have_a_limit_that_gets_through() {
    let gateway = Gateway::start(&virtual_host().await.url).await;
    let with = |count: usize, bytes: usize| {
        let mut body = event("1");
        for number in 0..count {
            body[format!("a{number}")] = json!("\u{1f600}".repeat(bytes / 4));
        }
        body
    };
    accepted(&post(&gateway, STRUCTURED, &with(60, 32)).await, "1");
    let got = gateway.target.wait_for(1).await.remove(0);
    let attributes = got
        .headers
        .keys()
        .filter(|name| name.as_str().starts_with("ce-a"));
    assert_eq!(attributes.count(), 60);
    for (count, bytes) in [(65, 4), (3, 1024), (100, 1000), (1, 100_000)] {
        post(&gateway, STRUCTURED, &with(count, bytes))
            .await
            .problem(400);
    }
    let mut many = gateway.post("/events").header("ce-id", "1");
    for number in 0..110 {
        many = many.header(format!("ce-a{number}"), "x");
    }
    send(many).await.problem(431);
    accepted(&post(&gateway, STRUCTURED, &event("2")).await, "2");
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_keeps_the_id_that_the_client_gave() {
    let gateway = Gateway::start(&virtual_host().await.url).await;
    let keyed = async |body: Value| {
        let request = gateway
            .post("/events")
            .header(header::CONTENT_TYPE, STRUCTURED);
        send(
            request
                .header("idempotency-key", "one")
                .body(body.to_string()),
        )
        .await
    };
    accepted(&keyed(event("1")).await, "1");
    let again = keyed(event("1")).await;
    accepted(&again, "1");
    assert_eq!(again.headers["idempotency-replayed"], "true");
    keyed(event("2")).await.problem(422);
    assert_eq!(gateway.target.wait_for(1).await[0].header("ce-id"), "1");
    let batch = gateway.post("/events").header(header::CONTENT_TYPE, BATCH);
    let batch = send(batch.header("idempotency-key", "two").body("[]")).await;
    assert!(batch.problem(400).contains("Idempotency-Key"));
    gateway.stop().await;
}
