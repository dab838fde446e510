//! Messages that RabbitMQ itself cannot write to a client of AMQP 0-9-1, for which it closes the whole
//! connection: the queue at fault is found and named, and other routes hardly notice.

use std::{collections::BTreeSet, time::Duration};

use axum::http::StatusCode;
use lapin::{BasicProperties, ExchangeKind};
use serde_json::Value;
use tests::{
    eventually,
    foreign::Foreign,
    http,
    rabbitmq::{VirtualHost, virtual_host},
    suite::{Options, Service, Suite, listener_alone},
    target::Target,
};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

const EXCHANGE: &str = "events.topic.exchange";
const CULPRIT: &str = "events.topic.exchange.queue.culprit";
const CONSUMING: &str = "listener-service consuming";
const PATIENCE: Duration = Duration::from_secs(60);
/// Requests under way at one time on the healthy route.
const UNDER_WAY: usize = 4;

/// Events of the healthy route, one after the other, until they are counted.
struct Load {
    stop: CancellationToken,
    task: JoinHandle<usize>,
}

impl Load {
    fn start(url: &str) -> Self {
        let (url, stop) = (url.to_owned(), CancellationToken::new());
        let stopped = stop.clone();
        let task = tokio::spawn(async move {
            let foreign = Foreign::connect(&url).await;
            let mut pace = tokio::time::interval(Duration::from_millis(20));
            let mut sent = 0;
            while !stopped.is_cancelled() {
                pace.tick().await;
                let properties =
                    BasicProperties::default().with_message_id(format!("h-{sent}").into());
                foreign
                    .publish(EXCHANGE, "healthy.one", properties, b"{}")
                    .await;
                sent += 1;
            }
            foreign.close().await;
            sent
        });
        Self { stop, task }
    }

    /// All arrived, with few duplicates.
    async fn arrived(self, healthy: &Target) {
        self.stop.cancel();
        let sent = self.task.await.unwrap();
        let distinct = || {
            let received = healthy.received();
            let ids = received
                .iter()
                .map(|event| event.header("ce-id").to_owned());
            ids.collect::<BTreeSet<_>>()
        };
        eventually("all that is healthy", PATIENCE, || async {
            (distinct().len() == sent).then_some(())
        })
        .await;
        let again = healthy.count() - sent;
        assert!(again <= 3 * UNDER_WAY, "{again} duplicates");
    }
}

/// A virtual host, a target that answers so, and a healthy one.
async fn scene(culprit: StatusCode) -> (VirtualHost, Target, Target) {
    let healthy = Target::answering(StatusCode::OK).await;
    (
        virtual_host().await,
        Target::answering(culprit).await,
        healthy,
    )
}

fn routes(culprit: &Target, healthy: &Target) -> String {
    format!(
        "[[route]]\nname = \"culprit\"\nbindings = [\"culprit.#\"]\ntarget = \"http://{}/\"\nretry_ms = []\n\
         [[route]]\nname = \"healthy\"\nbindings = [\"healthy.#\"]\ntarget = \"http://{}/\"\n\
         concurrency = {UNDER_WAY}\nretry_ms = [50]\n",
        culprit.addr, healthy.addr
    )
}

/// A routing key that AMQP 0-9-1 has no room for.
fn long_key(first: &str) -> String {
    format!("{first}.{}", "x".repeat(300))
}

/// What the listener shows of a route.
async fn route(listener: &Service, name: &str) -> Value {
    let shown = http::get(&listener.url("/routes")).await.json();
    let routes = shown["routes"].as_array().unwrap().iter();
    let mut found = routes.filter(|route| route["name"] == name);
    found.next().unwrap().clone()
}

/// The connection that all consumers share, by RabbitMQ's name, once RabbitMQ lists it.
async fn shared(virtual_host: &VirtualHost, client: &str) -> String {
    eventually(client, PATIENCE, || async {
        let connections = virtual_host.management.connections_of(client).await;
        match connections.into_keys().collect::<Vec<_>>().as_slice() {
            [one] => Some(one.clone()),
            _ => None,
        }
    })
    .await
}

/// Waits until more of the healthy events have arrived, on the same connection.
async fn undisturbed(virtual_host: &VirtualHost, healthy: &Target) {
    let before = shared(virtual_host, CONSUMING).await;
    let so_far = healthy.count();
    healthy.wait_for(so_far + 150).await;
    assert_eq!(shared(virtual_host, CONSUMING).await, before);
}

async fn publish_good(virtual_host: &VirtualHost, ids: &[&str]) {
    let foreign = Foreign::connect(&virtual_host.url).await;
    for id in ids {
        let properties = BasicProperties::default().with_message_id((*id).into());
        foreign
            .publish(EXCHANGE, "culprit.good", properties, b"{}")
            .await;
    }
    foreign.close().await;
}

/// As an operator does it: nothing is there while the listener tries it.
async fn remove(virtual_host: &VirtualHost) {
    let removed = eventually("the message is removed", PATIENCE, || async {
        let mut taken = virtual_host.management.take_some(CULPRIT, 1).await;
        taken.pop()
    })
    .await;
    assert_eq!(removed["routing_key"], long_key("culprit"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_queue_is_named_and_goes_on_once_the_message_is_removed() {
    let (virtual_host, culprit, healthy) = scene(StatusCode::OK).await;
    let dir = tempfile::tempdir().unwrap();
    let listener = listener_alone(&virtual_host.url, dir.path(), &routes(&culprit, &healthy)).await;
    listener.ready().await;
    let load = Load::start(&virtual_host.url);
    healthy.wait_for(20).await;

    virtual_host
        .management
        .publish(EXCHANGE, &long_key("culprit"), "{}")
        .await;
    eventually("the queue is named", PATIENCE, || async {
        let shown = route(&listener, "culprit").await;
        let reason = shown["reason"].as_str().unwrap_or_default();
        let named = reason.contains(CULPRIT) && reason.contains("541");
        (named && shown["consuming"] == false).then_some(())
    })
    .await;
    eventually("the healthy route", PATIENCE, || async {
        (route(&listener, "healthy").await["consuming"] == true).then_some(())
    })
    .await;
    let reason = listener.not_ready().await;
    assert!(reason.contains(CULPRIT), "{reason}");
    publish_good(&virtual_host, &["after"]).await;
    undisturbed(&virtual_host, &healthy).await;
    remove(&virtual_host).await;
    eventually("what was behind it", PATIENCE, || async {
        let received = culprit.received();
        let mut ids = received.iter().map(|event| event.header("ce-id"));
        ids.any(|id| id == "after").then_some(())
    })
    .await;
    eventually("it is ready again", PATIENCE, || async {
        (http::get(&listener.url("/readyz")).await.status == 200).then_some(())
    })
    .await;
    load.arrived(&healthy).await;
    assert_eq!(culprit.count(), 1);
    listener.stop().await;
    let dead = "events.topic.exchange.queue.healthy.dead";
    assert_eq!(virtual_host.left(dead).await, 0);
}

/// What is good goes on up to the message, one at a time.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_in_front_of_the_message_is_delivered() {
    let (virtual_host, culprit, healthy) = scene(StatusCode::OK).await;
    let dir = tempfile::tempdir().unwrap();
    let listener = listener_alone(&virtual_host.url, dir.path(), &routes(&culprit, &healthy)).await;
    listener.ready().await;
    listener.stop().await;
    let ids: Vec<_> = (0..40).map(|number| format!("g-{number}")).collect();
    let ids: Vec<_> = ids.iter().map(String::as_str).collect();
    publish_good(&virtual_host, &ids).await;
    let key = long_key("culprit");
    virtual_host.management.publish(EXCHANGE, &key, "{}").await;
    let listener = listener_alone(&virtual_host.url, dir.path(), &routes(&culprit, &healthy)).await;
    eventually("all in front of it", PATIENCE, || async {
        let received = culprit.received();
        let distinct: BTreeSet<_> = received
            .iter()
            .map(|event| event.header("ce-id").to_owned())
            .collect();
        (distinct.len() == ids.len()).then_some(())
    })
    .await;
    let reason = listener.not_ready().await;
    assert!(reason.contains(CULPRIT), "{reason}");
    let load = Load::start(&virtual_host.url);
    undisturbed(&virtual_host, &healthy).await;
    remove(&virtual_host).await;
    listener.ready().await;
    load.arrived(&healthy).await;
    listener.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_of_dead_letters_is_named_and_drained_once_it_is_purged() {
    let (virtual_host, culprit, healthy) = scene(StatusCode::UNPROCESSABLE_ENTITY).await;
    let options = Options {
        routes: Some(routes(&culprit, &healthy)),
        ..Options::default()
    };
    let suite = Suite::start_with(&virtual_host.url, options).await;
    suite.ready().await;
    let load = Load::start(&virtual_host.url);
    let dead = format!("{CULPRIT}.dead");
    let foreign = Foreign::connect(&virtual_host.url).await;
    foreign.exchange("strange", ExchangeKind::Topic).await;
    foreign.bind(&dead, "strange", "#").await;
    let key = long_key("strange");
    virtual_host.management.publish("strange", &key, "{}").await;
    eventually("the queue is named", PATIENCE, || async {
        let drain = route(&suite.listener, "culprit").await["dead_letters"].clone();
        let reason = drain["reason"].as_str().unwrap_or_default();
        let named = reason.contains(&dead) && reason.contains("541");
        (named && drain["draining"] == false).then_some(())
    })
    .await;
    undisturbed(&virtual_host, &healthy).await;
    eventually("the message is removed", PATIENCE, || async {
        (foreign.purge(&dead).await > 0).then_some(())
    })
    .await;
    foreign.close().await;
    publish_good(&virtual_host, &["refused"]).await;
    let url = suite.logger.url("/dead-letters?route=culprit");
    eventually("its dead letter", PATIENCE, || async {
        let listing = http::get(&url).await.json();
        (listing["dead_letters"][0]["event_id"] == "refused").then_some(())
    })
    .await;
    load.arrived(&healthy).await;
    suite.stop().await;
    let dead = "events.topic.exchange.queue.healthy.dead";
    assert_eq!(virtual_host.left(dead).await, 0);
}

/// Its messages are gone with its connection, and the next one may come soon.
#[tokio::test(flavor = "multi_thread")]
async fn an_exclusive_queue_gets_a_connection_of_its_own() {
    let (virtual_host, culprit, healthy) = scene(StatusCode::OK).await;
    let dir = tempfile::tempdir().unwrap();
    let file = routes(&culprit, &healthy).replacen(
        "bindings",
        "queue = { exclusive = true }\nbindings",
        1,
    );
    let listener = listener_alone(&virtual_host.url, dir.path(), &file).await;
    listener.ready().await;
    let first = shared(&virtual_host, CONSUMING).await;
    let key = long_key("culprit");
    virtual_host.management.publish(EXCHANGE, &key, "{}").await;
    let own = format!("{CONSUMING}: {CULPRIT}");
    let mut last = shared(&virtual_host, &own).await;
    listener.ready().await;
    let second = shared(&virtual_host, CONSUMING).await;
    assert_ne!(first, second);
    for _ in 0..3 {
        virtual_host.management.publish(EXCHANGE, &key, "{}").await;
        last = eventually("another connection", PATIENCE, || async {
            let now = shared(&virtual_host, &own).await;
            (now != last).then_some(now)
        })
        .await;
        listener.ready().await;
    }
    assert_eq!(shared(&virtual_host, CONSUMING).await, second);
    publish_good(&virtual_host, &["good"]).await;
    culprit.wait_for(1).await;
    listener.stop().await;
}
