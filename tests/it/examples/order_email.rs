//! `examples/order-email`: orders by AMQP, an email service that knows only HTTP, and analytics beside it.

use std::time::Duration;

use axum::{http::StatusCode, response::IntoResponse as _};
use serde_json::Value;
use tests::{
    eventually,
    program::Program,
    rabbitmq::{VirtualHost, virtual_host},
    target::Target,
};

use super::{http_service, http_service_at, listener, program};

fn count(program: &Program, text: &str) -> usize {
    program.lines().join("\n").matches(text).count()
}

async fn dead_letter(virtual_host: &VirtualHost) -> Value {
    let queue = "email-queue.dead";
    eventually(queue, Duration::from_secs(20), || async {
        virtual_host.management.take(queue).await.pop()
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn orders_are_placed_before_anybody_listens() {
    let virtual_host = virtual_host().await;
    let orders = program(&virtual_host, "order-email/orders.py 1 2 3").await;
    orders.line("nobody has a queue").await;
    let (email, addr) = http_service("order-email/email_service.py").await;
    let listener = listener(&virtual_host, "order-email/routes.toml", &[addr]).await;
    orders.succeed().await;
    for order in 1..=3 {
        email.line(&format!("thank you for order {order}")).await;
    }
    listener.stop().await;
    assert_eq!(virtual_host.left("email-queue").await, 0);
    assert_eq!(count(&email, "thank you"), 3, "no mail is sent twice");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_email_service_is_there_first_and_away_for_a_while() {
    let virtual_host = virtual_host().await;
    let (email, addr) = http_service("order-email/email_service.py").await;
    let listener = listener(&virtual_host, "order-email/routes.toml", &[addr]).await;
    let analytics = program(&virtual_host, "order-email/analytics.py").await;
    analytics.line("counting").await;
    let orders = program(&virtual_host, "order-email/orders.py 1 2").await;
    orders.succeed().await;
    email.line("thank you for order 1").await;
    email.line("thank you for order 2").await;

    email.kill().await;
    let orders = program(&virtual_host, "order-email/orders.py 3 4").await;
    orders.succeed().await;
    // Its copy is its own: it does not wait for anybody.
    for order in 1..=4 {
        analytics.line(&format!("counted order {order}")).await;
    }
    let email = http_service_at("order-email/email_service.py", addr).await;
    email.line("thank you for order 3").await;
    email.line("thank you for order 4").await;
    listener.stop().await;
    assert_eq!(virtual_host.left("email-queue").await, 0);
    assert_eq!(count(&email, "thank you"), 2);
    assert_eq!(count(&analytics, "counted"), 4);
}

/// The order service declares the queue, and a classic one: it stays as it is, and what waits in it
/// is delivered, tried again, or a dead letter, as from any other queue.
#[tokio::test(flavor = "multi_thread")]
async fn an_existing_queue_is_consumed_as_it_is() {
    let virtual_host = virtual_host().await;
    let orders = program(&virtual_host, "order-email/orders.py --own-queue 1 2").await;
    orders.succeed().await;
    let target = Target::start(|received, before| {
        let order: Value = serde_json::from_slice(&received.body).unwrap();
        match (order["order"].as_str(), before) {
            (Some("2"), _) => StatusCode::UNPROCESSABLE_ENTITY,
            (_, 0 | 1) => StatusCode::INTERNAL_SERVER_ERROR,
            _ => StatusCode::OK,
        }
        .into_response()
    })
    .await;
    let listener = listener(
        &virtual_host,
        "order-email/existing-queue.toml",
        &[target.addr],
    )
    .await;
    let received = target.wait_for(3).await;
    assert_eq!(received[2].header("x-gw-attempt"), "2");
    assert_eq!(received[2].header("ce-type"), "order.placed");
    let dead = dead_letter(&virtual_host).await;
    assert_eq!(
        dead["payload"],
        r#"{"order": "2", "email": "customer-2@example.com"}"#
    );
    listener.stop().await;
    assert_eq!(virtual_host.left("email-queue").await, 0);
    let arguments = virtual_host.management.arguments("email-queue").await;
    assert!(
        arguments
            .get("x-queue-type")
            .is_none_or(|kind| kind == "classic")
    );
}
