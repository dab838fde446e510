//! A program of somebody else's on the same RabbitMQ.

use lapin::{
    BasicProperties, Channel, Connection, ConnectionProperties, ExchangeKind, Queue,
    options::{
        BasicGetOptions, BasicPublishOptions, ConfirmSelectOptions, ExchangeDeclareOptions,
        QueueBindOptions, QueueDeclareOptions, QueuePurgeOptions,
    },
    types::FieldTable,
};

use crate::OrPanic as _;

/// A connection of its own, with one channel in confirm mode.
pub struct Foreign {
    connection: Connection,
    /// For what the methods do not do.
    pub channel: Channel,
}

impl Foreign {
    /// Connects.
    pub async fn connect(url: &str) -> Self {
        let connection = Connection::connect(url, ConnectionProperties::default());
        let connection = connection.await.or_panic("a connection");
        let channel = connection.create_channel().await.or_panic("a channel");
        let confirms = channel.confirm_select(ConfirmSelectOptions { nowait: false });
        confirms.await.or_panic("confirms");
        Self {
            connection,
            channel,
        }
    }

    /// Declares a durable exchange.
    pub async fn exchange(&self, name: &str, kind: ExchangeKind) {
        let options = ExchangeDeclareOptions {
            durable: true,
            ..ExchangeDeclareOptions::default()
        };
        let declared =
            self.channel
                .exchange_declare(name.into(), kind, options, FieldTable::default());
        declared.await.or_panic(name);
    }

    /// Declares a durable queue, a classic one unless `arguments` say otherwise.
    pub async fn queue(&self, name: &str, arguments: FieldTable) {
        let options = QueueDeclareOptions {
            durable: true,
            ..QueueDeclareOptions::default()
        };
        let declared = self.channel.queue_declare(name.into(), options, arguments);
        declared.await.or_panic(name);
    }

    /// Binds a queue to an exchange.
    pub async fn bind(&self, queue: &str, exchange: &str, key: &str) {
        let options = QueueBindOptions { nowait: false };
        let (queue, arguments) = (queue.into(), FieldTable::default());
        let bound = self
            .channel
            .queue_bind(queue, exchange.into(), key.into(), options, arguments);
        bound.await.or_panic("a binding");
    }

    /// Takes what waits in a queue: the `message_id` of each message, in the order of the queue.
    pub async fn take_ids(&self, queue: &str) -> Vec<String> {
        let mut ids = Vec::new();
        let options = BasicGetOptions { no_ack: true };
        while let Some(message) = self
            .channel
            .basic_get(queue.into(), options)
            .await
            .or_panic(queue)
        {
            let id = message.properties.message_id().clone();
            ids.push(id.unwrap_or_default().to_string());
        }
        ids
    }

    /// Publishes a message and awaits its confirm.
    pub async fn publish(
        &self,
        exchange: &str,
        key: &str,
        properties: BasicProperties,
        body: &[u8],
    ) {
        let options = BasicPublishOptions::default();
        #[expect(clippy::disallowed_methods, reason = "this plays another program")]
        let publish =
            self.channel
                .basic_publish(exchange.into(), key.into(), options, body, properties);
        let confirm = publish.await.or_panic("a publish").await;
        assert!(confirm.or_panic("its confirm").is_ack());
    }

    /// How many consumers a queue has, or 0 where it does not say so at once.
    pub async fn consumers(&self, queue: &str) -> u32 {
        look_up(&self.channel, queue).await.consumer_count()
    }

    /// Empties a queue, and returns how many messages waited in it. The management interface would
    /// tell what was some seconds ago.
    pub async fn purge(&self, queue: &str) -> u32 {
        let purge = self
            .channel
            .queue_purge(queue.into(), QueuePurgeOptions::default());
        purge.await.or_panic(queue)
    }

    /// Closes the connection.
    pub async fn close(self) {
        let closed = self.connection.close(200, "done".into()).await;
        closed.or_panic("the connection closes");
    }
}

/// What RabbitMQ tells of a queue, which must be there. A quorum queue that does not answer within
/// 250 ms has neither messages nor consumers by this.
pub(crate) async fn look_up(channel: &Channel, queue: &str) -> Queue {
    let passive = QueueDeclareOptions {
        passive: true,
        ..QueueDeclareOptions::default()
    };
    let looked_up = channel.queue_declare(queue.into(), passive, FieldTable::default());
    looked_up.await.or_panic(queue)
}
