//! Events of other producers: CloudEvents over AMQP in both modes and with typed attributes, and over
//! HTTP as SDKs send them. A target gets each as the one event that it is.

use axum::{http::StatusCode, response::IntoResponse as _};
use lapin::{
    BasicProperties,
    types::{AMQPValue, DecimalValue, FieldTable},
};
use serde_json::Value;
use tests::{
    foreign::Foreign,
    gateway::{Gateway, send},
    rabbitmq::virtual_host,
    suite::listener_alone,
    target::{Received, Target},
};

const EXCHANGE: &str = "events.topic.exchange";
const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/// What a target gets of `messages`, one after the other, by a route with these further `fields`. Its
/// first answer is 500, so that the first message comes twice: as it was, and as a copy.
async fn delivered(fields: &str, messages: Vec<(BasicProperties, &[u8])>) -> Vec<Received> {
    let virtual_host = virtual_host().await;
    let target = Target::start(|_, before| match before {
        0 => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        _ => StatusCode::OK.into_response(),
    })
    .await;
    let dir = tempfile::tempdir().unwrap();
    let routes = format!(
        "[[route]]\nname = \"one\"\nbindings = [\"#\"]\ntarget = \"http://{}/\"\nretry_ms = [50]\n{fields}",
        target.addr
    );
    let listener = listener_alone(&virtual_host.url, dir.path(), &routes).await;
    listener.ready().await;
    let foreign = Foreign::connect(&virtual_host.url).await;
    for (at, (properties, body)) in messages.into_iter().enumerate() {
        foreign.publish(EXCHANGE, "key", properties, body).await;
        target.wait_for(at + 2).await;
    }
    foreign.close().await;
    listener.stop().await;
    target.received()
}

fn headers(entries: &[(&str, AMQPValue)]) -> BasicProperties {
    let mut table = FieldTable::default();
    for (name, value) in entries {
        table.insert((*name).into(), value.clone());
    }
    BasicProperties::default().with_headers(table)
}

fn text(text: &str) -> AMQPValue {
    AMQPValue::LongString(text.into())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_structured_event_over_amqp_is_one_event() {
    let body = br#"{"specversion":"1.0","id":"own","type":"order.placed","source":"/shop","n":7,"data":{"x":1e400}}"#;
    let structured = |media_type: &str| {
        let properties = headers(&[("traceparent", text(PARENT)), ("tracestate", text("a=1"))]);
        (
            properties
                .with_content_type(media_type.into())
                .with_message_id("other".into()),
            &body[..],
        )
    };
    let received = delivered(
        "",
        vec![
            structured("application/cloudevents+json"),
            structured("Application/CloudEvents+JSON; charset=UTF-8"),
        ],
    )
    .await;
    assert_eq!(received.len(), 3);
    for got in received {
        assert_eq!(got.header("ce-id"), "own");
        assert_eq!(got.header("ce-type"), "order.placed");
        assert_eq!(got.header("ce-n"), "7");
        assert_eq!(got.header("content-type"), "application/json");
        assert_eq!(got.header("tracestate"), "a=1");
        assert_eq!(&got.body[..], br#"{"x":1e400}"#);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn typed_attributes_and_those_of_knative_are_attributes() {
    let typed = headers(&[
        ("cloudEvents_specversion", text("1.0")),
        ("cloudEvents_id", text("1")),
        ("cloudEvents_type", text("a.b")),
        ("cloudEvents_source", text("/s")),
        ("cloudEvents_time", AMQPValue::Timestamp(1_700_000_000)),
        ("cloudEvents_n", AMQPValue::LongInt(7)),
        ("cloudEvents_big", AMQPValue::LongLongInt(i64::MAX)),
        ("cloudEvents_flag", AMQPValue::Boolean(false)),
        (
            "cloudEvents_bytes",
            AMQPValue::LongString(vec![0xff].into()),
        ),
        ("ce-tenant", text("no")),
    ]);
    let knative = headers(&[
        ("ce-specversion", text("1.0")),
        ("ce-id", text("2")),
        ("ce-type", text("a.b")),
        ("ce-source", text("/k")),
        ("ce-tenant", text("blue")),
        ("cloudEvents_other", text("no")),
    ]);
    let received = delivered("", vec![(typed, b"x"), (knative, b"x")]).await;
    for got in &received[..2] {
        for (name, value) in [
            ("ce-id", "1"),
            ("ce-time", "2023-11-14T22:13:20Z"),
            ("ce-n", "7"),
            ("ce-big", "9223372036854775807"),
            ("ce-flag", "false"),
            ("ce-bytes", "/w=="),
            ("ce-tenant", ""),
        ] {
            assert_eq!(got.header(name), value, "{name}");
        }
    }
    let got = &received[2];
    assert_eq!((got.header("ce-id"), got.header("ce-source")), ("2", "/k"));
    assert_eq!(
        (got.header("ce-tenant"), got.header("ce-other")),
        ("blue", "")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn compression_is_named_and_nothing_is_invented() {
    let with = |encoding: &str| {
        BasicProperties::default()
            .with_content_type("application/json".into())
            .with_content_encoding(encoding.into())
    };
    let received = delivered(
        "",
        vec![
            (with("gzip"), &b"\x1f\x8b"[..]),
            (with("GZIP,br"), b"x"),
            (with("gzip, UTF-8"), b"x"), // Spring AMQP
            (with("gzip:UTF-8"), b"x"),  // its versions before 2.2.12
            (with("lz4"), b"x"),
            (with("utf-8"), b"{}"),
            (BasicProperties::default(), b"x"),
            (BasicProperties::default(), b""),
        ],
    )
    .await;
    let seen: Vec<_> = received
        .iter()
        .map(|got| (got.header("content-encoding"), got.header("content-type")))
        .collect();
    let json = "application/json";
    assert_eq!(
        seen,
        [
            ("gzip", json),
            ("gzip", json),
            ("gzip, br", json),
            ("gzip", json),
            ("gzip", json),
            ("lz4", json),
            ("", json),
            ("", ""),
            ("", "")
        ]
    );
    assert_eq!(received[8].header("content-length"), "0");
}

/// As Python's SDK writes the time, pika a decimal, and AMQP 1.0 clients an event without a header of its id.
#[tokio::test(flavor = "multi_thread")]
async fn attributes_are_read_as_libraries_write_them() {
    let decimal = DecimalValue {
        scale: 2,
        value: (-1250_i32).cast_unsigned(),
    };
    let python = headers(&[
        ("cloudEvents_id", text("1")),
        (
            "cloudEvents_time",
            AMQPValue::LongLongInt(1_767_303_245_678),
        ),
        ("cloudEvents_price", AMQPValue::DecimalValue(decimal)),
    ]);
    let without_id = headers(&[
        ("cloudEvents:specversion", text("1.0")),
        ("cloudEvents:type", text("order.placed")),
        ("cloudEvents:tenant", text("blue")),
    ])
    .with_message_id("m".into());
    let trace = headers(&[
        ("traceparent", text(PARENT)),
        ("tracestate", text("rojo=1, congo=\"2\"")),
    ]);
    let no_trace = headers(&[
        ("cloudEvents_id", text("1")),
        ("cloudEvents_traceparent", text("not a trace")),
    ]);
    let messages = [python, without_id, trace, no_trace];
    let messages = messages.map(|properties| (properties, &b"x"[..]));
    let received = delivered("", messages.into()).await;
    for got in &received[..2] {
        assert_eq!(got.header("ce-time"), "2026-01-01T21:34:05.678Z");
        assert_eq!(got.header("ce-price"), "-12.50");
    }
    let got = &received[2];
    assert_eq!(
        (got.header("ce-id"), got.header("ce-type")),
        ("m", "order.placed")
    );
    assert_eq!(got.header("ce-tenant"), "blue");
    let got = &received[3];
    assert_eq!(got.header("tracestate"), "rojo=1, congo=\"2\"");
    assert_eq!(got.header("ce-tracestate"), "rojo=1,%20congo=%222%22");
    let got = &received[4];
    assert_eq!(got.header("ce-traceparent"), "not%20a%20trace");
    assert!(!got.headers.contains_key("traceparent"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_event_is_a_dead_letter_in_one_pass() {
    let virtual_host = virtual_host().await;
    let target = Target::answering(StatusCode::OK).await;
    let dir = tempfile::tempdir().unwrap();
    let routes = format!(
        "[[route]]\nname = \"one\"\nbindings = [\"#\"]\ntarget = \"http://{}/\"\n",
        target.addr
    );
    let listener = listener_alone(&virtual_host.url, dir.path(), &routes).await;
    listener.ready().await;
    let foreign = Foreign::connect(&virtual_host.url).await;
    for (media_type, body, named) in [
        ("application/cloudevents+json", "{", "JSON"),
        (
            "application/cloudevents+json",
            r#"{"specversion":"1.0","id":"1","source":"/s"}"#,
            "type is missing",
        ),
        ("application/cloudevents-batch+json", "[]", "batches"),
    ] {
        let properties = BasicProperties::default().with_content_type(media_type.into());
        foreign
            .publish(EXCHANGE, "key", properties, body.as_bytes())
            .await;
        let dead = crate::dead_letter::wait(&virtual_host.management, "one").await;
        let reason = dead["properties"]["headers"]["x-gw-reason"].to_string();
        assert!(reason.contains(named), "{reason}");
        assert_eq!(dead["properties"]["content_type"], media_type);
    }
    assert_eq!(target.count(), 0);
    foreign.close().await;
    listener.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_route_may_deliver_structured_events() {
    let event = headers(&[
        ("cloudEvents_id", text("a b")),
        ("cloudEvents_type", text("a.b")),
        ("cloudEvents_source", text("/s")),
        ("traceparent", text(PARENT)),
    ]);
    let json = event.clone().with_content_type("application/json".into());
    let plain = event.clone().with_content_type("text/plain".into());
    let received = delivered(
        "mode = \"structured\"\n",
        vec![
            (json, br#"{"n":1e400}"#),
            (plain, "Grüße".as_bytes()),
            (event, b"\xff"),
        ],
    )
    .await;
    for got in &received {
        assert_eq!(
            got.header("content-type"),
            "application/cloudevents+json; charset=utf-8"
        );
        assert_eq!(got.header("idempotency-key"), "a%20b");
        assert_eq!(got.header("traceparent"), PARENT);
        assert!(!got.headers.contains_key("ce-id"));
    }
    let body = std::str::from_utf8(&received[1].body).unwrap();
    assert!(body.contains(r#""data":{"n":1e400}"#), "{body}");
    let parsed = |at: usize| serde_json::from_slice::<Value>(&received[at].body).unwrap();
    assert_eq!(
        (&parsed(2)["id"], &parsed(2)["data"]),
        (&"a b".into(), &"Grüße".into())
    );
    assert_eq!(parsed(3)["data_base64"], "/w==");
    assert_eq!(parsed(3)["datacontenttype"], Value::Null);
}

/// As `to_binary` of Python's SDK, and the SDKs of JavaScript, Go and Java, which encode nothing.
#[tokio::test(flavor = "multi_thread")]
async fn binary_events_of_any_sdk_are_taken_as_they_are() {
    let gateway = Gateway::start(&virtual_host().await.url).await;
    let cases = [
        (
            "ce-source",
            "https://x.example/a%20b",
            "https://x.example/a%2520b",
        ),
        ("ce-source", "/a%2Fb", "/a%252Fb"),
        ("ce-source", "/a%252Fb", "/a%252Fb"),
        (
            "ce-dataschema",
            "https://x.example/a%20b",
            "https://x.example/a%2520b",
        ),
        (
            "ce-dataref",
            "https://x.example/a%2Fb?sig=a%2Bb%3D",
            "https://x.example/a%252Fb?sig=a%252Bb%253D",
        ),
        ("ce-subject", "50% off", "50%25%20off"),
        ("ce-time", "9999-12-31T23:59:59Z", "9999-12-31T23:59:59Z"),
        (
            "ce-time",
            "2026-01-02t03:04:05.123456789012z",
            "2026-01-02t03:04:05.123456789012z",
        ),
        ("ce-time", "2016-12-31T23:59:60Z", "2016-12-31T23:59:60Z"),
    ];
    for (at, (name, sent, expected)) in cases.iter().copied().enumerate() {
        let mut request = gateway
            .post("/events")
            .header("ce-specversion", "1.0")
            .header("ce-id", at.to_string())
            .header("ce-type", "order.placed")
            .header("traceparent", PARENT)
            .header("tracestate", "a=1")
            .header(name, sent);
        if name != "ce-source" {
            request = request.header("ce-source", "/s");
        }
        let answer = send(request.body("{}")).await;
        assert_eq!(answer.status, 202, "{name} {sent}: {}", answer.text);
        let got = gateway.target.wait_for(at + 1).await.remove(at);
        assert_eq!(got.header(name), expected);
        assert!(!got.headers.contains_key("content-type"));
        assert_eq!(got.header("tracestate"), "a=1");
        assert_eq!(&got.body[..], b"{}");
    }
    let post = || {
        let request = gateway.post("/events").header("ce-specversion", "1.0");
        request
            .header("ce-type", "order.placed")
            .header("ce-source", "/s")
    };
    // As version 1.2 of Python's SDK, which names the media type twice.
    let twice = post()
        .header("ce-id", "twice")
        .header("ce-datacontenttype", "application/json; charset=utf8")
        .header("content-type", "application/json; charset=utf8");
    assert_eq!(send(twice.body("{}")).await.status, 202);
    let sent = gateway.target.wait_for(cases.len() + 1).await.len();
    let differs = post()
        .header("ce-id", "differs")
        .header("ce-datacontenttype", "text/plain")
        .header("content-type", "application/json");
    assert!(
        send(differs.body("{}"))
            .await
            .problem(400)
            .contains("differs")
    );
    let blank = post().header("ce-id", "%20");
    assert!(send(blank.body("{}")).await.problem(400).contains("spaces"));
    assert_eq!(gateway.target.count(), sent);
    for media_type in [
        "application/cloudevents+json",
        "application/cloudevents-batch+json",
    ] {
        let told = gateway.send("/events/order.placed", media_type, "{}").await;
        assert!(told.problem(400).contains("POST /events"));
    }
    gateway.stop().await;
}
