//! Signed deliveries, verified by the library of Standard Webhooks for Python.

use axum::{http::StatusCode, response::IntoResponse as _};
use lapin::BasicProperties;
use serde_json::{Value, json};
use tests::{
    foreign::Foreign,
    python,
    rabbitmq::virtual_host,
    suite::listener_alone,
    target::{Received, Target},
};

const OLD: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const NEW: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";

fn delivery(received: &Received) -> Value {
    let headers = ["webhook-id", "webhook-timestamp", "webhook-signature"];
    let headers: serde_json::Map<_, _> = headers
        .iter()
        .map(|name| ((*name).to_owned(), received.header(name).into()))
        .collect();
    json!({"headers": headers, "body": String::from_utf8_lossy(&received.body)})
}

async fn verify(secret: &str, deliveries: &Value) -> Vec<String> {
    let printed = python::run("webhook_verify.py", &[secret, &deliveries.to_string()]).await;
    printed.lines().map(str::to_owned).collect()
}

/// Both attempts of an event, by the old secret and by the new one; and nothing else is.
#[tokio::test(flavor = "multi_thread")]
async fn each_attempt_is_signed_with_every_secret() {
    let virtual_host = virtual_host().await;
    let dir = tempfile::tempdir().unwrap();
    let target = Target::start(|received, _| match received.header("x-gw-attempt") {
        "1" => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        _ => StatusCode::OK.into_response(),
    })
    .await;
    let routes = format!(
        "[[route]]\nname = \"signed\"\nbindings = [\"#\"]\ntarget = \"http://{}/\"\nretry_ms = [100]\n\
         signing_secrets = [\"{NEW}\", \"{OLD}\"]\n",
        target.addr
    );
    let listener = listener_alone(&virtual_host.url, dir.path(), &routes).await;
    listener.ready().await;
    let publisher = Foreign::connect(&virtual_host.url).await;
    // An id that no header can carry as it is.
    let properties = BasicProperties::default().with_message_id("Größe 50%".into());
    let body = r#"{"size": "Größe"}"#.as_bytes();
    publisher
        .publish("events.topic.exchange", "a", properties, body)
        .await;

    let received = target.wait_for(2).await;
    let mut deliveries = json!([delivery(&received[0]), delivery(&received[1])]);
    let verified = r#"verified {"size": "Gr\u00f6\u00dfe"}"#;
    for secret in [NEW, OLD] {
        assert_eq!(verify(secret, &deliveries).await, [verified, verified]);
    }
    let ids = |index: usize| deliveries[index]["headers"]["webhook-id"].clone();
    assert_eq!((ids(0), ids(0)), (ids(1), "Gr%C3%B6%C3%9Fe%2050%25".into()));
    deliveries[0]["body"] = r#"{"size": "changed"}"#.into();
    deliveries[1]["headers"]["webhook-id"] = "another".into();
    for line in verify(NEW, &deliveries).await {
        assert!(line.starts_with("refused"), "{line}");
    }
    listener.stop().await;
}
