//! A bug in a handler costs its event time, and nobody else anything.

use std::{
    collections::HashMap,
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

#[tokio::test(flavor = "multi_thread")]
async fn an_event_whose_handler_panics_is_delivered_again() {
    let virtual_host = virtual_host().await;
    let connection = Connection::open("panics", &virtual_host.url.parse().unwrap());
    let topology = Topology::subscription(&Source::events("panics", ["#".to_owned()]), &[], false);
    let publisher = Publisher::start(&connection, topology.clone());
    let config = ConsumerConfig {
        queue: route_queue("panics"),
        topology,
        prefetch: 2,
        concurrency: 2,
        ordered: false,
    };
    let deliveries = Arc::new(Mutex::new(HashMap::<String, u32>::new()));
    let counted = deliveries.clone();
    let handler = move |delivery: Delivery| {
        let id = delivery.event.id;
        let times = {
            let mut counted = counted.lock().unwrap();
            let times = counted.entry(id.clone()).or_default();
            *times += 1;
            *times
        };
        async move {
            assert!(id != "deadly" || times > 2, "a bug");
            Handled::Done
        }
    };
    let consumer = Consumer::start(&connection, config, handler);
    let key = "a.b".parse().unwrap();
    // More than the consumer would take if each panic kept a place of its prefetch.
    for id in ["deadly", "1", "2", "3", "4", "5"] {
        let mut event = Event::new(&key, "/test", "text/plain", Bytes::new());
        event.id = id.to_owned();
        let message = Message::of(event, &key);
        eventually("published", PATIENCE, || async {
            publisher.publish(message.clone(), PATIENCE).await.ok()
        })
        .await;
    }
    eventually("all are handled", PATIENCE, || async {
        let counted = deliveries.lock().unwrap();
        (counted.len() == 6 && counted["deadly"] == 3).then_some(())
    })
    .await;
    assert!(
        deliveries
            .lock()
            .unwrap()
            .iter()
            .all(|(id, times)| id == "deadly" || *times == 1)
    );
    consumer.drain(PATIENCE).await;
    connection.close().await;
    let left = virtual_host.management.take(&route_queue("panics")).await;
    assert!(left.is_empty(), "{left:?}");
}
