//! What a message carried, its retries, its dead letter and its replay carry too.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU16, Ordering},
    },
    time::Duration,
};

use axum::{http::StatusCode, response::IntoResponse as _};
use lapin::{
    BasicProperties, ExchangeKind,
    options::QueueBindOptions,
    types::{AMQPValue, FieldTable},
};
use reqwest::Method;
use serde_json::{Value, json};
use tests::{
    eventually,
    foreign::Foreign,
    http,
    rabbitmq::{VirtualHost, virtual_host},
    suite::{Options, Suite},
    target::Target,
};

const PATIENCE: Duration = Duration::from_secs(20);

/// A suite with routes to a target that answers what it is told to.
struct Stage {
    virtual_host: VirtualHost,
    target: Target,
    status: Arc<AtomicU16>,
    suite: Suite,
    foreign: Foreign,
}

impl Stage {
    async fn start(routes: impl Fn(&Target) -> String) -> Self {
        let virtual_host = virtual_host().await;
        let status = Arc::new(AtomicU16::new(422));
        let answered = status.clone();
        let target = Target::start(move |_, _| {
            let status = StatusCode::from_u16(answered.load(Ordering::Relaxed));
            (status.unwrap(), "answer").into_response()
        })
        .await;
        let options = Options {
            routes: Some(routes(&target)),
            ..Options::default()
        };
        let suite = Suite::start_with(&virtual_host.url, options).await;
        suite.ready().await;
        let foreign = Foreign::connect(&virtual_host.url).await;
        Self {
            virtual_host,
            target,
            status,
            suite,
            foreign,
        }
    }

    fn answer(&self, status: u16) {
        self.status.store(status, Ordering::Relaxed);
    }

    /// The one dead letter, once it died `deaths` times.
    async fn dead(&self, deaths: u64) -> Value {
        let url = self.suite.listener.url("/dead-letters");
        eventually("a dead letter", PATIENCE, || async {
            let listing = http::get(&url).await.json();
            let letter = listing["dead_letters"].get(0)?.clone();
            (letter["deaths"] == deaths).then_some(letter)
        })
        .await
    }

    async fn replay(&self, letter: &Value) -> http::Answer {
        let path = format!("/dead-letters/{}/replay", letter["id"].as_str().unwrap());
        http::send(Method::POST, &self.suite.listener.url(&path), "").await
    }

    /// The next message of a queue.
    async fn take(&self, queue: &str) -> Value {
        eventually(queue, PATIENCE, || async {
            self.virtual_host.management.take(queue).await.pop()
        })
        .await
    }

    async fn stop(self) {
        self.foreign.close().await;
        self.suite.stop().await;
    }
}

fn route(target: &Target, retry_ms: &str) -> String {
    format!(
        "[[route]]\nname = \"one\"\nbindings = [\"key\"]\nretry_ms = [{retry_ms}]\n\
         target = \"http://{}/\"\n",
        target.addr
    )
}

/// A message with everything that a sender may set, in the types of AMQP.
fn everything() -> BasicProperties {
    let mut nested = FieldTable::default();
    nested.insert("deep".into(), AMQPValue::LongLongInt(7));
    let mut headers = FieldTable::default();
    for (name, value) in [
        ("n", AMQPValue::LongLongInt(7)),
        ("yes", AMQPValue::Boolean(true)),
        ("half", AMQPValue::Double(0.5)),
        ("text", AMQPValue::LongString("Grüße".into())),
        ("nested", AMQPValue::FieldTable(nested)),
        ("large", AMQPValue::LongString("x".repeat(70_000).into())),
    ] {
        headers.insert(name.into(), value);
    }
    BasicProperties::default()
        .with_headers(headers)
        .with_message_id("m-1".into())
        .with_content_type("text/plain".into())
        .with_content_encoding("identity".into())
        .with_priority(7)
        .with_correlation_id("c-1".into())
        .with_reply_to("elsewhere".into())
        .with_timestamp(1_700_000_000)
        .with_type("placed".into())
        .with_app_id("shop".into())
}

/// What of [`everything`] a copy has.
fn check(copy: &Value) {
    let properties = &copy["properties"];
    for (name, value) in [
        ("message_id", json!("m-1")),
        ("content_type", json!("text/plain")),
        ("content_encoding", json!("identity")),
        ("priority", json!(7)),
        ("correlation_id", json!("c-1")),
        ("reply_to", json!("elsewhere")),
        ("timestamp", json!(1_700_000_000)),
        ("type", json!("placed")),
        ("app_id", json!("shop")),
        ("delivery_mode", json!(2)),
    ] {
        assert_eq!(properties[name], value, "{name}");
    }
    let headers = &properties["headers"];
    for (name, value) in [
        ("n", json!(7)),
        ("yes", json!(true)),
        ("half", json!(0.5)),
        ("text", json!("Grüße")),
        ("nested", json!({"deep": 7})),
        ("large", Value::Null),
        ("x-gw-dropped-headers", json!("large")),
        ("x-gw-exchange", json!("events.topic.exchange")),
        ("x-gw-routing-key", json!("key")),
    ] {
        assert_eq!(headers[name], value, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_a_dead_letter_and_a_replay_keep_what_came() {
    let stage = Stage::start(|target| route(target, "60000")).await;
    let waiting = "events.topic.exchange.queue.one.retry.60000";
    let publish = || {
        let exchange = "events.topic.exchange";
        stage
            .foreign
            .publish(exchange, "key", everything(), b"data")
    };
    stage.answer(500);
    publish().await;
    let retried = stage.take(waiting).await;
    check(&retried);

    stage.answer(422);
    publish().await;
    let letter = stage.dead(1).await;
    // The copy that a replay makes is seen in its next retry.
    stage.answer(500);
    assert_eq!(stage.replay(&letter).await.status, 200);
    let replayed = stage.take(waiting).await;
    check(&replayed);
    let first = &replayed["properties"]["headers"]["x-gw-first-failure"];
    assert_eq!(*first, letter["first_failure"]);
    stage.stop().await;
}

/// Its answer was refused as what does not name its sender, without the target being asked.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_died_is_replayed_and_answered_to_its_sender() {
    let stage = Stage::start(|target| {
        format!(
            "[[request]]\nservice = \"orders\"\nkey = \"order.get\"\nretry_ms = []\n\
             reply = \"response-exchange\"\ntarget = \"http://{}/\"\n",
            target.addr
        )
    })
    .await;
    let responses = "orders.headers.exchange.response";
    stage
        .foreign
        .exchange(responses, ExchangeKind::Headers)
        .await;
    stage.foreign.queue("answers", FieldTable::default()).await;
    let mut sender = FieldTable::default();
    sender.insert("service".into(), AMQPValue::LongString("shop".into()));
    let bind = stage.foreign.channel.queue_bind(
        "answers".into(),
        responses.into(),
        "".into(),
        QueueBindOptions::default(),
        sender.clone(),
    );
    bind.await.unwrap();
    let request = BasicProperties::default()
        .with_headers(sender)
        .with_correlation_id("c-1".into());
    let exchange = "orders.direct.exchange.request";
    let asked = stage
        .foreign
        .publish(exchange, "order.get", request, b"one");
    asked.await;
    let letter = stage.dead(1).await;
    stage.answer(200);
    assert_eq!(stage.replay(&letter).await.status, 200);
    let answer = stage.take("answers").await;
    assert_eq!(answer["payload"], "answer");
    assert_eq!(answer["properties"]["correlation_id"], "c-1");
    assert_eq!(stage.target.count(), 2);
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_expires_on_its_way_is_a_dead_letter_that_says_so() {
    let stage = Stage::start(|target| route(target, "2500")).await;
    stage.answer(500);
    let mut forged = FieldTable::default();
    forged.insert("x-gw-expires-at".into(), AMQPValue::LongLongInt(1));
    let expiring = BasicProperties::default()
        .with_headers(forged)
        .with_expiration("1500".into());
    let exchange = "events.topic.exchange";
    let publish = stage.foreign.publish(exchange, "key", expiring, b"data");
    publish.await;
    let letter = stage.dead(1).await;
    let reason = letter["reason"].as_str().unwrap();
    assert!(
        reason.starts_with("it expired before it was delivered, at 20"),
        "{reason}"
    );
    assert_eq!(
        stage.target.count(),
        1,
        "one attempt in time, none after it"
    );

    // Past its time it is past for good.
    stage.answer(200);
    let message = stage.replay(&letter).await.problem(409);
    assert!(message.contains("it expired at"), "{message}");
    assert_eq!(stage.dead(1).await["state"], "dead");
    assert_eq!(stage.target.count(), 1);
    stage.stop().await;
}

/// It is in time when it comes, and no more when its next attempt is due, for which it waits in hand.
#[tokio::test(flavor = "multi_thread")]
async fn a_task_of_celery_that_expires_between_its_attempts_is_a_dead_letter() {
    let celery = |target: &Target| {
        format!(
            "{}format = \"celery\"\nordered = true\n",
            route(target, "2500")
        )
    };
    let stage = Stage::start(celery).await;
    stage.answer(500);
    let expires = jiff::Timestamp::now() + Duration::from_millis(1500);
    let task =
        format!(r#"{{"task":"a","id":"t-1","args":["order_placed"],"expires":"{expires}"}}"#);
    let properties = BasicProperties::default();
    let exchange = "events.topic.exchange";
    let publish = stage
        .foreign
        .publish(exchange, "key", properties, task.as_bytes());
    publish.await;
    let letter = stage.dead(1).await;
    assert_eq!(letter["event_id"], "t-1", "{letter}");
    let reason = letter["reason"].as_str().unwrap();
    let expected = format!(
        "it expired before it was delivered, at {}",
        &expires.to_string()[..19]
    );
    assert!(reason.starts_with(&expected), "{reason}");
    assert_eq!(stage.target.count(), 1);
    stage.stop().await;
}

/// What remains of its time is RabbitMQ's to keep again.
#[tokio::test(flavor = "multi_thread")]
async fn a_replay_in_time_has_what_remains_of_it() {
    let stage = Stage::start(|target| route(target, "60000")).await;
    let expiring = BasicProperties::default().with_expiration("600000".into());
    let exchange = "events.topic.exchange";
    let publish = stage.foreign.publish(exchange, "key", expiring, b"data");
    publish.await;
    let letter = stage.dead(1).await;
    stage.answer(500);
    assert_eq!(stage.replay(&letter).await.status, 200);
    let waiting = "events.topic.exchange.queue.one.retry.60000";
    let copy = stage.take(waiting).await;
    let at = copy["properties"]["headers"]["x-gw-expires-at"]
        .as_i64()
        .unwrap();
    let died: jiff::Timestamp = letter["last_failure"].as_str().unwrap().parse().unwrap();
    let left = at - died.as_millisecond();
    assert!((590_000..=600_000).contains(&left), "{left}");
    stage.stop().await;
}
