//! Deliveries are acknowledged together, and none of them before it is done with.

use std::{
    collections::BTreeSet,
    future::pending,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use event::Event;
use messaging::{
    Connection, Consumer, ConsumerConfig, Delivery, Handled, Message, Publisher, Source,
    topology::{Topology, route_queue},
};
use tests::{eventually, rabbitmq::virtual_host};

const PATIENCE: Duration = Duration::from_secs(30);
const EVENTS: usize = 100;
/// The first of all, one among the others, and one after the next.
const SLOW: [&str; 3] = ["0", "40", "42"];

#[tokio::test(flavor = "multi_thread")]
async fn what_is_in_hand_is_acknowledged_by_no_other() {
    let virtual_host = virtual_host().await;
    let url = virtual_host.url.parse().unwrap();
    let (consuming, publishing) = (
        Connection::open("consuming", &url),
        Connection::open("publishing", &url),
    );
    let queue = route_queue("slow");
    let topology = Topology::subscription(&Source::events("slow", ["#".to_owned()]), &[], false);
    let publisher = Publisher::start(&publishing, topology.clone());
    let config = ConsumerConfig {
        queue: queue.clone(),
        topology,
        // Less than there are events: those behind the slow ones must be acknowledged for more.
        prefetch: 16,
        concurrency: 16,
        ordered: false,
    };
    let _consumer = Consumer::start(
        &consuming,
        config.clone(),
        |delivery: Delivery| async move {
            if SLOW.contains(&delivery.event.id.as_str()) {
                pending::<()>().await;
            }
            Handled::Done
        },
    );
    let key = "a.b".parse().unwrap();
    for number in 0..EVENTS {
        let mut event = Event::new(&key, "/test", "text/plain", Bytes::new());
        event.id = number.to_string();
        let message = Message::of(event, &key);
        eventually("published", PATIENCE, || async {
            publisher.publish(message.clone(), PATIENCE).await.ok()
        })
        .await;
    }
    let management = &virtual_host.management;
    eventually("all others are acknowledged", PATIENCE, || async {
        (management.depth(&queue).await == SLOW.len()).then_some(())
    })
    .await;
    // Not drained: what is in hand is given up, as when the process is killed.
    consuming.close().await;
    let again = Connection::open("again", &url);
    let ids = Arc::new(Mutex::new(BTreeSet::new()));
    let told = ids.clone();
    let consumer = Consumer::start(&again, config, move |delivery: Delivery| {
        told.lock().unwrap().insert(delivery.event.id);
        async { Handled::Done }
    });
    eventually("the rest is delivered again", PATIENCE, || async {
        (ids.lock().unwrap().len() >= SLOW.len()).then_some(())
    })
    .await;
    consumer.drain(PATIENCE).await;
    again.close().await;
    publishing.close().await;
    assert!(ids.lock().unwrap().iter().eq(SLOW), "{ids:?}");
    let left = management.take(&queue).await;
    assert!(left.is_empty(), "{left:?}");
}
