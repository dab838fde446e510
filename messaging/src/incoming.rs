//! The deliveries of one queue on one channel.
//!
//! RabbitMQ applies a prefetch to consumers that come after it. So another prefetch takes another
//! consumer, on the same channel: the new one begins, then the old one is cancelled, and what that one
//! was sent is handled as before.

use std::collections::VecDeque;

use futures_util::StreamExt as _;
use lapin::{
    message::Delivery,
    options::{BasicCancelOptions, BasicConsumeOptions, BasicQosOptions},
    types::{FieldTable, ShortString},
};

use crate::channel::{ChannelError, call};

/// A consumer that RabbitMQ sends deliveries to.
pub(crate) struct Incoming {
    channel: lapin::Channel,
    queue: ShortString,
    deliveries: lapin::Consumer,
    /// Cancelled, each up to its last delivery.
    old: VecDeque<lapin::Consumer>,
}

impl Incoming {
    /// Begins to consume.
    pub(crate) async fn start(
        channel: &lapin::Channel,
        queue: ShortString,
        prefetch: u16,
    ) -> Result<Self, ChannelError> {
        let deliveries = call(consume(channel, queue.clone(), prefetch)).await?;
        Ok(Self {
            channel: channel.clone(),
            queue,
            deliveries,
            old: VecDeque::new(),
        })
    }

    /// The next delivery, and whether it was sent ahead before the prefetch changed. `None` when the
    /// queue is deleted.
    pub(crate) async fn next(&mut self) -> Option<(lapin::Result<Delivery>, bool)> {
        while let Some(old) = self.old.front_mut() {
            if let Some(delivery) = old.next().await {
                return Some((delivery, true));
            }
            self.old.pop_front();
        }
        let delivery = self.deliveries.next().await?;
        Some((delivery, false))
    }

    /// What it consumes.
    pub(crate) fn queue(&self) -> ShortString {
        self.queue.clone()
    }

    /// Has so many sent ahead from now on. It waits for RabbitMQ without a deadline, which would end
    /// the channel, and deliver again what is being handled.
    pub(crate) async fn change(&mut self, prefetch: u16) -> Result<(), ChannelError> {
        let deliveries = consume(&self.channel, self.queue.clone(), prefetch).await?;
        let old = std::mem::replace(&mut self.deliveries, deliveries);
        let tag = old.tag();
        self.old.push_back(old);
        Ok(cancel(&self.channel, tag).await?)
    }

    /// Takes no more deliveries.
    pub(crate) async fn cancel(&self) -> lapin::Result<()> {
        cancel(&self.channel, self.deliveries.tag()).await
    }
}

async fn consume(
    channel: &lapin::Channel,
    queue: ShortString,
    prefetch: u16,
) -> lapin::Result<lapin::Consumer> {
    // Quorum queues know no global prefetch.
    let per_consumer = BasicQosOptions { global: false };
    channel.basic_qos(prefetch, per_consumer).await?;
    let options = BasicConsumeOptions {
        no_local: false,
        no_ack: false, // acknowledged after the handler
        exclusive: false,
        nowait: false,
    };
    let tag = "".into(); // RabbitMQ makes one up
    let arguments = FieldTable::default();
    channel.basic_consume(queue, tag, options, arguments).await
}

async fn cancel(channel: &lapin::Channel, tag: ShortString) -> lapin::Result<()> {
    let options = BasicCancelOptions { nowait: false };
    channel.basic_cancel(tag, options).await
}
