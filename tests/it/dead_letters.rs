//! Dead letters as operators meet them: drained into the logger's store, listed, replayed and
//! discarded through the listener.

mod by_event;
mod command;
mod crash;
mod replay;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::{http::StatusCode, response::IntoResponse as _};
use lapin::{
    BasicProperties, Connection, ConnectionProperties,
    options::{BasicGetOptions, BasicNackOptions, BasicPublishOptions, BasicRejectOptions},
};
use reqwest::Method;
use serde_json::{Value, json};
use tests::{
    eventually, http,
    rabbitmq::{VirtualHost, virtual_host},
    suite::{Options, Service, Suite, listener, listener_alone, logger_at},
    target::Target,
};

const PATIENCE: Duration = Duration::from_secs(20);

/// A suite whose one route leads to a target that refuses every event until it is told otherwise.
struct Refused {
    suite: Suite,
    target: Target,
    accepts: Arc<AtomicBool>,
    virtual_host: VirtualHost,
}

fn route(name: &str, key: &str, target: &Target) -> String {
    format!(
        "[[route]]\nname = \"{name}\"\nbindings = [\"{key}\"]\n\
         target = \"http://{}/{name}\"\nretry_ms = []\n",
        target.addr
    )
}

fn only_one(target: &Target) -> Options {
    Options {
        routes: Some(route("one", "log.INFO", target)),
        ..Options::default()
    }
}

async fn post(broker: &Service, level: &str, name: &str) -> String {
    let entry = json!({"name": name, "data": {"n": 1}, "level": level});
    let body = json!({"action": "log", "log": entry});
    let answer = http::post(&broker.url("/handle"), &body).await;
    assert_eq!(answer.status, 202, "{}", answer.text);
    answer.json()["data"]["id"].as_str().unwrap().to_owned()
}

impl Refused {
    async fn start() -> Self {
        Self::start_in(virtual_host().await).await
    }

    async fn start_in(virtual_host: VirtualHost) -> Self {
        let accepts = Arc::new(AtomicBool::new(false));
        let accepting = accepts.clone();
        let target = Target::start(move |_, _| {
            if accepting.load(Ordering::Relaxed) {
                StatusCode::OK.into_response()
            } else {
                (StatusCode::UNPROCESSABLE_ENTITY, "no such tenant\x1b[31m\n").into_response()
            }
        })
        .await;
        let routes = route("one", "log.INFO", &target) + &route("two", "log.WARN", &target);
        let options = Options {
            routes: Some(routes),
            ..Options::default()
        };
        let suite = Suite::start_with(&virtual_host.url, options).await;
        suite.ready().await;
        Self {
            suite,
            target,
            accepts,
            virtual_host,
        }
    }

    fn accept(&self) {
        self.accepts.store(true, Ordering::Relaxed);
    }

    /// Posts an event and returns its id.
    async fn post(&self, level: &str, name: &str) -> String {
        post(&self.suite.broker, level, name).await
    }

    /// The listing of `query`, once it has `total` dead letters.
    async fn listed(&self, query: &str, total: u64) -> Vec<Value> {
        let url = self.suite.listener.url(&format!("/dead-letters?{query}"));
        let what = format!("{total} dead letters of {query}");
        eventually(&what, PATIENCE, || async {
            let listing = http::get(&url).await.json();
            (listing["total"] == total).then(|| listing["dead_letters"].as_array().unwrap().clone())
        })
        .await
    }

    async fn ask(&self, method: Method, path: &str) -> http::Answer {
        let url = self.suite.listener.url(&format!("/dead-letters{path}"));
        http::send(method, &url, "").await
    }

    async fn stop(self) {
        self.suite.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_event_is_listed_shown_and_replayed() {
    let refused = Refused::start().await;
    let event = refused.post("INFO", "doomed").await;
    let [letter] = refused.listed("route=one", 1).await.try_into().unwrap();
    for (member, value) in [
        ("event_id", json!(event)),
        ("queue", json!("events.topic.exchange.queue.one")),
        ("type", json!("log.INFO")),
        ("state", json!("dead")),
        ("reason", json!("the target answered 422")),
        ("answer", json!("no such tenant [31m")),
        ("status", json!(422)),
        ("attempts", json!(1)),
        ("deaths", json!(1)),
    ] {
        assert_eq!(letter[member], value, "{member} of {letter}");
    }
    let id = letter["id"].as_str().unwrap().to_owned();
    let shown = refused.ask(Method::GET, &format!("/{id}")).await.json();
    assert_eq!(shown["routing_key"], "log.INFO");
    assert_eq!(shown["event"]["id"], event);
    let data = refused.ask(Method::GET, &format!("/{id}/data")).await;
    let sent = refused.target.received()[0].body.clone();
    assert_eq!(data.text.as_bytes(), sent);
    // Looking took nothing away, and there is nothing left in the queue to be taken.
    let queue = "events.topic.exchange.queue.one.dead";
    assert!(refused.virtual_host.management.take(queue).await.is_empty());

    refused.accept();
    let replay = format!("/{id}/replay");
    let answer = refused.ask(Method::POST, &replay).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    let received = refused.target.wait_for(2).await;
    assert_eq!(received[1].header("ce-id"), event);
    assert_eq!(received[1].header("x-gw-attempt"), "1");
    assert_eq!(received[1].body, sent);
    for header in ["ce-type", "ce-source", "ce-time", "content-type"] {
        assert_eq!(
            received[1].header(header),
            received[0].header(header),
            "{header}"
        );
    }
    refused.listed("", 0).await;
    refused.listed("state=replayed", 1).await;
    refused.ask(Method::POST, &replay).await.problem(409);
    assert_eq!(refused.target.count(), 2);
    // Where its queue was deleted meanwhile, say.
    let again = format!("{replay}?again=true");
    assert_eq!(refused.ask(Method::POST, &again).await.status, 200);
    refused.target.wait_for(3).await;
    refused.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_discarded_stays_and_can_be_had_back() {
    let refused = Refused::start().await;
    for name in ["a", "b", "c"] {
        refused.post("INFO", name).await;
    }
    refused.post("WARN", "d").await;
    let letters = refused.listed("", 4).await;
    let id = letters
        .iter()
        .find(|letter| letter["route"] == "one")
        .unwrap()["id"]
        .as_str()
        .unwrap();
    let discarded = refused.ask(Method::POST, &format!("/{id}/discard")).await;
    assert_eq!(discarded.status, 200, "{}", discarded.text);
    refused.listed("route=one", 2).await;
    let discarded = refused.ask(Method::POST, "/discard?route=one").await;
    assert_eq!(discarded.json()["data"]["discarded"], 2);
    refused.listed("", 1).await;
    refused.listed("state=discarded", 3).await;

    refused.accept();
    let replayed = refused.ask(Method::POST, &format!("/{id}/replay")).await;
    assert_eq!(replayed.status, 200, "{}", replayed.text);
    refused.target.wait_for(5).await;
    refused.listed("state=discarded", 2).await;
    refused.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_means_everything_must_say_so() {
    let refused = Refused::start().await;
    refused.post("INFO", "a").await;
    refused.listed("", 1).await;
    for path in [
        "/discard",
        "/discard?all=no",
        "/replay",
        "/replay?rate=1",
        "/replay?all=true&rate=0",
        "/replay?route=one&state=replayed",
        "/replay?rout=one",
        "/replay?route=one&type=",
        "/discard?route=one&type=",
        "/replay?since=yesterday",
    ] {
        let message = refused.ask(Method::POST, path).await.problem(400);
        assert!(!message.is_empty(), "{path}");
    }
    for path in ["/no-such-id", "/..%2F..%2Flogs", "/%00", "/%FF", "/"] {
        refused.ask(Method::GET, path).await.problem(404);
        let replay = format!("{path}/replay");
        refused.ask(Method::POST, &replay).await.problem(404);
    }
    refused.listed("", 1).await;
    assert_eq!(refused.target.count(), 1);
    refused.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_logger_is_away_dead_letters_wait_in_their_queue() {
    let mut refused = Refused::start().await;
    let addr = refused.suite.logger.addr;
    refused.suite.logger.stop().await;
    let event = post(&refused.suite.broker, "INFO", "doomed").await;
    let routes = refused.suite.listener.url("/routes");
    let reason = eventually("the drain says what it waits for", PATIENCE, || async {
        let routes = http::get(&routes).await.json();
        let drain = &routes["routes"][0]["dead_letters"];
        drain["reason"].as_str().map(str::to_owned)
    })
    .await;
    assert!(
        reason.contains("logger-service could not be reached"),
        "{reason}"
    );
    let listing = http::get(&refused.suite.listener.url("/dead-letters")).await;
    assert!(listing.headers.contains_key("retry-after"));
    listing.problem(503);

    refused.suite.logger = logger_at(addr, refused.suite.dir.path()).await;
    let letters = refused.listed("", 1).await;
    assert_eq!(letters[0]["event_id"], event);
    refused.stop().await;
}

/// The logger refuses the delivery, since it is larger than its bodies may be; it must not refuse
/// the dead letter.
#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_is_too_large_for_its_target_can_still_be_kept() {
    let virtual_host = virtual_host().await;
    let suite = Suite::start(&virtual_host.url).await;
    let other = Connection::connect(&virtual_host.url, ConnectionProperties::default());
    let channel = other.await.unwrap().create_channel().await.unwrap();
    // RabbitMQ 4 takes messages up to 16 MiB unless it is told otherwise.
    let data: Vec<u8> = (0..15 * 1024 * 1024_u32)
        .map(|n| n.to_le_bytes()[1])
        .collect();
    #[expect(clippy::disallowed_methods, reason = "this plays another program")]
    let publish = channel.basic_publish(
        "events.topic.exchange".into(),
        "a.large.one".into(),
        BasicPublishOptions::default(),
        &data,
        BasicProperties::default().with_message_id("nul\0 and \u{e9}".into()),
    );
    publish.await.unwrap();

    let url = suite.listener.url("/dead-letters?type=a.*");
    let letter = eventually("the dead letter", Duration::from_secs(60), || async {
        http::get(&url).await.json()["dead_letters"][0]
            .as_object()
            .cloned()
    })
    .await;
    assert_eq!(letter["status"], 413);
    assert_eq!(letter["data_bytes"], data.len());
    let id = letter["id"].as_str().unwrap();
    let url = suite.listener.url(&format!("/dead-letters/{id}/data"));
    let kept = http::client()
        .get(url)
        .send()
        .await
        .unwrap()
        .bytes()
        .await
        .unwrap();
    assert!(kept == data, "{} bytes", kept.len());
    suite.stop().await;
}

/// A message that kills whoever gets it never reaches the hand-off: RabbitMQ counts, and moves it.
#[tokio::test(flavor = "multi_thread")]
async fn what_rabbitmq_gives_up_is_a_dead_letter_with_a_reason() {
    let mut refused = Refused::start().await;
    refused.suite.listener.stop().await;
    let event = post(&refused.suite.broker, "INFO", "deadly").await;

    let other = Connection::connect(&refused.virtual_host.url, ConnectionProperties::default());
    let channel = other.await.unwrap().create_channel().await.unwrap();
    eventually("RabbitMQ gives it up", Duration::from_secs(60), || async {
        let queue = "events.topic.exchange.queue.one".into();
        let got = channel.basic_get(queue, BasicGetOptions { no_ack: false });
        let Some(message) = got.await.unwrap() else {
            let dead = "events.topic.exchange.queue.one.dead".into();
            let options = BasicGetOptions { no_ack: false };
            let dead = channel.basic_get(dead, options).await.unwrap()?;
            let back = BasicNackOptions {
                multiple: false,
                requeue: true,
            };
            dead.delivery.acker.nack(back).await.unwrap();
            return Some(());
        };
        // RabbitMQ 4.3 counts a reject against the limit of deliveries, and no nack.
        let back = BasicRejectOptions { requeue: true };
        message.delivery.acker.reject(back).await.unwrap();
        None
    })
    .await;

    let options = only_one(&refused.target);
    let (logger, auth) = (&refused.suite.logger, &refused.suite.auth);
    let url = &refused.virtual_host.url;
    refused.suite.listener = listener(url, refused.suite.dir.path(), logger, auth, &options).await;
    let letters = refused.listed("", 1).await;
    assert_eq!(letters[0]["event_id"], event);
    assert_eq!(letters[0]["type"], "log.INFO");
    let reason = letters[0]["reason"].as_str().unwrap();
    assert!(reason.contains("RabbitMQ gave it up"), "{reason}");
    assert_eq!(refused.target.count(), 0);
    refused.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listener_without_a_logger_leaves_them_in_their_queues() {
    let virtual_host = virtual_host().await;
    let dir = tempfile::tempdir().unwrap();
    let routes = "[[route]]\nname = \"a\"\nbindings = [\"#\"]\ntarget = \"http://127.0.0.1:1/\"\n";
    let listener = listener_alone(&virtual_host.url, dir.path(), routes).await;
    listener.ready().await;
    for path in ["/dead-letters", "/dead-letters/x/replay"] {
        let message = http::get(&listener.url(path)).await.problem(404);
        assert!(message.contains("DEAD_LETTERS"), "{message}");
    }
    listener.stop().await;
}
