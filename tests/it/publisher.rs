//! The publisher's verdicts, against RabbitMQ's own account of what it holds.

use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use lapin::{
    Connection, ConnectionProperties,
    options::{QueueBindOptions, QueueDeclareOptions},
    types::{AMQPValue, FieldTable},
};
use messaging::{Event, PublishError, Publisher, RoutingKey, topology};
use tests::{eventually, rabbitmq::virtual_host};

const DEADLINE: Duration = Duration::from_secs(20);

async fn ready(publisher: &Publisher) {
    eventually("the publisher", Duration::from_secs(20), || async {
        publisher.status().into_result().ok()
    })
    .await;
}

async fn queue(
    url: &str,
    name: &str,
    key: &str,
    arguments: &[(&str, AMQPValue)],
) -> lapin::Channel {
    let connection = Connection::connect(url, ConnectionProperties::default())
        .await
        .unwrap();
    let channel = connection.create_channel().await.unwrap();
    let durable = QueueDeclareOptions {
        durable: true,
        ..QueueDeclareOptions::default()
    };
    let mut table = FieldTable::default();
    for (name, value) in arguments {
        table.insert((*name).into(), value.clone());
    }
    channel
        .queue_declare(name.into(), durable, table)
        .await
        .unwrap();
    let exchange = topology::EVENTS_EXCHANGE.into();
    let bind = channel.queue_bind(
        name.into(),
        exchange,
        key.into(),
        QueueBindOptions::default(),
        FieldTable::default(),
    );
    bind.await.unwrap();
    // The channel keeps its connection open.
    std::mem::forget(connection);
    channel
}

async fn depth(channel: &lapin::Channel, name: &str) -> u32 {
    let passive = QueueDeclareOptions {
        passive: true,
        ..QueueDeclareOptions::default()
    };
    channel
        .queue_declare(name.into(), passive, FieldTable::default())
        .await
        .unwrap()
        .message_count()
}

/// One in twenty has no queue; with hundreds in flight each must get its own verdict.
#[tokio::test(flavor = "multi_thread")]
async fn each_publish_gets_its_own_verdict() {
    const PUBLISHES: usize = 20_000;
    let virtual_host = virtual_host().await;
    let connection = messaging::Connection::open("test", &virtual_host.url.parse().unwrap());
    let publisher = Publisher::start(&connection, topology::Topology::events());
    ready(&publisher).await;
    let quorum = [("x-queue-type", AMQPValue::LongString("quorum".into()))];
    let channel = queue(&virtual_host.url, "bound", "bound.#", &quorum).await;

    let wrong: Vec<usize> = stream::iter(0..PUBLISHES)
        .map(|number| {
            let publisher = publisher.clone();
            async move {
                let unroutable = number % 20 == 7;
                let key = if unroutable {
                    "nowhere.event"
                } else {
                    "bound.event"
                };
                let key: RoutingKey = key.parse().unwrap();
                let event = Event::new(&key, "test", "text/plain", Bytes::from(number.to_string()));
                let verdict = publisher.publish(event.into_message(&key), DEADLINE).await;
                let right = match verdict {
                    Ok(()) => !unroutable,
                    Err(PublishError::Unroutable) => unroutable,
                    Err(_) => false,
                };
                (!right).then_some(number)
            }
        })
        .buffer_unordered(512)
        .filter_map(|wrong| async move { wrong })
        .collect()
        .await;
    assert!(
        wrong.is_empty(),
        "{} wrong verdicts: {:?}",
        wrong.len(),
        &wrong[..wrong.len().min(10)]
    );
    let held = u32::try_from(PUBLISHES - PUBLISHES / 20).unwrap();
    assert_eq!(depth(&channel, "bound").await, held);
    connection.close().await;
}

/// With nobody else publishing, no verdict may wait for a publish that does not come. The confirm
/// can arrive at any point of the publisher's loop, hence so many, on a busy machine.
#[tokio::test(flavor = "multi_thread")]
async fn a_lone_publish_waits_for_no_other() {
    let virtual_host = virtual_host().await;
    let connection = messaging::Connection::open("test", &virtual_host.url.parse().unwrap());
    let publisher = Publisher::start(&connection, topology::Topology::events());
    ready(&publisher).await;
    drop(queue(&virtual_host.url, "lone", "lone", &[]).await);
    let key: RoutingKey = "lone".parse().unwrap();
    for number in 0..3_000 {
        let event = Event::new(&key, "test", "text/plain", Bytes::from_static(b"x"));
        let verdict = publisher.publish(event.into_message(&key), DEADLINE).await;
        assert_eq!(verdict, Ok(()), "publish {number}");
    }
    connection.close().await;
}

/// A full queue that rejects publishes: the verdicts say how many it took.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_refuses_and_says_so() {
    let virtual_host = virtual_host().await;
    let connection = messaging::Connection::open("test", &virtual_host.url.parse().unwrap());
    let publisher = Publisher::start(&connection, topology::Topology::events());
    ready(&publisher).await;
    let full = [
        ("x-max-length", AMQPValue::LongInt(100)),
        ("x-overflow", AMQPValue::LongString("reject-publish".into())),
    ];
    let channel = queue(&virtual_host.url, "full", "full", &full).await;

    let key: RoutingKey = "full".parse().unwrap();
    let verdicts: Vec<_> = stream::iter(0..1_000)
        .map(|_| {
            let event = Event::new(&key, "test", "text/plain", Bytes::from_static(b"x"));
            publisher.publish(event.into_message(&key), DEADLINE)
        })
        .buffer_unordered(256)
        .collect()
        .await;
    let taken = verdicts.iter().filter(|verdict| verdict.is_ok()).count();
    let refused = verdicts
        .iter()
        .filter(|verdict| **verdict == Err(PublishError::Nacked))
        .count();
    assert_eq!(taken + refused, 1_000, "another verdict");
    assert!(refused > 0);
    assert_eq!(depth(&channel, "full").await, u32::try_from(taken).unwrap());
    connection.close().await;
}

/// Connections are closed under the publisher again and again: what it calls a success is there.
#[tokio::test(flavor = "multi_thread")]
async fn a_success_is_there_though_connections_are_closed() {
    const ROUNDS: usize = 5;
    let virtual_host = virtual_host().await;
    let connection = messaging::Connection::open("test", &virtual_host.url.parse().unwrap());
    let publisher = Publisher::start(&connection, topology::Topology::events());
    ready(&publisher).await;
    let quorum = [("x-queue-type", AMQPValue::LongString("quorum".into()))];
    drop(queue(&virtual_host.url, "kept", "kept", &quorum).await);
    let key: RoutingKey = "kept".parse().unwrap();

    let mut successes = 0_u32;
    for _ in 0..ROUNDS {
        ready(&publisher).await;
        let publishes = stream::iter(0..2_000)
            .map(|_| {
                let event = Event::new(&key, "test", "text/plain", Bytes::from_static(b"x"));
                publisher.publish(event.into_message(&key), DEADLINE)
            })
            .buffer_unordered(256)
            .filter(|verdict| std::future::ready(verdict.is_ok()))
            .count();
        let close = async {
            // Management learns of a connection a few seconds late.
            eventually("a connection to close", Duration::from_secs(20), || async {
                (virtual_host.management.close_connections().await > 0).then_some(())
            })
            .await;
        };
        let (ok, ()) = tokio::join!(publishes, close);
        successes += u32::try_from(ok).unwrap();
    }
    assert!(successes > 0);
    connection.close().await;
    let channel = queue(&virtual_host.url, "kept", "kept", &quorum).await;
    // At least: a publish whose confirm was lost may be there and was not called a success.
    let held = depth(&channel, "kept").await;
    assert!(
        held >= successes,
        "{successes} successes, {held} in the queue"
    );
}
