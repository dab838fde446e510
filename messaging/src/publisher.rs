//! Publishing with a true verdict for each message, many in flight on one channel.
//!
//! One task owns the channel, since lapin takes a delivery tag and queues the frames under two
//! locks: publishes from several tasks would mix up their confirms. The task starts each publish
//! in order, keeps hundreds in flight, and leaves to [`Verdicts`] to say what became of each.

use std::{future::Future, pin::Pin, sync::Arc, time::Duration};

use futures_util::{FutureExt as _, StreamExt as _, poll, stream::FuturesUnordered};
use lapin::{Confirmation, options::BasicPublishOptions};
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::{Instant, timeout, timeout_at},
};
use tracing::warn;

use crate::{
    Backoff, Connection, Status,
    channel::{Channel, ChannelError},
    message::{Identity, Message},
    requester::PendingReplies,
    topology::Topology,
    verdicts::{Verdicts, Waiting},
};

/// Publishes in flight on the channel. RabbitMQ's throughput has levelled off by then.
const WINDOW: usize = 512;
/// Publishes that wait for a place in the window; more are refused as [`PublishError::Overloaded`].
const QUEUE: usize = 1024;
/// A publish waits this long for a channel that has just gone or is about to come, at a start for
/// instance. Without a channel for longer it fails at once: nothing is kept for later.
const INTERRUPTION: Duration = Duration::from_secs(1);

/// A publish that is under way when RabbitMQ begins to block may still be confirmed for this long,
/// and hardly later: RabbitMQ reads nothing more until the end of the alarm.
const STALL: Duration = Duration::from_secs(1);

/// Publishes messages and waits for their confirms. Cheap to clone; all clones share a channel.
#[derive(Clone, Debug)]
pub struct Publisher {
    connection: Connection,
    jobs: mpsc::Sender<Job>,
    state: watch::Receiver<State>,
}

/// Whether the channel is there.
#[derive(Clone, Debug)]
enum State {
    Open,
    Missing { since: Instant, reason: Arc<str> },
}

/// Why a publish is no success. Only the last three leave its fate open.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    /// No queue is bound for the routing key; RabbitMQ returned the message.
    #[error("no queue is bound for the routing key")]
    Unroutable,
    /// RabbitMQ refused the message: a queue is full, or cannot take it now.
    #[error("RabbitMQ refused the message: a queue is full or not available")]
    Nacked,
    /// RabbitMQ takes no publishes for now. Not sent.
    #[error("RabbitMQ blocks publishing: {0}")]
    Blocked(Arc<str>),
    /// There is no connection to RabbitMQ. Not sent.
    #[error("{0}")]
    Disconnected(Arc<str>),
    /// Too many publishes wait already. Not sent.
    #[error("too many publishes are waiting")]
    Overloaded,
    /// RabbitMQ began to block publishes before the verdict. It may still be sent and taken at the
    /// end of the alarm.
    #[error("RabbitMQ blocks publishing and has not confirmed the message: {0}")]
    Stalled(Arc<str>),
    /// No verdict came within the caller's deadline.
    #[error("RabbitMQ did not confirm the message in time")]
    Timeout,
    /// The channel ended before the verdict.
    #[error("the connection was lost before RabbitMQ confirmed the message")]
    Unknown,
}

impl Publisher {
    /// After this long without its confirm a publish is given up, and the channel with it. It is
    /// longer than a client waits: a short stall of RabbitMQ costs some their answer, but not
    /// everybody the channel. Who must not publish a message twice waits longer than this.
    pub const CONFIRM_DEADLINE: Duration = Duration::from_secs(30);

    /// Starts a publisher on a channel of `connection` that declares `topology` first. It ends
    /// when its last clone is dropped, after what is in flight.
    pub fn start(connection: &Connection, topology: Topology) -> Self {
        Self::start_with(connection, topology, None)
    }

    pub(crate) fn start_with(
        connection: &Connection,
        topology: Topology,
        replies: Option<PendingReplies>,
    ) -> Self {
        let (jobs, queue) = mpsc::channel(QUEUE);
        let (sender, state) = watch::channel(State::Missing {
            since: Instant::now(),
            reason: "not connected yet".into(),
        });
        let task = PublishTask {
            connection: connection.clone(),
            topology,
            replies,
            queue,
            state: sender,
        };
        tokio::spawn(task.run());
        Self {
            connection: connection.clone(),
            jobs,
            state,
        }
    }

    /// Whether a publish could succeed now.
    pub fn status(&self) -> Status {
        match self.connection.status() {
            Status::Ready => match &*self.state.borrow() {
                State::Open => Status::Ready,
                State::Missing { reason, .. } => Status::Waiting(reason.clone()),
            },
            away => away,
        }
    }

    /// Publishes one message: `Ok` means that it is confirmed and in at least one queue. While
    /// RabbitMQ is away, but for a moment's interruption, or blocked this fails at once.
    ///
    /// # Errors
    /// See [`PublishError`]; after `deadline` it is [`PublishError::Timeout`].
    pub async fn publish(&self, message: Message, deadline: Duration) -> Result<(), PublishError> {
        let deadline = Instant::now() + deadline;
        self.wait_out_interruption(deadline).await;
        match self.status() {
            Status::Ready => {}
            Status::Waiting(reason) => return Err(PublishError::Disconnected(reason)),
            Status::Blocked(reason) => return Err(PublishError::Blocked(reason)),
        }
        let (waiting, verdict) = oneshot::channel();
        self.jobs
            .try_send(Job { message, waiting })
            .map_err(|_full| PublishError::Overloaded)?;
        match timeout_at(deadline, verdict).await {
            Ok(Ok(verdict)) => verdict,
            Ok(Err(_dropped)) => Err(PublishError::Unknown),
            Err(_elapsed) => Err(PublishError::Timeout),
        }
    }

    /// The same for who would rather know soon than wait for a verdict: once RabbitMQ has blocked
    /// publishes for a second without confirming this one, it fails as [`PublishError::Stalled`].
    ///
    /// # Errors
    /// See [`PublishError`].
    pub async fn publish_unless_blocked(
        &self,
        message: Message,
        deadline: Duration,
    ) -> Result<(), PublishError> {
        tokio::select! {
            biased; // a verdict counts, also one that is just in time
            verdict = self.publish(message, deadline) => verdict,
            reason = self.connection.stays_blocked(STALL) => Err(PublishError::Stalled(reason)),
        }
    }

    async fn wait_out_interruption(&self, deadline: Instant) {
        let mut state = self.state.clone();
        let end = match &*state.borrow() {
            State::Open => return,
            State::Missing { since, .. } => *since + INTERRUPTION,
        };
        // However this ends, the status tells.
        let _ = timeout_at(
            end.min(deadline),
            state.wait_for(|state| matches!(state, State::Open)),
        )
        .await;
    }
}

#[derive(Debug)]
struct Job {
    message: Message,
    waiting: Waiting,
}

/// A publish under way: its confirm, and whom to tell.
type InFlight = Pin<Box<dyn Future<Output = Confirmed> + Send>>;
type Confirmed = (Identity, Waiting, Result<Confirmation, ChannelError>);

struct PublishTask {
    connection: Connection,
    topology: Topology,
    replies: Option<PendingReplies>,
    queue: mpsc::Receiver<Job>,
    state: watch::Sender<State>,
}

impl PublishTask {
    async fn run(mut self) {
        let mut backoff = Backoff::new();
        loop {
            let error = match self.session(&mut backoff).await {
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
        channel.select_confirms().await?;
        channel.declare(&self.topology).await?;
        if let Some(replies) = &self.replies {
            replies.consume(&channel).await?;
        }
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
