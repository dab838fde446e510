//! The publisher's verdicts, against RabbitMQ's own account of what it holds.

use std::time::Duration;

use lapin::{BasicProperties, ErrorKind, options::BasicPublishOptions};
use messaging::{Connection, Publisher, RoutingKey, topology::Topology};
use tests::{
    eventually,
    foreign::Foreign,
    proof::{DEADLINE, Destination, Plan, Queues, Trial, message},
    rabbitmq::virtual_host,
};

/// With hundreds in flight, a queue that is full now and then and connections that are lost, each
/// verdict is true. `scripts/proof` does the same with a million publishes.
#[tokio::test(flavor = "multi_thread")]
async fn every_verdict_is_true() {
    let virtual_host = virtual_host().await;
    let plan = Plan {
        publishes: 30_000,
        unroutable_percent: 5,
        full_percent: 5,
        losses: 2,
        in_flight: 512,
        channels: 1,
    };
    let trial = Trial::start(&virtual_host, plan).await;
    trial.run().await;
    trial.nothing_is_left().await;
    let judgement = trial.end().await;
    assert!(judgement.violations.is_empty(), "{judgement}");
}

/// The publisher goes by these words to tell that a message was never sent.
#[tokio::test(flavor = "multi_thread")]
async fn lapin_tells_of_a_channel_that_had_ended_before_a_publish() {
    let virtual_host = virtual_host().await;
    let foreign = Foreign::connect(&virtual_host.url).await;
    foreign.channel.close(200, "done".into()).await.unwrap();
    let (options, properties) = (BasicPublishOptions::default(), BasicProperties::default());
    #[expect(clippy::disallowed_methods, reason = "what it does is the question")]
    let publish =
        foreign
            .channel
            .basic_publish("".into(), "nowhere".into(), options, b"{}", properties);
    let error = publish.await.unwrap_err();
    assert!(
        matches!(
            error.kind(),
            ErrorKind::InvalidChannelState(_, "basic.publish")
        ),
        "{error:?}"
    );
}

/// With nobody else publishing, no verdict may wait for a publish that does not come. The confirm
/// can arrive at any point of the publisher's loop, hence so many, on a busy machine.
#[tokio::test(flavor = "multi_thread")]
async fn a_lone_publish_waits_for_no_other() {
    let virtual_host = virtual_host().await;
    let connection = Connection::open("test", &virtual_host.url.parse().unwrap());
    let publisher = Publisher::start(&connection, Topology::events());
    eventually("the publisher", Duration::from_secs(20), || async {
        publisher.status().into_result().ok()
    })
    .await;
    let queues = Queues::connect(&virtual_host.url).await;
    queues.declare(Destination::FullClassic, None).await;
    let key: RoutingKey = Destination::FullClassic.key().parse().unwrap();
    for number in 0..3_000 {
        let verdict = publisher.publish(message(number, &key), DEADLINE).await;
        assert_eq!(verdict, Ok(()), "publish {number}");
    }
    queues.close().await;
    connection.close().await;
}
