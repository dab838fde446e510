//! Replies that come too late, or to a requester that has gone.

use std::time::Duration;

use axum::{http::StatusCode, response::IntoResponse as _};
use futures_util::StreamExt as _;
use lapin::{
    BasicProperties, Connection, ConnectionProperties,
    options::{BasicConsumeOptions, BasicPublishOptions, QueueBindOptions, QueueDeclareOptions},
    types::{AMQPValue, FieldTable},
};
use reqwest::Method;
use serde_json::{Value, json};
use tests::{
    eventually, http,
    process::Process,
    rabbitmq::{VirtualHost, virtual_host},
    suite::{Options, Service, broker, listener_alone},
    target::Target,
};
use tokio_util::sync::CancellationToken;

/// A listener whose requests to auth-service are answered by `target`.
async fn listener(virtual_host: &VirtualHost, target: &Target) -> Service {
    let dir = tempfile::tempdir().unwrap();
    let routes = format!(
        "[[request]]\nservice = \"auth-service\"\nkey = \"authenticate\"\ntarget = \"http://{}/\"\n\
         timeout_ms = 60000\n",
        target.addr
    );
    let listener = listener_alone(&virtual_host.url, dir.path(), &routes).await;
    listener.ready().await;
    listener
}

fn body() -> Value {
    json!({"action": "auth", "auth": {"email": "a@example.com", "password": "password"}})
}

/// What auth-service says of a request that it cannot read; the broker hands it on.
fn told(message: &str) -> axum::response::Response {
    let body = json!({"message": message}).to_string();
    (StatusCode::BAD_REQUEST, body).into_response()
}

/// Takes the next request, as the listener does.
async fn take(requests: &mut lapin::Consumer) -> BasicProperties {
    let request = tokio::time::timeout(Duration::from_secs(20), requests.next()).await;
    request.unwrap().unwrap().unwrap().properties
}

/// Replies to a request.
async fn reply(channel: &lapin::Channel, request: &BasicProperties, message: &str) {
    let mut headers = FieldTable::default();
    headers.insert("x-gw-status".into(), AMQPValue::LongInt(400));
    let body = json!({"message": message}).to_string();
    let correlation = request.correlation_id().clone().unwrap();
    #[expect(clippy::disallowed_methods, reason = "this plays the listener")]
    let publish = channel.basic_publish(
        "".into(),
        request.reply_to().clone().unwrap(),
        BasicPublishOptions::default(),
        body.as_bytes(),
        BasicProperties::default()
            .with_correlation_id(correlation)
            .with_headers(headers),
    );
    publish.await.unwrap();
}

/// The reply of one request is never that of another one. The listener gives up at the deadline,
/// so somebody else plays it here, who answers too late.
#[tokio::test(flavor = "multi_thread")]
async fn a_late_reply_is_nobodys() {
    let virtual_host = virtual_host().await;
    let options = Options {
        auth_timeout: Duration::from_secs(3),
        ..Options::default()
    };
    let broker = broker(&virtual_host.url, &options).await;
    broker.ready().await;
    let connection = Connection::connect(&virtual_host.url, ConnectionProperties::default());
    let connection = connection.await.unwrap();
    let channel = connection.create_channel().await.unwrap();
    let queue = channel.queue_declare(
        "".into(),
        QueueDeclareOptions::default(),
        FieldTable::default(),
    );
    let queue = queue.await.unwrap().name().clone();
    let bind = channel.queue_bind(
        queue.clone(),
        "auth-service.direct.exchange.request".into(),
        "authenticate".into(),
        QueueBindOptions::default(),
        FieldTable::default(),
    );
    bind.await.unwrap();
    let options = BasicConsumeOptions {
        no_ack: true,
        ..BasicConsumeOptions::default()
    };
    let requests = channel.basic_consume(queue, "".into(), options, FieldTable::default());
    let mut requests = requests.await.unwrap();

    let url = broker.url("/handle");
    http::post(&url, &body()).await.problem(504);
    let first = take(&mut requests).await;
    let second = tokio::spawn(async move { http::post(&url, &body()).await });
    let request = take(&mut requests).await;
    reply(&channel, &first, "the first one, late").await;
    reply(&channel, &request, "the second one").await;
    assert_eq!(second.await.unwrap().problem(400), "the second one");
    broker.stop().await;
}

/// The one who asked is dead when the answer comes; nobody else waits for that.
#[tokio::test(flavor = "multi_thread")]
async fn a_requester_that_is_gone_holds_up_no_other() {
    const ASKED: usize = 40;
    let virtual_host = virtual_host().await;
    let gate = CancellationToken::new();
    let target = Target::start_slow({
        let gate = gate.clone();
        move |_, _| {
            let gate = gate.clone();
            async move {
                gate.cancelled().await;
                told("answered")
            }
        }
    })
    .await;
    let listener = listener(&virtual_host, &target).await;
    let dir = tempfile::tempdir().unwrap();
    let environment = [("AMQP_URL", virtual_host.url.as_str())];
    let mut gone = Process::start("broker-service", dir.path(), &environment).await;
    gone.ready().await;
    for _ in 0..ASKED {
        let url = gone.url("/handle");
        tokio::spawn(async move {
            // Cut by the kill.
            let request = http::client().request(Method::POST, url).json(&body());
            let _ = request.send().await;
        });
    }
    // As many as the route works on at one time.
    target.wait_for(32).await;
    gone.kill().await;
    gate.cancel();

    let broker = broker(&virtual_host.url, &Options::default()).await;
    broker.ready().await;
    eventually("an answer", Duration::from_secs(30), || async {
        let answer = http::post(&broker.url("/handle"), &body()).await;
        (answer.status == 400).then(|| assert_eq!(answer.problem(400), "answered"))
    })
    .await;
    broker.stop().await;
    listener.stop().await;
}
