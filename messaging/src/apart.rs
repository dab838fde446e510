//! Consumers on connections of their own.
//!
//! All consumers share a connection, and one message can end it: one that RabbitMQ has and cannot write
//! to a client of AMQP 0-9-1, such as one that came by MQTT with a routing key of 300 bytes. RabbitMQ then
//! closes the connection with an internal error (541), does not say for which queue, and does so again at
//! each redelivery. The stream in `wire.rs` never sees the message.
//!
//! So after such a close each consumer is tried on a connection of its own before it is back on the
//! shared one. The one whose own connection ends in the same way stays apart, and the
//! others have nothing to do with its message any more.

use std::{
    future::Future,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{sync::watch, time::timeout};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::{
    Backoff, Connection, Delivery, Handled, Status, ahead::Ahead, channel::ChannelError,
    consumer::ConsumeTask, incoming::Incoming,
};

/// For one trial, its connection included.
const TRIAL_DEADLINE: Duration = Duration::from_secs(5);
/// When no more comes for so long, RabbitMQ has sent what it can.
const QUIET: Duration = Duration::from_millis(500);
/// Between two tries of a queue whose next message RabbitMQ cannot deliver. Each counts against the
/// queue's limit of deliveries, after which RabbitMQ moves the message to the dead letters.
const UNDELIVERABLE_WAIT: Duration = Duration::from_secs(30);
/// The same after a try that delivered something.
const AFTER_PROGRESS: Duration = Duration::from_secs(1);
/// For a queue's own connection to RabbitMQ.
const OWN_CONNECTION_DEADLINE: Duration = Duration::from_secs(10);
/// A consumer that stays apart is at work once its connection has lived for so long.
const APART_READY: Duration = Duration::from_secs(2);
/// And may be tried for the shared one after so long, if it has passed enough deliveries or was idle.
const APART_LOOK: Duration = Duration::from_secs(10);

impl<H, F> ConsumeTask<H>
where
    H: Fn(Delivery) -> F + Send + Sync + 'static,
    F: Future<Output = Handled> + Send + 'static,
{
    /// One session, on the shared connection where this queue is not what makes RabbitMQ close it.
    /// `cleared` counts the closes of which that is known.
    pub(crate) async fn session(
        &self,
        backoff: &mut Backoff,
        ahead: &mut Ahead,
        cleared: &mut u64,
    ) -> Result<(), ChannelError> {
        let (shared, queue) = (&self.connection, &self.config.queue);
        loop {
            tokio::select! {
                biased; // it may have been stopped while it was apart
                () = self.stop.cancelled() => return Ok(()),
                up = shared.up() => { up?; }
            }
            let closes = shared.internal_errors();
            if closes == *cleared {
                return self.consume(backoff, ahead).await;
            }
            if self.config.topology.is_exclusive(queue) {
                // It was deleted with the connection, and its messages too, so it cannot be tried. But
                // the next one may get such a message soon.
                if let Some(_place) = shared.places.exclusive() {
                    let own = shared.for_queue(queue);
                    let _closes = own.close_on_drop();
                    let task = self.on(&own, self.status.clone(), self.stop.clone());
                    let ended = task.consume(backoff, ahead).await;
                    own.close().await;
                    return ended;
                }
            } else if self.ends_a_connection(ahead.now()).await {
                self.stay_apart().await?;
                continue;
            }
            *cleared = closes;
        }
    }

    async fn ends_a_connection(&self, ahead: u16) -> bool {
        let queue = &self.config.queue;
        self.status.send_replace(Status::waiting(format!(
            "queue {queue}: RabbitMQ closed the connection with an internal error; finding out whether \
             a message of this queue is the cause"
        )));
        // While the prefetch changes, what the one before let in is there as well.
        let ahead = ahead.saturating_mul(2);
        tokio::select! {
            ends = ends_a_connection(&self.connection, queue, ahead) => ends,
            () = self.stop.cancelled() => false,
        }
    }

    /// Consumes apart from the others, until RabbitMQ has not closed that connection for a while.
    async fn stay_apart(&self) -> Result<(), ChannelError> {
        let queue = &self.config.queue;
        loop {
            let handled = Arc::default();
            match self.consume_apart(&handled).await {
                Err(ChannelError::Undeliverable) => {}
                ended => return ended,
            }
            let error = ChannelError::Undeliverable;
            self.status
                .send_replace(Status::waiting(format!("queue {queue}: {error}")));
            warn!(queue, %error, "consuming is interrupted");
            // RabbitMQ puts what came back behind what came back before, so there may be more to deliver
            // until the message is the first one.
            let wait = match handled.load(Ordering::Relaxed) {
                0 => UNDELIVERABLE_WAIT,
                _some => AFTER_PROGRESS,
            };
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = self.stop.cancelled() => return Ok(()),
            }
        }
    }

    /// One session on a connection of its own, of one delivery at a time: so only the message at fault
    /// goes back to the queue when that connection ends.
    async fn consume_apart(&self, handled: &Arc<AtomicUsize>) -> Result<(), ChannelError> {
        let _place = tokio::select! {
            place = self.connection.places.apart() => place?,
            () = self.stop.cancelled() => return Ok(()),
        };
        let own = self.connection.for_queue(&self.config.queue);
        let _closes = own.close_on_drop();
        tokio::select! {
            up = timeout(OWN_CONNECTION_DEADLINE, own.up()) => {
                up.map_err(|_elapsed| ChannelError::Deadline)??;
            }
            () = self.stop.cancelled() => return Ok(()),
        }
        let stop = self.stop.child_token();
        let (status, _) = watch::channel(Status::waiting("apart"));
        let mut task = self.on(&own, status, stop.clone());
        task.config.prefetch = 1;
        task.handled = handled.clone();
        let mut ahead = Ahead::new(1, own.bytes_ahead());
        let mut backoff = Backoff::new();
        let mut consumed = pin!(task.consume(&mut backoff, &mut ahead));
        let ended = tokio::select! {
            ended = &mut consumed => ended,
            () = self.has_passed(handled) => {
                stop.cancel();
                consumed.await
            }
        };
        let undeliverable = ended.is_err() && own.had_internal_error().await;
        own.close().await;
        if undeliverable {
            return Err(ChannelError::Undeliverable);
        }
        ended
    }

    /// Waits until a consumer that is apart, and sent one delivery at a time, has passed what it is sent
    /// ahead on the shared connection, or has nothing to do.
    async fn has_passed(&self, handled: &AtomicUsize) {
        tokio::time::sleep(APART_READY).await;
        self.status.send_replace(Status::Ready);
        let mut before = 0;
        loop {
            tokio::time::sleep(APART_LOOK).await;
            let now = handled.load(Ordering::Relaxed);
            let is_idle =
                now == before && self.permits.available_permits() == self.config.concurrency;
            if is_idle || now > 2 * usize::from(self.config.prefetch) {
                return;
            }
            before = now;
        }
    }

    /// The same on another connection.
    fn on(
        &self,
        connection: &Connection,
        status: watch::Sender<Status>,
        stop: CancellationToken,
    ) -> Self {
        Self {
            connection: connection.clone(),
            config: self.config.clone(),
            handler: self.handler.clone(),
            permits: self.permits.clone(),
            status,
            stop,
            handled: Arc::default(),
        }
    }
}

/// Whether RabbitMQ closes a connection on which `queue` is sent so many deliveries ahead. They go back
/// unhandled. Where that cannot be found out the queue is taken for harmless, as it was before.
pub(crate) async fn ends_a_connection(shared: &Connection, queue: &str, ahead: u16) -> bool {
    let Ok(_place) = shared.places.trial().await else {
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
