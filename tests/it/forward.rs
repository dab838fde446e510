//! What of an AMQP message beside its event reaches a target, where its route names it.

use axum::{http::StatusCode, response::IntoResponse as _};
use lapin::{
    BasicProperties,
    types::{AMQPValue, ByteArray, DecimalValue, FieldArray, FieldTable},
};
use tests::{
    foreign::Foreign,
    rabbitmq::virtual_host,
    suite::listener_alone,
    target::{Received, Target},
};

/// What the target of a route with these `fields` gets of a message, at its first attempt and at the
/// second one, which is made of a copy.
async fn twice(fields: &str, properties: BasicProperties) -> [Received; 2] {
    let virtual_host = virtual_host().await;
    let target = Target::start(|_, before| match before {
        0 => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        _ => StatusCode::OK.into_response(),
    })
    .await;
    let dir = tempfile::tempdir().unwrap();
    let routes = format!(
        "[[route]]\nname = \"one\"\nbindings = [\"#\"]\ntarget = \"http://{}/\"\nretry_ms = [50]\n{fields}\n",
        target.addr
    );
    let listener = listener_alone(&virtual_host.url, dir.path(), &routes).await;
    listener.ready().await;
    let foreign = Foreign::connect(&virtual_host.url).await;
    foreign
        .publish("events.topic.exchange", "order.placed", properties, b"{}")
        .await;
    let received = target.wait_for(2).await;
    foreign.close().await;
    listener.stop().await;
    received.try_into().unwrap()
}

fn headers(entries: Vec<(&str, AMQPValue)>) -> BasicProperties {
    let mut table = FieldTable::default();
    for (name, value) in entries {
        table.insert(name.into(), value);
    }
    BasicProperties::default().with_headers(table)
}

fn text(text: &str) -> AMQPValue {
    AMQPValue::LongString(text.into())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_gets_what_its_route_names_and_nothing_else() {
    let properties = headers(vec![
        ("X-Tenant", text("blue corp")),
        ("x-secret", text("not named")),
        ("x-count", AMQPValue::LongLongInt(-7)),
        ("x-flag", AMQPValue::Boolean(true)),
        ("x-time", AMQPValue::Timestamp(1_700_000_000)),
        (
            "x-price",
            AMQPValue::DecimalValue(DecimalValue {
                scale: 2,
                value: 1999,
            }),
        ),
        ("x-bytes", AMQPValue::ByteArray(ByteArray::from(vec![0xff]))),
        ("x-none", AMQPValue::Void),
    ])
    .with_correlation_id("c-1".into())
    .with_priority(5);
    let named = "forward = { properties = [\"correlation_id\", \"priority\", \"routing_key\"], headers = \
         [\"x-tenant\", \"x-count\", \"x-flag\", \"x-time\", \"x-price\", \"x-bytes\", \"x-none\", \"x-absent\"] }";
    for mode in ["binary", "structured"] {
        let fields = format!("{named}\nmode = \"{mode}\"");
        for got in twice(&fields, properties.clone()).await {
            for (name, value) in [
                ("x-tenant", "blue corp"),
                ("x-count", "-7"),
                ("x-flag", "true"),
                ("x-time", "2023-11-14T22:13:20Z"),
                ("x-price", "19.99"),
                ("x-bytes", "/w=="),
                ("x-gw-correlation-id", "c-1"),
                ("x-gw-priority", "5"),
                ("x-gw-routing-key", "order.placed"),
            ] {
                assert_eq!(got.header(name), value, "{mode}: {name}");
            }
            for absent in [
                "x-secret",
                "x-none",
                "x-absent",
                "x-gw-dropped-headers",
                "x-gw-encoded-headers",
            ] {
                assert!(!got.headers.contains_key(absent), "{mode}: {absent}");
            }
        }
    }
    // It is opt-in.
    for got in twice("", properties).await {
        for absent in [
            "x-tenant",
            "x-gw-correlation-id",
            "x-gw-priority",
            "x-gw-routing-key",
        ] {
            assert!(!got.headers.contains_key(absent), "{absent}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_value_can_end_a_header_or_fill_a_request() {
    let mut list = FieldArray::default();
    list.push(text("a"));
    let properties = headers(vec![
        ("x-lines", text("one\r\nAuthorization: two")),
        ("x-nul", text("a\0b")),
        ("x-name", text("Größe")),
        ("x-list", AMQPValue::FieldArray(list)),
        ("x-table", AMQPValue::FieldTable(FieldTable::default())),
        ("x-long", text(&"x".repeat(2000))),
        ("x-a", text(&"a".repeat(1000))),
        ("x-b", text(&"b".repeat(1000))),
        ("x-c", text(&"c".repeat(1000))),
        ("x-d", text(&"d".repeat(1000))),
        ("x-e", text(&"e".repeat(1000))),
        ("x-last", text("last")),
    ]);
    let fields = "forward = { headers = [\"x-lines\", \"x-nul\", \"x-name\", \"x-list\", \"x-table\", \"x-long\", \
         \"x-a\", \"x-b\", \"x-c\", \"x-d\", \"x-e\", \"x-last\"] }";
    for got in twice(fields, properties).await {
        assert_eq!(got.header("x-lines"), "one%0D%0AAuthorization:%20two");
        assert_eq!(got.header("x-nul"), "a%00b");
        assert_eq!(got.header("x-name"), "Gr%C3%B6%C3%9Fe");
        assert_eq!(got.header("x-last"), "last");
        assert!(!got.headers.contains_key("authorization"));
        assert_eq!(got.header("x-gw-encoded-headers"), "x-lines, x-nul, x-name");
        assert_eq!(
            got.header("x-gw-dropped-headers"),
            "x-list, x-table, x-long, x-e"
        );
    }
}
