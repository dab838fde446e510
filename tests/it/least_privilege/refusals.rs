//! What each user is refused, by RabbitMQ itself, and beside it what it is not.

use lapin::{
    BasicProperties, Channel, Connection, ConnectionProperties, ErrorKind,
    options::{
        BasicConsumeOptions, BasicGetOptions, BasicPublishOptions, ConfirmSelectOptions,
        ExchangeBindOptions, ExchangeDeclareOptions, ExchangeDeleteOptions, QueueBindOptions,
        QueueDeclareOptions, QueueDeleteOptions, QueuePurgeOptions,
    },
    protocol::{AMQPErrorKind, AMQPSoftError},
    types::FieldTable,
};
use reqwest::StatusCode;
use tests::provided::Provided;

const EVENTS: &str = "events.topic.exchange";
const REQUESTS: &str = "auth-service.direct.exchange.request";
const RETRIES: &str = "gw.retry";
const LOGGER_QUEUE: &str = "events.topic.exchange.queue.logger";
const REQUEST_QUEUE: &str = "auth-service.direct.exchange.request.queue";

/// A program with the credentials of one user.
struct Intruder {
    connection: Connection,
}

impl Intruder {
    async fn new(url: &str) -> Self {
        let properties = ConnectionProperties::default();
        let connection = Connection::connect(url, properties).await.unwrap();
        Self { connection }
    }

    /// A fresh one: a refusal costs the channel.
    async fn channel(&self) -> Channel {
        self.connection.create_channel().await.unwrap()
    }

    async fn publish(&self, exchange: &str, key: &str) -> lapin::Result<()> {
        let channel = self.channel().await;
        let confirms = ConfirmSelectOptions::default();
        channel.confirm_select(confirms).await?;
        #[expect(clippy::disallowed_methods, reason = "this plays an intruder")]
        let publish = channel.basic_publish(
            exchange.into(),
            key.into(),
            BasicPublishOptions::default(),
            b"{}",
            BasicProperties::default(),
        );
        publish.await?.await.map(drop)
    }

    async fn consume(&self, queue: &str) -> lapin::Result<()> {
        let options = BasicConsumeOptions::default();
        let channel = self.channel().await;
        let consume =
            channel.basic_consume(queue.into(), "".into(), options, FieldTable::default());
        consume.await.map(drop)
    }

    async fn declare_exchange(&self, name: &str, passive: bool) -> lapin::Result<()> {
        let options = ExchangeDeclareOptions {
            durable: true,
            passive,
            ..ExchangeDeclareOptions::default()
        };
        let channel = self.channel().await;
        let kind = lapin::ExchangeKind::Topic;
        let declare = channel.exchange_declare(name.into(), kind, options, FieldTable::default());
        declare.await
    }

    async fn declare_queue(&self, name: &str, passive: bool) -> lapin::Result<()> {
        let options = QueueDeclareOptions {
            durable: true,
            passive,
            ..QueueDeclareOptions::default()
        };
        let channel = self.channel().await;
        let declare = channel.queue_declare(name.into(), options, FieldTable::default());
        declare.await.map(drop)
    }

    async fn get(&self, queue: &str) -> lapin::Result<()> {
        let channel = self.channel().await;
        let get = channel.basic_get(queue.into(), BasicGetOptions::default());
        get.await.map(drop)
    }

    async fn purge(&self, queue: &str) -> lapin::Result<()> {
        let channel = self.channel().await;
        let purge = channel.queue_purge(queue.into(), QueuePurgeOptions::default());
        purge.await.map(drop)
    }

    async fn bind(&self, queue: &str, exchange: &str) -> lapin::Result<()> {
        let (options, table) = (QueueBindOptions::default(), FieldTable::default());
        let channel = self.channel().await;
        let bind = channel.queue_bind(queue.into(), exchange.into(), "#".into(), options, table);
        bind.await
    }

    async fn unbind(&self, queue: &str, exchange: &str) -> lapin::Result<()> {
        let channel = self.channel().await;
        let (key, table) = ("#".into(), FieldTable::default());
        let unbind = channel.queue_unbind(queue.into(), exchange.into(), key, table);
        unbind.await
    }

    async fn bind_exchange(&self, to: &str, from: &str) -> lapin::Result<()> {
        let (options, table) = (ExchangeBindOptions::default(), FieldTable::default());
        let channel = self.channel().await;
        let bind = channel.exchange_bind(to.into(), from.into(), "#".into(), options, table);
        bind.await
    }

    /// What only an administrator may do.
    async fn is_refused_to_change_the_topology(&self) {
        refused(self.declare_exchange("new", false).await);
        refused(self.declare_exchange(EVENTS, false).await);
        refused(self.declare_queue("new", false).await);
        refused(self.declare_queue("", false).await); // one that RabbitMQ is to name
        refused(self.declare_queue(REQUEST_QUEUE, false).await);
        for queue in [LOGGER_QUEUE, REQUEST_QUEUE] {
            refused(self.bind(queue, EVENTS).await);
            refused(self.unbind(queue, EVENTS).await);
            let channel = self.channel().await;
            let delete = channel.queue_delete(queue.into(), QueueDeleteOptions::default());
            refused(delete.await);
        }
        refused(self.bind_exchange(RETRIES, EVENTS).await);
        for exchange in [EVENTS, REQUESTS, RETRIES] {
            let channel = self.channel().await;
            let delete = channel.exchange_delete(exchange.into(), ExchangeDeleteOptions::default());
            refused(delete.await);
        }
        // 3.10 has no permission for looking up; 4.3 shows a user what it may use.
        for looked in [
            self.declare_exchange(EVENTS, true).await,
            self.declare_queue(LOGGER_QUEUE, true).await,
        ] {
            if looked.is_err() {
                refused(looked);
            }
        }
    }
}

#[track_caller]
fn refused<T>(result: lapin::Result<T>) {
    const REFUSED: AMQPErrorKind = AMQPErrorKind::Soft(AMQPSoftError::ACCESSREFUSED);
    let Err(error) = result else {
        panic!("allowed");
    };
    let ErrorKind::ProtocolError(told) = error.kind() else {
        panic!("{error}");
    };
    assert_eq!(*told.kind(), REFUSED, "{error}");
    assert!(told.get_message().as_str().starts_with("ACCESS_REFUSED"));
}

fn every_queue(provided: &Provided) -> Vec<String> {
    let queues = provided.definitions["queues"].as_array().unwrap();
    let names = queues.iter().map(|queue| queue["name"].as_str().unwrap());
    names.map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_broker_publishes_its_types_and_requests_and_nothing_else() {
    let provided = Provided::new(None, &[]).await;
    let broker = Intruder::new(&provided.url("broker")).await;
    broker.is_refused_to_change_the_topology().await;
    for queue in every_queue(&provided) {
        refused(broker.consume(&queue).await);
        refused(broker.get(&queue).await);
        refused(broker.purge(&queue).await);
    }
    for (exchange, key) in [
        (RETRIES, LOGGER_QUEUE),
        ("", LOGGER_QUEUE),
        ("amq.topic", "log.INFO"),
        (EVENTS, "order.placed"),
        (EVENTS, "logs.INFO"),
        (EVENTS, "prefix.log.INFO"),
        (EVENTS, ""),
    ] {
        refused(broker.publish(exchange, key).await);
    }
    broker.publish(EVENTS, "log.INFO").await.unwrap();
    broker.publish(EVENTS, "auth.failed").await.unwrap();
    broker.publish(REQUESTS, "authenticate").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_listener_consumes_its_queues_and_hands_off_and_nothing_else() {
    let provided = Provided::new(None, &[]).await;
    let other = Intruder::new(&provided.virtual_host.url).await;
    other.declare_queue("of-another-team", false).await.unwrap();
    other.consume("of-another-team").await.unwrap();

    let listener = Intruder::new(&provided.url("listener")).await;
    listener.is_refused_to_change_the_topology().await;
    for queue in every_queue(&provided) {
        if queue.contains(".retry.") {
            refused(listener.consume(&queue).await);
            refused(listener.get(&queue).await);
        } else {
            listener.consume(&queue).await.unwrap();
        }
    }
    refused(listener.consume("of-another-team").await);
    refused(listener.get("of-another-team").await);
    for (exchange, key) in [
        (EVENTS, "log.INFO"),
        (EVENTS, ""),
        (REQUESTS, "authenticate"),
        ("amq.topic", "log.INFO"),
    ] {
        refused(listener.publish(exchange, key).await);
    }
    let dead = format!("{LOGGER_QUEUE}.dead");
    listener.publish(RETRIES, &dead).await.unwrap();
    listener
        .publish("", "amq.rabbitmq.reply-to.gone")
        .await
        .unwrap();
}

/// An example for the producers of a team.
#[tokio::test(flavor = "multi_thread")]
async fn a_producer_publishes_its_own_types_and_nothing_else() {
    let provided = Provided::new(None, &["--producer", "orders=order,basket.closed"]).await;
    let producer = Intruder::new(&provided.url("orders")).await;
    producer.is_refused_to_change_the_topology().await;
    refused(producer.consume(LOGGER_QUEUE).await);
    for (exchange, key) in [
        (EVENTS, "log.INFO"),
        (EVENTS, "auth.succeeded"),
        (EVENTS, "orders.placed"),
        (EVENTS, "basket.opened"),
        (RETRIES, LOGGER_QUEUE),
        (REQUESTS, "authenticate"),
        ("", LOGGER_QUEUE),
    ] {
        refused(producer.publish(exchange, key).await);
    }
    for key in ["order.placed", "order.line.added", "basket.closed"] {
        producer.publish(EVENTS, key).await.unwrap();
    }
    // Their events do not reach another virtual host either.
    let others = Provided::new(None, &[]).await;
    let elsewhere = producer_url_in(&provided, &others);
    let properties = ConnectionProperties::default();
    assert!(Connection::connect(&elsewhere, properties).await.is_err());
}

fn producer_url_in(provided: &Provided, others: &Provided) -> String {
    let url = provided.url("orders");
    let (address, _own) = url.rsplit_once('/').unwrap();
    format!("{address}/{}", others.virtual_host.name)
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_may_use_the_management_interface() {
    let provided = Provided::new(None, &["--producer", "orders=order"]).await;
    let management = &provided.virtual_host.management;
    for user in ["broker", "listener", "orders"] {
        let (name, password) = (provided.user(user), provided.password(user));
        let status = management.status_for(&name, &password).await;
        assert_eq!(status, StatusCode::UNAUTHORIZED, "{user}");
    }
    let administrator = management.status_for("guest", "guest").await;
    assert_eq!(administrator, StatusCode::OK);
}
