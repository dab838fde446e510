//! Consumers on connections of their own.
//!
//! All consumers share a connection, and one message can end it: one that RabbitMQ has and cannot write
//! to a client of AMQP 0-9-1, such as one that came by MQTT with a routing key of 300 bytes. RabbitMQ then
//! closes the connection with an internal error (541), does not say for which queue, and does so again at
//! each redelivery. The stream in `wire.rs` never sees the message.
//!
//! So after such a close each consumer is tried on a connection of its own before it is back on the
//! shared one. The one whose own connection ends in the same way stays apart (`consumer.rs`), and the
//! others have nothing to do with its message any more.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};
use tracing::info;

use crate::{Connection, channel::ChannelError, incoming::Incoming};

/// For one trial, its connection included.
const TRIAL_DEADLINE: Duration = Duration::from_secs(5);
/// When no more comes for so long, RabbitMQ has sent what it can.
const QUIET: Duration = Duration::from_millis(500);
/// A connection takes a thread and 9 MiB, so few are made at one time, for each purpose.
const PLACES: usize = 4;

/// The connections that consumers may have beside the shared one at one time.
#[derive(Clone, Debug)]
pub(crate) struct Places {
    trials: Arc<Semaphore>,
    apart: Arc<Semaphore>,
    exclusive: Arc<Semaphore>,
}

impl Default for Places {
    fn default() -> Self {
        let places = || Arc::new(Semaphore::new(PLACES));
        Self {
            trials: places(),
            apart: places(),
            exclusive: places(),
        }
    }
}

impl Places {
    /// For a consumer that stays apart, once there is one.
    pub(crate) async fn apart(&self) -> Result<OwnedSemaphorePermit, ChannelError> {
        place(&self.apart).await
    }

    /// For the consumer of an exclusive queue, if there is one.
    pub(crate) fn exclusive(&self) -> Option<OwnedSemaphorePermit> {
        self.exclusive.clone().try_acquire_owned().ok()
    }
}

async fn place(places: &Arc<Semaphore>) -> Result<OwnedSemaphorePermit, ChannelError> {
    let place = places.clone().acquire_owned().await;
    place.map_err(|_never_closed| ChannelError::Closing)
}

/// Whether RabbitMQ closes a connection on which `queue` is sent so many deliveries ahead. They go back
/// unhandled. Where that cannot be found out the queue is taken for harmless, as it was before.
pub(crate) async fn ends_a_connection(shared: &Connection, queue: &str, ahead: u16) -> bool {
    let Ok(_place) = place(&shared.places.trials).await else {
        return false;
    };
    let own = shared.for_queue(queue);
    let _closes = own.close_on_drop();
    let ended = match timeout(TRIAL_DEADLINE, take_ahead(&own, queue, ahead)).await {
        Ok(Ok(())) | Err(_) => own.internal_errors() > 0,
        Ok(Err(_)) => own.had_internal_error().await,
    };
    own.close().await;
    info!(queue, ended, "tried on a connection of its own");
    ended
}

/// Has so many deliveries sent, or as many as there are.
async fn take_ahead(own: &Connection, queue: &str, ahead: u16) -> Result<(), ChannelError> {
    let channel = own.channel().await?;
    let taking = async {
        let mut incoming = Incoming::start(&channel, queue.into(), ahead).await?;
        for _ in 0..ahead {
            match timeout(QUIET, incoming.next()).await {
                Ok(Some((delivery, _))) => drop(channel.taken(delivery?.delivery_tag)),
                Ok(None) => return Err(ChannelError::Cancelled),
                Err(_quiet) => break,
            }
        }
        Ok(())
    };
    channel.while_connected(taking).await
}
