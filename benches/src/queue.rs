//! The queue that all contenders publish into, as RabbitMQ counts it.

use anyhow::Context as _;
use lapin::{
    Channel, Connection, ConnectionProperties,
    options::{QueueDeclareOptions, QueueDeleteOptions, QueuePurgeOptions},
    types::FieldTable,
};

/// A queue, and a separate connection for questions about it.
pub(crate) struct Queue {
    name: String,
    channel: Channel,
    /// The channel goes with it.
    _connection: Connection,
}

impl Queue {
    pub(crate) async fn open(amqp_url: &str, name: String) -> anyhow::Result<Self> {
        let connection = Connection::connect(amqp_url, ConnectionProperties::default()).await;
        let connection = connection.context("no connection to RabbitMQ")?;
        let channel = connection.create_channel().await?;
        Ok(Self {
            name,
            channel,
            _connection: connection,
        })
    }

    /// How many messages wait for a consumer now, or 0 where a quorum queue does not answer within
    /// 250 ms. The management interface is some seconds late.
    pub(crate) async fn ready(&self) -> anyhow::Result<u64> {
        let passive = QueueDeclareOptions {
            passive: true,
            ..QueueDeclareOptions::default()
        };
        let declare =
            self.channel
                .queue_declare(self.name.as_str().into(), passive, FieldTable::default());
        Ok(declare.await?.message_count().into())
    }

    /// Removes it.
    pub(crate) async fn delete(&self) -> anyhow::Result<()> {
        let options = QueueDeleteOptions::default();
        let delete = self
            .channel
            .queue_delete(self.name.as_str().into(), options);
        delete.await?;
        Ok(())
    }

    /// Removes all messages that wait for a consumer, and returns how many these were.
    pub(crate) async fn purge(&self) -> anyhow::Result<u64> {
        let options = QueuePurgeOptions::default();
        let purge = self.channel.queue_purge(self.name.as_str().into(), options);
        Ok(purge.await?.into())
    }
}
