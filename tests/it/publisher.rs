//! The publisher's verdicts, against RabbitMQ's own account of what it holds.

use std::time::Duration;

use event::EventType;
use futures_util::FutureExt as _;
use messaging::{Connection, PublishError, Publisher, topology::Topology};
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

/// Runs `work` with a publisher whose runtime has one thread, so that its turn takes as long as it
/// is made to. The connection is at work on another one meanwhile.
async fn of_one_thread<F: Future>(
    connection: Connection,
    work: impl FnOnce(Publisher) -> F + Send + 'static,
) {
    let run = move || {
        let runtime = runtime::Builder::new_current_thread().enable_all().build();
        runtime.unwrap().block_on(async {
            // The exchange of events is missing.
            let publisher = Publisher::start(&connection, Topology::retries());
            is_open(&publisher).await;
            work(publisher).await;
        });
    };
    task::spawn_blocking(run).await.unwrap();
}

async fn is_open(publisher: &Publisher) {
    eventually("the publisher", Duration::from_secs(20), || async {
        publisher.status().into_result().ok()
    })
    .await;
}

/// Blocks this thread, and with it the publisher, until what is done elsewhere is over.
fn block() {
    #[expect(clippy::disallowed_methods, reason = "to block this thread")]
    std::thread::sleep(Duration::from_millis(500));
}

/// RabbitMQ closes the channel, as for an exchange that is missing, while the publisher waits one
/// turn with a message in hand.
#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_was_not_sent_before_the_end_of_its_channel_is_told_so() {
    const ROUNDS: usize = 10;
    let virtual_host = virtual_host().await;
    let connection = Connection::open("test", &virtual_host.url.parse().unwrap());
    of_one_thread(connection, async |publisher: Publisher| {
        let key = Destination::Nowhere.key().parse().unwrap();
        for _ in 0..ROUNDS {
            is_open(&publisher).await;
            let [mut ends, mut meets] =
                [0, 1].map(|number| Box::pin(publisher.publish(message(number, &key), DEADLINE)));
            assert_eq!(ends.as_mut().now_or_never(), None);
            for _turn in 0..3 {
                task::yield_now().await;
            }
            assert_eq!(meets.as_mut().now_or_never(), None);
            task::yield_now().await;
            block();
            // The channel may have ended before, or the message have gone.
            if let Err(PublishError::Disconnected(reason)) = meets.await
                && reason.contains("before the message was sent")
            {
                return;
            }
        }
        panic!("in none of {ROUNDS} rounds");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_is_queued_when_the_connection_closes_is_told_so() {
    let virtual_host = virtual_host().await;
    let connection = Connection::open("test", &virtual_host.url.parse().unwrap());
    let elsewhere = runtime::Handle::current();
    of_one_thread(connection.clone(), async move |publisher: Publisher| {
        let key = Destination::Nowhere.key().parse().unwrap();
        let mut queued = Box::pin(publisher.publish(message(0, &key), DEADLINE));
        assert_eq!(queued.as_mut().now_or_never(), None);
        elsewhere.spawn(async move { connection.close().await });
        block();
        let closed = PublishError::Disconnected("the publisher is closed".into());
        assert_eq!(queued.await, Err(closed));
    })
    .await;
}

/// With nobody else publishing, no verdict may wait for a publish that does not come. The confirm
/// can arrive at any point of the publisher's loop, hence so many, on a busy machine.
#[tokio::test(flavor = "multi_thread")]
async fn a_lone_publish_waits_for_no_other() {
    let virtual_host = virtual_host().await;
    let connection = Connection::open("test", &virtual_host.url.parse().unwrap());
    let publisher = Publisher::start(&connection, Topology::events());
    is_open(&publisher).await;
    let queues = Queues::connect(&virtual_host.url).await;
    queues.declare(Destination::FullClassic, None).await;
    let key: EventType = Destination::FullClassic.key().parse().unwrap();
    for number in 0..3_000 {
        let verdict = publisher.publish(message(number, &key), DEADLINE).await;
        assert_eq!(verdict, Ok(()), "publish {number}");
    }
    queues.close().await;
    connection.close().await;
}
