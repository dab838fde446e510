//! The task behind a publisher, which alone uses the channel.
//!
//! lapin takes a delivery tag and queues the frames under two locks: publishes from several tasks
//! would mix up their confirms. The task starts each publish in order, keeps hundreds in flight,
//! and leaves to [`Verdicts`] to say what became of each.

use std::{future::Future, pin::Pin, sync::Arc};

use futures_util::{FutureExt as _, StreamExt as _, poll, stream::FuturesUnordered};
use lapin::{Confirmation, options::BasicPublishOptions};
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, timeout},
};
use tracing::warn;

use crate::{
    Backoff, Connection, PublishError, Publisher,
    caught::caught,
    channel::{Channel, ChannelError},
    message::{Identity, Message},
    publisher::State,
    requester::PendingReplies,
    topology::Topology,
    verdicts::{Verdicts, Waiting},
};

/// Publishes in flight on the channel. RabbitMQ's throughput has levelled off by then.
const WINDOW: usize = 512;

/// A message to publish, and whom to tell its verdict.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) message: Message,
    pub(crate) waiting: Waiting,
}

/// A publish under way: its confirm, and whom to tell.
type InFlight = Pin<Box<dyn Future<Output = Confirmed> + Send>>;
type Confirmed = (Identity, Waiting, Result<Confirmation, ChannelError>);

/// Runs until nobody can publish any more, over any number of channels.
pub(crate) struct PublishTask {
    pub(crate) connection: Connection,
    pub(crate) topology: Topology,
    pub(crate) replies: Option<PendingReplies>,
    pub(crate) queue: mpsc::Receiver<Job>,
    pub(crate) state: watch::Sender<State>,
}

impl PublishTask {
    pub(crate) async fn run(mut self) {
        let mut backoff = Backoff::new();
        loop {
            let ended = caught(self.session(&mut backoff)).await;
            let error = match ended.unwrap_or(Err(ChannelError::Panicked)) {
                Ok(()) | Err(ChannelError::Closing) => break,
                Err(error) => error,
            };
            let reason: Arc<str> = error.to_string().into();
            self.missing(reason.clone());
            self.refuse_queued(&PublishError::Disconnected(reason));
            warn!(error = %error, attempt = backoff.attempt() + 1, "publishing is interrupted");
            tokio::time::sleep(backoff.next_wait()).await;
        }
        self.missing("the publisher is closed".into());
    }

    /// One life of a channel: until its first error, or until nobody can publish any more.
    async fn session(&mut self, backoff: &mut Backoff) -> Result<(), ChannelError> {
        let mut channel = self.connection.channel().await?;
        channel.while_connected(self.prepare(&channel)).await?;
        backoff.reset();
        self.state.send_replace(State::Open);

        let mut in_flight = FuturesUnordered::<InFlight>::new();
        let mut verdicts = Verdicts::default();
        loop {
            // Here and not where a confirm is noted: `start` notes some too, even its own one.
            if in_flight.is_empty() {
                let resolved = verdicts.take_resolved();
                verdicts.settle(resolved);
            }
            tokio::select! {
                biased;
                Some(confirmed) = in_flight.next() => note(&mut verdicts, confirmed)?,
                changed = channel.link_changed() => {
                    changed?;
                    if let Some(reason) = channel.blocked() {
                        self.refuse_queued(&PublishError::Blocked(reason));
                    }
                }
                job = self.queue.recv(), if in_flight.len() < WINDOW && channel.blocked().is_none() => {
                    match job {
                        Some(job) if job.waiting.is_closed() => {} // its caller gave up
                        Some(job) => start(&channel, job, &mut in_flight, &mut verdicts).await?,
                        None => return finish(&channel, in_flight, verdicts).await,
                    }
                }
            }
        }
    }

    async fn prepare(&self, channel: &Channel) -> Result<(), ChannelError> {
        channel.select_confirms().await?;
        channel.declare(&self.topology).await?;
        match &self.replies {
            Some(replies) => replies.consume(channel).await,
            None => Ok(()),
        }
    }

    fn missing(&self, why: Arc<str>) {
        self.state.send_modify(|state| match state {
            State::Open => {
                *state = State::Missing {
                    since: Instant::now(),
                    reason: why,
                };
            }
            // It is still the same interruption.
            State::Missing { reason, .. } => *reason = why,
        });
    }

    fn refuse_queued(&mut self, refusal: &PublishError) {
        while let Ok(job) = self.queue.try_recv() {
            // An error says that the caller gave up.
            let _ = job.waiting.send(Err(refusal.clone()));
        }
    }
}

/// Sends one message, and settles what resolved before it was sent.
async fn start(
    channel: &Channel,
    job: Job,
    in_flight: &mut FuturesUnordered<InFlight>,
    verdicts: &mut Verdicts,
) -> Result<(), ChannelError> {
    let resolved = verdicts.take_resolved();
    let mut publish: InFlight = Box::pin(publish((**channel).clone(), job));
    // The first poll takes the delivery tag and queues the frames, in the order of the jobs.
    match poll!(publish.as_mut()) {
        std::task::Poll::Ready(confirmed) => note(verdicts, confirmed)?,
        std::task::Poll::Pending => in_flight.push(publish),
    }
    // Returns may sit on confirms that are ready and not yet noted.
    while let Some(Some(confirmed)) = in_flight.next().now_or_never() {
        note(verdicts, confirmed)?;
    }
    verdicts.settle(resolved);
    Ok(())
}

async fn publish(channel: lapin::Channel, job: Job) -> Confirmed {
    let Job { message, waiting } = job;
    let identity = message.identity();
    let options = BasicPublishOptions {
        mandatory: message.mandatory,
        immediate: false, // not supported by RabbitMQ
    };
    let confirm = async {
        #[expect(clippy::disallowed_methods, reason = "this is the publisher")]
        let publish = channel.basic_publish(
            message.exchange,
            message.routing_key,
            options,
            &message.payload,
            message.properties,
        );
        publish.await?.await
    };
    let confirmed = match timeout(Publisher::CONFIRM_DEADLINE, confirm).await {
        Ok(confirmed) => confirmed.map_err(ChannelError::from),
        Err(_elapsed) => Err(ChannelError::Unconfirmed),
    };
    (identity, waiting, confirmed)
}

/// On an error the caller is told nothing, which it takes as "unknown".
fn note(verdicts: &mut Verdicts, confirmed: Confirmed) -> Result<(), ChannelError> {
    let (identity, waiting, confirmation) = confirmed;
    verdicts.resolve(identity, confirmation?, waiting);
    Ok(())
}

/// Waits for what is in flight and closes the channel.
async fn finish(
    channel: &Channel,
    mut in_flight: FuturesUnordered<InFlight>,
    mut verdicts: Verdicts,
) -> Result<(), ChannelError> {
    while let Some(confirmed) = in_flight.next().await {
        note(&mut verdicts, confirmed)?;
    }
    let resolved = verdicts.take_resolved();
    verdicts.settle(resolved);
    channel.close().await;
    Ok(())
}
