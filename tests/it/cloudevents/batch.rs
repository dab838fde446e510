//! Batches: each event is taken or refused by itself.

use std::collections::BTreeSet;

use reqwest::header;
use serde_json::{Value, json};
use tests::{
    gateway::{Gateway, QUEUE, send},
    http::Answer,
    rabbitmq::{Node, virtual_host},
    suite::Options,
};

use super::{BATCH, STRUCTURED, TRACEPARENT, event, post};

#[tokio::test(flavor = "multi_thread")]
async fn each_event_of_a_batch_has_a_result() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(
        folder.path().join("order.paid.json"),
        r#"{"required":["sum"]}"#,
    )
    .unwrap();
    let options = Options {
        schemas_dir: Some(folder.path().to_owned()),
        ..Options::default()
    };
    let gateway = Gateway::start_with(&virtual_host().await.url, &options).await;
    let of_type = |id: &str, event_type: &str| {
        let mut event = event(id);
        event["type"] = json!(event_type);
        event["data"] = json!({});
        event
    };
    let mut nameless = event("");
    nameless["id"] = json!(7);
    let batch = json!([
        event("0"), of_type("1", "nobody.wants"), {"id": "2"}, of_type("3", "order.paid"), event("4"),
        nameless, 6,
    ]);
    let request = gateway.post("/events").header(header::CONTENT_TYPE, BATCH);
    let request = request
        .header("traceparent", TRACEPARENT)
        .body(batch.to_string());
    let answer = send(request).await;
    assert_eq!(answer.status, 207, "{}", answer.text);
    assert!(answer.headers.contains_key(header::RETRY_AFTER));
    let body = answer.json();
    assert_eq!(body["error"], true);
    assert_eq!(body["message"], "5 of 7 events were not accepted");
    let results = body["data"]["results"].as_array().unwrap();
    let short = results.iter().map(|result| {
        let text = |name: &str| result[name].as_str().unwrap_or_default().to_owned();
        (
            result["index"].clone(),
            text("id"),
            result["status"].clone(),
            text("type"),
        )
    });
    let problem = |code: &str| format!("urn:problem:{code}");
    let expected = [
        ("0", 202, String::new()),
        ("1", 503, problem("unroutable")),
        ("2", 400, problem("bad-request")),
        ("3", 422, problem("schema-violation")),
        ("4", 202, String::new()),
        ("", 400, problem("bad-request")),
        ("", 400, problem("bad-request")),
    ];
    let expected = expected.into_iter().enumerate();
    let expected =
        expected.map(|(at, (id, status, kind))| (json!(at), id.to_owned(), json!(status), kind));
    assert_eq!(short.collect::<Vec<_>>(), expected.collect::<Vec<_>>());
    assert_eq!(
        results[3]["errors"][0]["message"],
        "the member \"sum\" is missing"
    );
    assert!(
        results[2]["message"]
            .as_str()
            .unwrap()
            .contains("attribute")
    );
    let got = gateway.target.wait_for(2).await;
    let ids: BTreeSet<_> = got.iter().map(|got| got.header("ce-id")).collect();
    assert_eq!(ids, BTreeSet::from(["0", "4"]));
    assert!(
        got.iter()
            .all(|got| got.header("ce-traceparent") == TRACEPARENT)
    );
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_batch_is_accepted_whole() {
    let virtual_host = virtual_host().await;
    let gateway = Gateway::start(&virtual_host.url).await;
    let ids: Vec<_> = (0..500).map(|number| format!("event-{number}")).collect();
    let batch: Vec<_> = ids.iter().map(|id| event(id)).collect();
    let batch = Value::from(batch);
    // Several at once, none of which leaves the others without a place.
    let answers = (0..4).map(|_| post(&gateway, BATCH, &batch));
    for answer in futures_util::future::join_all(answers).await {
        assert_eq!(answer.status, 202, "{}", answer.text);
        let results = answer.json()["data"]["results"].take();
        let told: Vec<_> = results
            .as_array()
            .unwrap()
            .iter()
            .map(|result| {
                assert_eq!(result["status"], 202);
                result["id"].as_str().unwrap().to_owned()
            })
            .collect();
        assert_eq!(told, ids);
    }
    let got = gateway.target.wait_for(2000).await;
    let got: BTreeSet<_> = got.iter().map(|got| got.header("ce-id")).collect();
    assert_eq!(got.len(), 500);
    gateway.stop().await;
    assert_eq!(virtual_host.left(QUEUE).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_batch_is_refused() {
    let gateway = Gateway::start(&virtual_host().await.url).await;
    for body in ["", "{}", "1", "[", "[1,]", "[] []", "\u{feff}[]"] {
        gateway.send("/events", BATCH, body).await.problem(400);
    }
    let empty = gateway.send("/events", BATCH, " [] ").await;
    assert_eq!(empty.status, 202);
    assert_eq!(empty.json()["data"]["results"], json!([]));
    let too_many = format!("[{}1]", "1,".repeat(1000));
    let too_many = gateway.send("/events", BATCH, too_many).await;
    assert!(too_many.problem(413).contains("1000"));
    let one = post(&gateway, BATCH, &json!([{"id": "1"}])).await;
    assert!(one.problem(400).contains("attribute"));
    assert_eq!(one.json()["data"]["results"][0]["id"], "1");
    assert_eq!(gateway.target.count(), 0);
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_rabbitmq_a_batch_is_a_503() {
    let mut node = Node::start().await;
    let virtual_host = node.virtual_host().await;
    let gateway = Gateway::start(&virtual_host.url).await;
    node.stop().await;
    gateway.broker.not_ready().await;
    accepted_none(&post(&gateway, BATCH, &json!([event("1"), event("2")])).await);
    post(&gateway, STRUCTURED, &event("1")).await.problem(503);
    node.start_again().await;
    gateway.broker.ready().await;
    let back = post(&gateway, BATCH, &json!([event("1"), event("2")])).await;
    assert_eq!(back.status, 202, "{}", back.text);
    gateway.target.wait_for(2).await;
    gateway.stop().await;
}

#[track_caller]
fn accepted_none(away: &Answer) {
    away.problem(503);
    assert!(away.headers.contains_key(header::RETRY_AFTER));
    let body = away.json();
    assert_eq!(body["type"], "urn:problem:disconnected");
    for result in body["data"]["results"].as_array().unwrap() {
        assert_eq!(result["status"], 503);
        assert_eq!(result["type"], "urn:problem:disconnected");
    }
}
