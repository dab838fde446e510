//! The queues of a trial, and what RabbitMQ gives back out of them.

use std::{sync::Arc, time::Duration};

use futures_util::StreamExt as _;
use lapin::{
    Channel, Connection, ConnectionProperties,
    message::Delivery,
    options::{
        BasicConsumeOptions, BasicGetOptions, QueueBindOptions, QueueDeclareOptions,
        QueuePurgeOptions,
    },
    types::{AMQPValue, FieldTable},
};
use messaging::topology::EVENTS_EXCHANGE;
use tokio::{
    task::JoinHandle,
    time::{Instant, sleep},
};

use crate::{
    OrPanic as _,
    foreign::look_up,
    proof::{Account, Destination, plan::EMPTIED},
};

/// So long nothing must have come out of the queues before they count as empty for good.
const SILENCE: Duration = Duration::from_secs(1);
/// For all that has been published to come out of the queues.
const SETTLE_DEADLINE: Duration = Duration::from_secs(300);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(20);

/// The queues, by a connection that nobody breaks: what RabbitMQ once gave back does not come again.
pub struct Queues {
    connection: Connection,
    channel: Channel,
}

impl Queues {
    /// Connects. The events exchange must be there.
    pub async fn connect(url: &str) -> Self {
        let connection = Connection::connect(url, ConnectionProperties::default()).await;
        let connection = connection.or_panic("a connection to RabbitMQ");
        let channel = connection.create_channel().await.or_panic("a channel");
        Self {
            connection,
            channel,
        }
    }

    /// Declares the queue of `destination`; with `full_at` it refuses publishes from this length on.
    pub async fn declare(&self, destination: Destination, full_at: Option<usize>) {
        let mut arguments = FieldTable::default();
        let mut insert = |name: &str, value| {
            arguments.insert(name.into(), value);
        };
        let queue_type = destination.queue_type();
        insert("x-queue-type", AMQPValue::LongString(queue_type.into()));
        if let Some(full_at) = full_at {
            let length = i32::try_from(full_at).or_panic("a length");
            insert("x-max-length", AMQPValue::LongInt(length));
            insert("x-overflow", AMQPValue::LongString("reject-publish".into()));
        }
        let durable = QueueDeclareOptions {
            durable: true, // as every quorum queue
            ..QueueDeclareOptions::default()
        };
        let name = destination.key();
        let declared = self.channel.queue_declare(name.into(), durable, arguments);
        declared.await.or_panic(name);
        let bound = self.channel.queue_bind(
            name.into(),
            EVENTS_EXCHANGE.into(),
            name.into(),
            QueueBindOptions::default(),
            FieldTable::default(),
        );
        bound.await.or_panic(name);
    }

    /// Throws away what a queue holds.
    pub async fn purge(&self, destination: Destination) {
        let options = QueuePurgeOptions::default();
        let purged = self.channel.queue_purge(destination.key().into(), options);
        purged.await.or_panic(destination.key());
    }

    /// Takes all that comes to the queue of `destination`, for as long as this connection lives.
    pub(super) async fn take_always(
        &self,
        destination: Destination,
        account: Arc<Account>,
    ) -> JoinHandle<()> {
        // What is sent to this connection arrives, as nobody breaks it: no acknowledgements.
        let options = BasicConsumeOptions {
            no_ack: true,
            ..BasicConsumeOptions::default()
        };
        let name = destination.key();
        let consumer =
            self.channel
                .basic_consume(name.into(), "".into(), options, FieldTable::default());
        let mut consumer = consumer.await.or_panic(name);
        tokio::spawn(async move {
            // Should it end early, the queue does not run empty, and the trial fails.
            while let Some(Ok(delivery)) = consumer.next().await {
                note(&account, destination, &delivery);
            }
        })
    }

    /// Empties the queues that can be full, at even steps of the trial, until all is published.
    pub(super) async fn empty_in_turn(&self, account: &Account) {
        for step in 1..=EMPTIED {
            let due = account.plan.publishes * step / EMPTIED;
            while account.started() < due {
                sleep(LOOK).await;
            }
            self.empty(account).await;
        }
    }

    /// Takes what is left, once nothing is being published any more.
    pub(super) async fn settle(&self, account: &Account) {
        let deadline = Instant::now() + SETTLE_DEADLINE;
        let mut last = (account.held_in_all(), Instant::now());
        while last.1.elapsed() < SILENCE || self.depth(Destination::Bound).await > 0 {
            assert!(Instant::now() < deadline, "the queues do not run empty");
            self.empty(account).await;
            sleep(LOOK).await;
            if account.held_in_all() != last.0 {
                last = (account.held_in_all(), Instant::now());
            }
        }
    }

    /// Ends the connection, in order.
    pub async fn close(self) {
        let closed = self.connection.close(200, "done".into()).await;
        closed.or_panic("the connection that nobody breaks");
    }

    async fn empty(&self, account: &Account) {
        let options = BasicGetOptions { no_ack: true };
        for destination in Destination::FULL {
            let name = destination.key();
            loop {
                let got = self.channel.basic_get(name.into(), options).await;
                match got.or_panic(name) {
                    Some(message) => note(account, destination, &message.delivery),
                    None => break,
                }
            }
        }
    }

    /// How many messages are ready in a queue.
    async fn depth(&self, destination: Destination) -> u32 {
        let queue = look_up(&self.channel, destination.key()).await;
        queue.message_count()
    }
}

fn note(account: &Account, destination: Destination, delivery: &Delivery) {
    let id = delivery.properties.message_id().as_ref();
    account.hold(destination, id.map_or("", |id| id.as_str()));
}
