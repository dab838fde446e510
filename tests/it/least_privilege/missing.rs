//! What is not provided, or not permitted: said by name, healed by itself, and no harm to others.

use std::time::Duration;

use axum::http::StatusCode;
use serde_json::{Value, json};
use tests::{
    eventually, http,
    provided::Provided,
    suite::{Options, Service, Suite, broker},
    target::Target,
};

use super::{PATIENCE, accepted, route, routes};

const LOGGER_QUEUE: &str = "events.topic.exchange.queue.logger";

/// Waits until a service says that it is not ready for a reason with all of `words`.
async fn says(service: &Service, words: &[&str]) {
    let url = service.url("/readyz");
    eventually(&format!("{words:?}"), PATIENCE, || async {
        let answer = http::get(&url).await;
        let has = |word: &&str| answer.text.contains(*word);
        (answer.status == 503 && words.iter().all(has)).then_some(())
    })
    .await;
}

/// The route `name` as the listener shows it, once `member` of it is `value`.
async fn shown(suite: &Suite, name: &str, value: bool) -> Value {
    let url = suite.listener.url("/routes");
    eventually(&format!("{name} consumes: {value}"), PATIENCE, || async {
        let shown = http::get(&url).await.json();
        let routes = shown["routes"].as_array().unwrap().clone();
        let named = routes.into_iter().find(|route| route["name"] == name);
        named.filter(|route| route["consuming"] == value)
    })
    .await
}

fn without(definitions: &Value, member: &str, name: &str) -> Value {
    let mut definitions = definitions.clone();
    let things = definitions[member].as_array_mut().unwrap();
    things.retain(|thing| thing["name"] != name);
    let bindings = definitions["bindings"].as_array_mut().unwrap();
    bindings.retain(|binding| binding["source"] != name && binding["destination"] != name);
    // RabbitMQ 4.3 refuses those of an exchange that is not there.
    let types = definitions["topic_permissions"].as_array_mut().unwrap();
    types.retain(|permission| permission["exchange"] != name);
    definitions
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_provided_is_looked_for_until_it_is_there() {
    let provided = Provided::without_import(None, &[]).await;
    // One that the listener may read: RabbitMQ 4.3 shows a user nothing else.
    let dead = format!("{LOGGER_QUEUE}.dead");
    let definitions = without(&provided.definitions, "queues", &dead);
    let definitions = without(&definitions, "exchanges", "events.topic.exchange");
    provided.import(&definitions).await;
    let suite = provided.suite(None).await;
    says(
        &suite.broker,
        &["looking up exchange events.topic.exchange", "NOT_FOUND"],
    )
    .await;
    says(
        &suite.listener,
        &[&format!("looking up queue {dead}"), "NOT_FOUND"],
    )
    .await;
    shown(&suite, "auth-service", true).await;
    let disconnected = suite.log(json!({"name": "event", "data": 1})).await;
    assert_eq!(disconnected.json()["type"], "urn:problem:disconnected");
    disconnected.problem(503);

    provided.import(&provided.definitions).await;
    suite.ready().await;
    let id = accepted(&suite, "event", "INFO").await;
    suite.logged(&id).await;
    // Nothing was declared beside it.
    let mut queues = provided.virtual_host.management.queues().await;
    let provided_queues = provided.definitions["queues"].as_array().unwrap();
    let mut expected: Vec<_> = provided_queues.iter().map(|queue| &queue["name"]).collect();
    queues.sort();
    expected.sort_by_key(|name| name.to_string());
    assert_eq!(json!(queues), json!(expected));
    suite.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_that_may_not_be_consumed_is_named_and_stops_no_other_route() {
    let target = Target::answering(StatusCode::OK).await;
    let routes = routes("one", "log.*", &target);
    let provided = Provided::without_import(Some(&routes), &[]).await;
    let all_but_one = "^(.*logger|.*logger\\.dead|.*one\\.dead|.*request\\.queue)$";
    let definitions = provided.with_permission("listener", "read", all_but_one);
    provided.import(&definitions).await;
    let suite = provided.suite(Some(&routes)).await;
    let queue = "events.topic.exchange.queue.one";
    let words = [
        &format!("access to queue '{queue}'"),
        "ACCESS_REFUSED",
        "set_permissions",
    ];
    says(&suite.listener, &words).await;
    let id = accepted(&suite, "event", "INFO").await;
    suite.logged(&id).await;
    assert_eq!(target.count(), 0);

    provided.import(&provided.definitions).await;
    suite.ready().await;
    assert_eq!(target.wait_for(1).await[0].header("ce-id"), id);
    suite.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hand_off_that_may_not_be_published_is_named_and_loses_nothing() {
    let target = Target::answering(StatusCode::CONFLICT).await;
    let routes = routes("one", "log.*", &target);
    let provided = Provided::without_import(Some(&routes), &[]).await;
    let definitions = provided.with_permission("listener", "write", "^amq\\.default$");
    provided.import(&definitions).await;
    let suite = provided.suite(Some(&routes)).await;
    suite.ready().await;
    let id = accepted(&suite, "event", "INFO").await;
    says(&suite.listener, &["exchange 'gw.retry'", "ACCESS_REFUSED"]).await;
    suite.logged(&id).await; // by the other route

    provided.import(&provided.definitions).await;
    let listing = suite.listener.url("/dead-letters?route=one");
    eventually("the dead letter", Duration::from_secs(30), || async {
        let letters = http::get(&listing).await.json();
        (letters["dead_letters"][0]["event_id"] == id).then_some(())
    })
    .await;
    suite.ready().await;
    suite.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exchange_that_takes_nothing_makes_the_broker_unready_with_the_reason() {
    let provided = Provided::without_import(None, &[]).await;
    let requests = "^auth-service\\.direct\\.exchange\\.request$";
    let definitions = provided.with_permission("broker", "write", requests);
    provided.import(&definitions).await;
    let suite = provided.suite(None).await;
    suite.ready().await;
    let entry = json!({"name": "event", "data": 1});
    let message = suite.log(entry.clone()).await.problem(503);
    assert!(
        message.contains("exchange 'events.topic.exchange'"),
        "{message}"
    );
    says(
        &suite.broker,
        &["ACCESS_REFUSED", "'events.topic.exchange'"],
    )
    .await;
    // Requests go by a channel of their own, and have another permission.
    suite
        .authenticate("nobody@example.com", "wrong")
        .await
        .problem(401);

    provided.import(&provided.definitions).await;
    suite.ready().await;
    eventually("accepted", PATIENCE, || async {
        (suite.log(entry.clone()).await.status == 202).then_some(())
    })
    .await;
    suite.stop().await;
}

/// As the services do by default.
#[tokio::test(flavor = "multi_thread")]
async fn a_declaration_that_is_refused_says_what_to_do() {
    let provided = Provided::new(None, &[]).await;
    let broker = broker(&provided.url("broker"), &Options::default()).await;
    let declaring = "declaring exchange events.topic.exchange";
    let words = [declaring, "ACCESS_REFUSED", "AMQP_DECLARE=false"];
    says(&broker, &words).await;
    broker.stop().await;
}

/// The bindings are as they were provided, whatever the routes file says, and also where the
/// listener might change them.
#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_the_routes_binds_and_unbinds_nothing() {
    let target = Target::answering(StatusCode::OK).await;
    let before = routes("one", "log.INFO", &target);
    let mut provided = Provided::without_import(Some(&before), &[]).await;
    for kind in ["write", "read"] {
        provided.definitions = provided.with_permission("listener", kind, ".*");
    }
    provided.definitions["topic_permissions"] = json!([]);
    provided.import(&provided.definitions).await;
    let suite = provided.suite(Some(&before)).await;
    suite.ready().await;
    let changed = routes("one", "log.WARN", &target) + &route("two", "log.#", &target);
    std::fs::write(suite.dir.path().join("routes.toml"), changed).unwrap();
    let url = suite.listener.url("/routes/reload");
    let reloaded = http::post(&url, &Value::Null).await;
    assert_eq!(reloaded.status, 200, "{}", reloaded.text);
    says(
        &suite.listener,
        &["looking up queue events.topic.exchange.queue.two"],
    )
    .await;
    shown(&suite, "one", true).await;

    accepted(&suite, "not bound", "WARN").await;
    let id = accepted(&suite, "bound", "INFO").await;
    assert_eq!(target.wait_for(1).await[0].header("ce-id"), id);
    suite.stop().await;
}
