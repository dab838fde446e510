//! `examples/goamqp`: services that follow its conventions, and services that know only HTTP.

use axum::{http::StatusCode, response::IntoResponse as _};
use serde_json::json;
use tests::{
    http,
    rabbitmq::virtual_host,
    suite::{self, Options},
    target::Target,
};

use super::{http_service, listener, program, program_with};

#[tokio::test(flavor = "multi_thread")]
async fn events_go_both_ways() {
    let virtual_host = virtual_host().await;
    let target = Target::start(|_, before| match before {
        0 => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        _ => StatusCode::OK.into_response(),
    })
    .await;
    // Theirs is first at the exchange: it must be declared in exactly their words.
    let invoices = "goamqp/goamqp.py invoices consume order.placed";
    let invoices = program(&virtual_host, invoices).await;
    invoices.line("consuming").await;
    let pricing = tests::port::reserve();
    let targets = [target.addr, pricing];
    let listener = listener(&virtual_host, "goamqp/routes.toml", &targets).await;

    let publish = "goamqp/goamqp.py shop publish order.placed";
    let publish = program_with(&virtual_host, publish, &[r#"{"order": 1}"#]).await;
    publish.succeed().await;
    invoices.line(r#"event {"order": 1} from shop"#).await;
    let received = target.wait_for(2).await;
    assert_eq!(received[1].header("ce-type"), "order.placed");
    assert_eq!(received[1].header("ce-source"), "shop");
    assert_eq!(received[1].header("content-type"), "application/json");
    assert_eq!(received[1].body, r#"{"order": 1}"#);
    // It brings no id: the one that it is given stays over its attempts.
    assert_eq!(received[0].header("ce-id").len(), 36);
    assert_eq!(received[0].header("ce-id"), received[1].header("ce-id"));

    let broker = suite::broker(&virtual_host.url, &Options::default()).await;
    broker.ready().await;
    let posted = http::post(&broker.url("/events/order.placed"), &json!({"order": 2})).await;
    assert_eq!(posted.status, 202, "{}", posted.text);
    invoices.line(r#"event {"order": 2}"#).await;
    target.wait_for(3).await;
    broker.stop().await;
    listener.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_are_answered_to_whoever_asked() {
    let virtual_host = virtual_host().await;
    let mailer = tests::port::reserve();
    let (pricing, addr) = http_service("goamqp/pricing.py").await;
    let listener = listener(&virtual_host, "goamqp/routes.toml", &[mailer, addr]).await;
    let ask = async |name: &str, item: &str| {
        let line = format!("goamqp/goamqp.py {name} request pricing quote");
        let request = json!({ "item": item }).to_string();
        program_with(&virtual_host, &line, &[&request]).await
    };
    let shop = ask("shop", "lamp").await;
    let office = ask("office", "chair").await;
    let (shop, office) = (shop.succeed().await, office.succeed().await);
    assert_eq!(shop, [r#"response {"item": "lamp", "cents": 4900}"#]);
    assert_eq!(office, [r#"response {"item": "chair", "cents": 12900}"#]);
    assert_eq!(pricing.lines().len(), 3, "each was asked once");
    listener.stop().await;
}
