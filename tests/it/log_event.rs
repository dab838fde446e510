//! The main job: an entry posted to the broker is found at the logger.

use reqwest::Method;
use serde_json::json;
use tests::{
    http,
    rabbitmq::virtual_host,
    suite::{ADMIN, Suite},
};

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_posted_to_the_broker_is_found_at_the_logger() {
    let suite = Suite::start(&virtual_host().await.url).await;

    let answer = suite.log(json!({"name": "event", "data": "hello"})).await;
    assert_eq!(answer.status, 202, "{}", answer.text);
    let accepted = answer.json();
    assert_eq!(accepted["error"], false);
    assert_eq!(accepted["message"], "logged via RabbitMQ");
    let id = accepted["data"]["id"].as_str().unwrap();

    let event = suite.logged(id).await;
    assert_eq!(event["id"], id);
    assert_eq!(event["type"], "log.INFO");
    assert_eq!(event["source"], "broker-service");
    assert_eq!(event["name"], "event");
    assert_eq!(event["data"], json!({"name": "event", "data": "hello"}));
    suite.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn data_passes_through_byte_for_byte() {
    let suite = Suite::start(&virtual_host().await.url).await;
    // Nothing of this survives a parser that reads numbers, keys or escapes.
    let data = r#"{ "n": 1e400, "big": 18446744073709551617, "a":1, "a":2, "s": "\u00e9\/é" }"#;
    let entry = format!(r#"{{"name":"bytes","data":{data} ,  "level":"debug"}}"#);
    let body = format!(r#"{{"action":"log","log":{entry}}}"#);

    let answer = http::send(Method::POST, &suite.broker.url("/handle"), body).await;
    assert_eq!(answer.status, 202, "{}", answer.text);
    let id = answer.json()["data"]["id"].as_str().unwrap().to_owned();

    let stored = suite.logged_text(&id).await.text;
    assert!(stored.contains(&entry), "{stored}");
    assert!(stored.contains(r#""type":"log.DEBUG""#), "{stored}");
    suite.stop().await;
}

/// As clients in Go do, whose type of an envelope has a member for each action.
#[tokio::test(flavor = "multi_thread")]
async fn members_of_other_actions_do_not_count() {
    let suite = Suite::start(&virtual_host().await.url).await;
    let mail = json!({"from": "", "to": "", "subject": "", "message": ""});
    let nobody = json!({"email": "", "password": ""});
    let nothing = json!({"name": "", "data": ""});

    let entry = json!({"name": "go", "data": "all members"});
    let envelope = json!({"action": "log", "auth": nobody, "log": entry, "mail": mail});
    let answer = http::post(&suite.broker.url("/handle"), &envelope).await;
    assert_eq!(answer.status, 202, "{}", answer.text);
    let id = answer.json()["data"]["id"].as_str().unwrap().to_owned();
    assert_eq!(suite.logged(&id).await["data"], entry);

    let admin = json!({"email": ADMIN, "password": suite.admin_password()});
    let envelope = json!({"action": "auth", "auth": admin, "log": nothing, "mail": mail});
    let answer = http::post(&suite.broker.url("/handle"), &envelope).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    suite.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_deepest_entry_that_is_accepted_is_stored() {
    let suite = Suite::start(&virtual_host().await.url).await;
    // The envelope and the entry are two levels of the 127 that the broker takes.
    let nested = format!("{}1{}", "[".repeat(125), "]".repeat(125));
    let body = format!(r#"{{"action":"log","log":{{"name":"deep","data":{nested}}}}}"#);

    let answer = http::send(Method::POST, &suite.broker.url("/handle"), body).await;
    assert_eq!(answer.status, 202, "{}", answer.text);
    let id = answer.json()["data"]["id"].as_str().unwrap().to_owned();
    assert_eq!(suite.logged(&id).await["name"], "deep");
    suite.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trace_is_carried_to_the_logger() {
    let suite = Suite::start(&virtual_host().await.url).await;
    let traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let request = http::client()
        .post(suite.broker.url("/handle"))
        .header("traceparent", traceparent)
        .json(&json!({"action": "log", "log": {"name": "traced", "data": 1}}));
    let answer = http::read(request.send().await.unwrap()).await;
    let id = answer.json()["data"]["id"].as_str().unwrap().to_owned();
    assert_eq!(
        suite.logged(&id).await["attributes"]["traceparent"],
        traceparent
    );
    suite.stop().await;
}
