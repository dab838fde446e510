//! A batch is published in its order, whichever types it holds.

use lapin::types::FieldTable;
use serde_json::{Value, json};
use tests::{
    foreign::Foreign,
    http::{self, Answer},
    rabbitmq::{VirtualHost, virtual_host},
    suite::{Options, Service, broker},
};

use super::BATCH;

const QUEUE: &str = "all";

/// A broker, and a queue that takes all it publishes.
struct Stage {
    broker: Service,
    foreign: Foreign,
    /// Gone with it.
    _virtual_host: VirtualHost,
}

impl Stage {
    async fn start() -> Self {
        let virtual_host = virtual_host().await;
        let broker = broker(&virtual_host.url, &Options::default()).await;
        broker.ready().await;
        let foreign = Foreign::connect(&virtual_host.url).await;
        foreign.queue(QUEUE, FieldTable::default()).await;
        foreign.bind(QUEUE, "events.topic.exchange", "#").await;
        Self {
            broker,
            foreign,
            _virtual_host: virtual_host,
        }
    }

    /// Publishes one batch of these types, and returns its ids with those that came into the queue.
    async fn publish(&self, types: &[String]) -> (Answer, Vec<String>, Vec<String>) {
        let ids: Vec<_> = (0..types.len()).map(|number| number.to_string()).collect();
        let events = ids.iter().zip(types).map(|(id, event_type)| {
            json!({"specversion": "1.0", "id": id, "type": event_type, "source": "/shop"})
        });
        let batch = Value::from(events.collect::<Vec<_>>()).to_string();
        let request = http::client().post(self.broker.url("/events"));
        let request = request.header("content-type", BATCH).body(batch);
        let answer = http::read(request.send().await.unwrap()).await;
        (answer, ids, self.foreign.take_ids(QUEUE).await)
    }

    async fn keeps_order(&self, types: Vec<String>) {
        let (answer, ids, came) = self.publish(&types).await;
        assert_eq!(answer.status, 202, "{}", answer.text);
        assert!(ids == came, "{came:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_type_that_is_new_and_of_one_that_is_known() {
    let stage = Stage::start().await;
    for _ in 0..4 {
        stage
            .keeps_order(vec!["order.placed".to_owned(); 1000])
            .await;
    }
    stage.broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_new_types_among_known_ones() {
    let stage = Stage::start().await;
    stage.keeps_order(vec!["known".to_owned()]).await;
    for round in 0..4 {
        let of = |number| match number % 10 {
            7 => format!("new.{round}.{}", number / 100),
            9 => format!("new.{round}"),
            _ => "known".to_owned(),
        };
        stage.keeps_order((0..1000).map(of).collect()).await;
    }
    stage.broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_types_that_are_all_new() {
    let stage = Stage::start().await;
    let of = |number| format!("new.{number}");
    stage.keeps_order((0..1000).map(of).collect()).await;
    stage.broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn through_batches_at_the_same_time() {
    let stage = Stage::start().await;
    let batches = (0..4).map(|batch| {
        let events: Vec<_> = (0..500)
            .map(|number| {
                let event_type = format!("type.{}", number % 3 * batch);
                json!({"specversion": "1.0", "id": format!("{batch}-{number}"),
                    "type": event_type, "source": "/shop"})
            })
            .collect();
        let request = http::client().post(stage.broker.url("/events"));
        let request = request.header("content-type", BATCH);
        let request = request.body(Value::from(events).to_string());
        async move { http::read(request.send().await.unwrap()).await }
    });
    for answer in futures_util::future::join_all(batches).await {
        assert_eq!(answer.status, 202, "{}", answer.text);
    }
    let came = stage.foreign.take_ids(QUEUE).await;
    for batch in 0..4 {
        let prefix = format!("{batch}-");
        let of_batch: Vec<usize> = came
            .iter()
            .filter_map(|id| id.strip_prefix(&prefix)?.parse().ok())
            .collect();
        assert_eq!(of_batch, (0..500).collect::<Vec<_>>());
    }
    stage.broker.stop().await;
}
