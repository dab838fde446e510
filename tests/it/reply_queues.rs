//! Answers to requests whose senders name a queue for them, and requests that cannot be answered.

use std::time::Duration;

use axum::{http::StatusCode, response::IntoResponse as _};
use lapin::{BasicProperties, types::FieldTable};
use serde_json::Value;
use tests::{
    eventually,
    foreign::Foreign,
    rabbitmq::{VirtualHost, virtual_host},
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
    /// Requests in the queue `rpc`, one at a time, beside a route of events.
    async fn start() -> Self {
        let virtual_host = virtual_host().await;
        let target = Target::start(|received, _| {
            let body = [b"answer to ", &received.body[..]].concat();
            let json = [("content-type", "text/plain")];
            (StatusCode::IM_A_TEAPOT, json, body).into_response()
        })
        .await;
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
