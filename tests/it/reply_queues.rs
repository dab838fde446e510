//! Answers to requests whose senders name a queue for them, and requests that cannot be answered.

use std::time::Duration;

use axum::{http::StatusCode, response::IntoResponse as _};
use lapin::{BasicProperties, types::FieldTable};
use serde_json::Value;
use tests::{
    eventually,
    foreign::Foreign,
    rabbitmq::{VirtualHost, virtual_host},
    raw::{Raw, entry, long, short, with_text},
    suite::{Service, listener_alone},
    target::Target,
};

const PATIENCE: Duration = Duration::from_secs(20);
/// Of the event route beside the requests.
const EVENTS: &str = "events.topic.exchange.queue.events";

struct Asked {
    virtual_host: VirtualHost,
    target: Target,
    listener: Service,
    sender: Foreign,
}

impl Asked {
    async fn start() -> Self {
        let target = Target::start(|received, _| {
            let body = [b"answer to ", &received.body[..]].concat();
            let json = [("content-type", "text/plain")];
            (StatusCode::IM_A_TEAPOT, json, body).into_response()
        });
        Self::of(target.await).await
    }

    /// Requests in the queue `rpc`, one at a time, beside a route of events.
    async fn of(target: Target) -> Self {
        let virtual_host = virtual_host().await;
        let routes = format!(
            "[[request]]\nname = \"rpc\"\nqueue = \"rpc\"\ntarget = \"http://{addr}/\"\n\
             concurrency = 1\nprefetch = 1\n\
             [[route]]\nname = \"events\"\nbindings = [\"nothing\"]\nretry_ms = [60000]\n\
             target = \"http://{addr}/events\"\n",
            addr = target.addr
        );
        let dir = tempfile::tempdir().unwrap();
        let listener = listener_alone(&virtual_host.url, dir.path(), &routes).await;
        listener.ready().await;
        let sender = Foreign::connect(&virtual_host.url).await;
        sender.queue("replies", FieldTable::default()).await;
        Self {
            virtual_host,
            target,
            listener,
            sender,
        }
    }

    async fn ask(&self, body: &str, reply_to: Option<&str>) {
        let mut properties = BasicProperties::default().with_correlation_id(body.into());
        if let Some(reply_to) = reply_to {
            properties = properties.with_reply_to(reply_to.into());
        }
        self.sender
            .publish("", "rpc", properties, body.as_bytes())
            .await;
    }

    /// The next answer in the queue `replies`.
    async fn answer(&self) -> Value {
        eventually("an answer", PATIENCE, || async {
            self.virtual_host.management.take("replies").await.pop()
        })
        .await
    }

    async fn stop(self) {
        self.sender.close().await;
        self.listener.stop().await;
    }
}

/// The target did what it was asked for, and may not be able to do it twice.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_too_large_to_pass_on_is_an_error_and_the_target_is_asked_once() {
    let large = Target::start(|_, _| "x".repeat(70_000).into_response()).await;
    let asked = Asked::of(large).await;
    for request in ["one", "two"] {
        asked.ask(request, Some("replies")).await;
        let answer = asked.answer().await;
        let properties = &answer["properties"];
        assert_eq!(properties["correlation_id"], request);
        assert_eq!(properties["headers"]["x-gw-status"], 502, "{answer}");
        let said = answer["payload"].as_str().unwrap();
        assert!(said.contains("more than 65536 bytes"), "{said}");
    }
    assert_eq!(asked.target.count(), 2);
    asked.listener.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plain_reply_queue_gets_the_answer() {
    let asked = Asked::start().await;
    asked.ask("one", Some("replies")).await;
    let answer = asked.answer().await;
    assert_eq!(answer["payload"], "answer to one");
    let properties = &answer["properties"];
    assert_eq!(properties["correlation_id"], "one");
    assert_eq!(properties["content_type"], "text/plain");
    assert_eq!(properties["headers"]["x-gw-status"], 418);
    // It waits for as long as its queue does.
    assert_eq!(properties["delivery_mode"], 2);
    assert_eq!(asked.target.count(), 1);
    asked.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_answered_is_not_asked() {
    let asked = Asked::start().await;
    asked.ask("for nobody", None).await;
    asked.ask("for nobody", Some("")).await;
    asked.ask("last", Some("replies")).await;
    assert_eq!(asked.answer().await["payload"], "answer to last");
    assert_eq!(asked.target.count(), 1, "only the last one is asked");
    asked.stop().await;
}

/// Cleaned, its name is that of another queue, which somebody else may have.
#[tokio::test(flavor = "multi_thread")]
async fn a_reply_queue_that_is_not_utf8_gets_no_answer_and_nobody_else_does() {
    let asked = Asked::start().await;
    asked.sender.queue("caf?", FieldTable::default()).await;
    let mut raw = Raw::connect(&asked.virtual_host.url).await;
    let (reply_to, correlation_id) = (6, 5);
    for name in [&b"caf\xe9"[..], b"caf\xe8", b"\xff"] {
        let properties = with_text(reply_to, name, b"id");
        raw.publish("", b"rpc", &properties, b"for nobody").await;
    }
    // Beside headers that need more room than there is to say so.
    let headers: Vec<u8> = (0..100)
        .flat_map(|number| entry(format!("\u{e9}\0{number}").as_bytes(), b'V', b""))
        .chain((0..100).flat_map(|number| entry(&[0xff, number, b'x'], b'V', b"")))
        .collect();
    let flags = [0x22, 0];
    let many = [&flags[..], &long(&headers), &short(b"caf\xe9")].concat();
    raw.publish("", b"rpc", &many, b"for nobody").await;
    let plain = with_text(correlation_id, b"caf\xe9", b"id");
    raw.publish("", b"rpc", &plain, b"for nobody").await;
    raw.confirmed().await;
    asked.ask("last", Some("replies")).await;
    assert_eq!(asked.answer().await["payload"], "answer to last");
    assert_eq!(asked.target.count(), 1, "only the last one is asked");
    assert_eq!(asked.sender.purge("caf?").await, 0);
    asked.stop().await;
}

/// Its requester knows the answer by the queue that it comes to.
#[tokio::test(flavor = "multi_thread")]
async fn a_correlation_id_that_is_not_utf8_comes_back_replaced() {
    let asked = Asked::start().await;
    let mut raw = Raw::connect(&asked.virtual_host.url).await;
    let flags = [0x06, 0]; // correlation_id and reply_to
    let properties = [&flags[..], &short(b"caf\xe9"), &short(b"replies")].concat();
    raw.publish("", b"rpc", &properties, b"one").await;
    raw.confirmed().await;
    let answer = asked.answer().await;
    assert_eq!(answer["payload"], "answer to one");
    assert_eq!(answer["properties"]["correlation_id"], "caf?");
    asked.stop().await;
}

/// Otherwise anybody who may send a request could put an event anywhere.
#[tokio::test(flavor = "multi_thread")]
async fn no_answer_goes_into_a_queue_of_the_suite() {
    let asked = Asked::start().await;
    let [dead, retry] = [".dead", ".retry.60000"].map(|copies| EVENTS.to_owned() + copies);
    let own = [EVENTS, &dead, &retry, "rpc"];
    for queue in own {
        asked.ask("injected", Some(queue)).await;
    }
    asked.ask("last", Some("replies")).await;
    assert_eq!(asked.answer().await["payload"], "answer to last");
    assert_eq!(asked.target.count(), 1, "only the last one is asked");
    for queue in own {
        let left = asked.virtual_host.management.take(queue).await;
        assert!(left.is_empty(), "{queue}: {left:?}");
    }
    asked.stop().await;
}

/// Its sender may be gone, with its queue; the next one is served.
#[tokio::test(flavor = "multi_thread")]
async fn a_reply_queue_that_is_gone_holds_nothing_up() {
    let asked = Asked::start().await;
    asked.ask("gone", Some("no such queue")).await;
    asked.ask("last", Some("replies")).await;
    assert_eq!(asked.answer().await["payload"], "answer to last");
    assert_eq!(asked.target.count(), 2);
    asked.stop().await;
}
