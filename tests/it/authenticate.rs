//! Request/reply through RabbitMQ: the action `auth`.

use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use lapin::{
    Connection, ConnectionProperties,
    options::{BasicConsumeOptions, QueueBindOptions, QueueDeclareOptions},
    types::FieldTable,
};
use serde_json::Value;
use tests::{
    eventually,
    rabbitmq::virtual_host,
    suite::{ADMIN, Options, Suite},
};

async fn outcome(suite: &Suite, event_type: &str) -> Value {
    eventually(event_type, Duration::from_secs(20), || async {
        suite.events_of_type(event_type).await.pop()
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_right_password_gives_a_user_and_a_token() {
    let suite = Suite::start(&virtual_host().await.url).await;
    let answer = suite.authenticate(ADMIN, &suite.admin_password()).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    let body = answer.json();
    assert_eq!(body["error"], false);
    assert_eq!(body["message"], "Authenticated!");
    assert_eq!(body["data"]["user"]["email"], ADMIN);
    let token = body["data"]["token"].as_str().unwrap();
    assert_eq!(token.split('.').count(), 3, "not a JWT");

    let event = outcome(&suite, "auth.succeeded").await;
    assert_eq!(event["data"]["email"], ADMIN);
    assert!(!event.to_string().contains(token));
    suite.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_and_an_unknown_user_are_denied_alike() {
    let suite = Suite::start(&virtual_host().await.url).await;
    let wrong = suite
        .authenticate(ADMIN, "wrong password")
        .await
        .problem(401);
    let unknown = suite
        .authenticate("nobody@example.com", "wrong password")
        .await;
    assert_eq!(unknown.problem(401), wrong);

    let event = outcome(&suite, "auth.failed").await;
    assert!(!event.to_string().contains("wrong password"));
    suite.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_auth_service_the_answer_is_504_at_the_deadline() {
    let options = Options {
        auth_timeout: Duration::from_secs(2),
        ..Options::default()
    };
    let suite = Suite::start_with(&virtual_host().await.url, options).await;
    suite.ready().await;
    let password = suite.admin_password();
    let Suite { broker, auth, .. } = &suite;
    let addr = auth.addr;
    let body =
        serde_json::json!({"action": "auth", "auth": {"email": ADMIN, "password": password}});
    let url = broker.url("/handle");

    let stopped = suite.auth.stop();
    stopped.await;
    assert!(tokio::net::TcpStream::connect(addr).await.is_err());
    let start = Instant::now();
    tests::http::post(&url, &body).await.problem(504);
    let took = start.elapsed();
    assert!(
        took >= Duration::from_secs(2) && took < Duration::from_secs(5),
        "{took:?}"
    );
}

/// Invariant: credentials never rest in a queue in clear. A queue beside the real one gets a copy
/// of all that passes.
#[tokio::test(flavor = "multi_thread")]
async fn credentials_and_token_cannot_be_read_in_rabbitmq() {
    let virtual_host = virtual_host().await;
    let suite = Suite::start(&virtual_host.url).await;

    let spy = Connection::connect(&virtual_host.url, ConnectionProperties::default())
        .await
        .unwrap();
    let channel = spy.create_channel().await.unwrap();
    let queue = channel
        .queue_declare(
            "".into(),
            QueueDeclareOptions {
                exclusive: true,
                ..QueueDeclareOptions::default()
            },
            FieldTable::default(),
        )
        .await
        .unwrap();
    channel
        .queue_bind(
            queue.name().clone(),
            "auth-service.direct.exchange.request".into(),
            "authenticate".into(),
            QueueBindOptions::default(),
            FieldTable::default(),
        )
        .await
        .unwrap();
    let mut copies = channel
        .basic_consume(
            queue.name().clone(),
            "".into(),
            BasicConsumeOptions::default(),
            FieldTable::default(),
        )
        .await
        .unwrap();

    let password = suite.admin_password();
    let answer = suite.authenticate(ADMIN, &password).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    // The first request asks for the key, the second one holds the credentials.
    for _ in 0..2 {
        let copy = copies.next().await.unwrap().unwrap();
        let text = String::from_utf8(copy.data).unwrap();
        assert!(text.contains("request_id"), "{text}");
        assert!(!text.contains(&password) && !text.contains(ADMIN), "{text}");
        assert_eq!(*copy.properties.delivery_mode(), Some(1), "written to disk");
        assert!(copy.properties.expiration().is_some());
    }
    suite.stop().await;
}
