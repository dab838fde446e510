//! The publisher's verdicts, against RabbitMQ's own account of what it holds.

use std::time::Duration;

use futures_util::FutureExt as _;
use messaging::{Connection, PublishError, Publisher, RoutingKey, topology::Topology};
use tests::{
    eventually,
    proof::{DEADLINE, Destination, Plan, Queues, Trial, message},
    rabbitmq::virtual_host,
};
use tokio::{runtime, task};

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

/// RabbitMQ closes the channel, as for an exchange that is missing, while the publisher waits one
/// turn with a message in hand. Its runtime has one thread, so that this turn takes as long as it
/// is made to; lapin works on another one.
#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_was_not_sent_before_the_end_of_its_channel_is_told_so() {
    const ROUNDS: usize = 10;
    let virtual_host = virtual_host().await;
    let connection = Connection::open("test", &virtual_host.url.parse().unwrap());
    let key = Destination::Nowhere.key().parse().unwrap();
    let of_one_thread = move || {
        let runtime = runtime::Builder::new_current_thread().enable_all().build();
        runtime.unwrap().block_on(async {
            let publisher = Publisher::start(&connection, Topology::retries());
            for _ in 0..ROUNDS {
                eventually("the publisher", Duration::from_secs(20), || async {
                    publisher.status().into_result().ok()
                })
                .await;
                let [mut ends, mut meets] = [0, 1]
                    .map(|number| Box::pin(publisher.publish(message(number, &key), DEADLINE)));
                assert_eq!(ends.as_mut().now_or_never(), None);
                for _turn in 0..3 {
                    task::yield_now().await;
                }
                assert_eq!(meets.as_mut().now_or_never(), None);
                task::yield_now().await;
                #[expect(clippy::disallowed_methods, reason = "to block this thread")]
                std::thread::sleep(Duration::from_millis(500));
                // The channel may have ended before, or the message have gone.
                if let Err(PublishError::Disconnected(reason)) = meets.await
                    && reason.contains("before the message was sent")
                {
                    return;
                }
            }
            panic!("in none of {ROUNDS} rounds");
        });
    };
    task::spawn_blocking(of_one_thread).await.unwrap();
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
