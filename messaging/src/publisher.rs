//! Publishing with a true verdict for each message, many in flight on one channel.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{mpsc, oneshot, watch},
    time::{Instant, timeout_at},
};

use crate::{
    Connection, Status, message::Message, publish_task::PublishTask, refusals::Refusals,
    requester::PendingReplies, topology::Topology, window::Job,
};

/// Publishes that wait for a place in the window; more are refused as [`PublishError::Overloaded`].
const QUEUE: usize = 1024;
/// A publish waits this long for a channel that has just gone or is about to come, at a start for
/// instance. Without a channel for longer it fails at once: nothing is kept for later.
const INTERRUPTION: Duration = Duration::from_secs(1);
/// Publishes messages and waits for their confirms. Cheap to clone; all clones share a channel.
#[derive(Clone, Debug)]
pub struct Publisher {
    connection: Connection,
    jobs: mpsc::Sender<Job>,
    topology: Topology,
    state: watch::Receiver<State>,
    refusals: Refusals,
}

/// Whether the channel is there.
#[derive(Clone, Debug)]
pub(crate) enum State {
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
    /// RabbitMQ lets its user publish no messages of this routing key, in its own words. Not taken.
    #[error("{0}")]
    Forbidden(Arc<str>),
    /// RabbitMQ takes no message of this size, in its own words. Not taken.
    #[error("{0}")]
    TooLarge(Arc<str>),
    /// RabbitMQ takes no publishes for now. Not sent.
    #[error("RabbitMQ blocks publishing: {0}")]
    Blocked(Arc<str>),
    /// There is no connection to RabbitMQ, the channel ended before the message was sent, or the
    /// exchange takes nothing from its user. Not taken.
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
        Self::start_with(connection, topology, None, Refusals::default())
    }

    /// Starts another one like this, whose messages cannot end this one's channel. What RabbitMQ
    /// refuses to the one, the other knows too.
    #[must_use]
    pub fn on_another_channel(&self) -> Self {
        let (topology, refusals) = (self.topology.clone(), self.refusals.clone());
        Self::start_with(&self.connection, topology, None, refusals)
    }

    pub(crate) fn start_with(
        connection: &Connection,
        topology: Topology,
        replies: Option<PendingReplies>,
        refusals: Refusals,
    ) -> Self {
        let (jobs, queue) = mpsc::channel(QUEUE);
        let (sender, state) = watch::channel(State::Missing {
            since: Instant::now(),
            reason: "not connected yet".into(),
        });
        let task = PublishTask {
            connection: connection.clone(),
            topology: topology.clone(),
            replies,
            queue,
            state: sender,
            refusals: refusals.clone(),
        };
        tokio::spawn(task.run());
        Self {
            connection: connection.clone(),
            jobs,
            topology,
            state,
            refusals,
        }
    }

    /// Whether a publish could succeed now.
    pub fn status(&self) -> Status {
        match self.connection.status() {
            Status::Ready => match &*self.state.borrow() {
                State::Open => self
                    .refusals
                    .of_exchange()
                    .map_or(Status::Ready, Status::Waiting),
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
        let mut unconfirmed = self.send(message, deadline, false).await?;
        unconfirmed.confirmed().await
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
        let mut unconfirmed = self.send_unless_blocked(message, deadline).await?;
        unconfirmed.confirmed().await
    }

    /// The first half of [`Self::publish_unless_blocked`]: once it returns, the message has its place
    /// before all that are sent later. So who sends one after the other, without waiting for their
    /// confirms, publishes in order.
    ///
    /// # Errors
    /// See [`PublishError`]; none of these leaves the fate of the message open.
    pub async fn send_unless_blocked(
        &self,
        message: Message,
        deadline: Duration,
    ) -> Result<Unconfirmed, PublishError> {
        self.send(message, deadline, true).await
    }

    async fn send(
        &self,
        message: Message,
        deadline: Duration,
        unless_blocked: bool,
    ) -> Result<Unconfirmed, PublishError> {
        let deadline = Instant::now() + deadline;
        if let Some(refusal) = self.refusals.verdict_of(&message) {
            return Err(refusal);
        }
        self.wait_out_interruption(deadline).await;
        match self.status() {
            Status::Ready => {}
            Status::Waiting(reason) => return Err(PublishError::Disconnected(reason)),
            Status::Blocked(reason) => return Err(PublishError::Blocked(reason)),
        }
        let (waiting, verdict) = oneshot::channel();
        let job = Job {
            message,
            waiting,
            unless_blocked,
        };
        self.jobs
            .try_send(job)
            .map_err(|_full| PublishError::Overloaded)?;
        Ok(Unconfirmed { verdict, deadline })
    }

    async fn wait_out_interruption(&self, deadline: Instant) {
        let end = match &*self.state.borrow() {
            State::Open => return,
            State::Missing { since, .. } => *since + INTERRUPTION,
        };
        let mut state = self.state.clone();
        // However this ends, the status tells.
        let _ = timeout_at(
            end.min(deadline),
            state.wait_for(|state| matches!(state, State::Open)),
        )
        .await;
    }
}

/// A message that is sent, or about to be, and not confirmed yet. Dropped before it is sent, the
/// message is not sent.
#[derive(Debug)]
#[must_use = "what became of the message is not known before `confirmed` returns"]
pub struct Unconfirmed {
    verdict: oneshot::Receiver<Result<(), PublishError>>,
    deadline: Instant,
}

impl Unconfirmed {
    /// Waits for the confirm, once: `Ok` means that the message is in at least one queue. A wait that
    /// was dropped may be begun again.
    ///
    /// # Errors
    /// See [`PublishError`]; after the deadline it was sent with it is [`PublishError::Timeout`].
    pub async fn confirmed(&mut self) -> Result<(), PublishError> {
        match timeout_at(self.deadline, &mut self.verdict).await {
            Ok(Ok(verdict)) => verdict,
            Ok(Err(_dropped)) => Err(PublishError::Unknown),
            Err(_elapsed) => Err(PublishError::Timeout),
        }
    }
}
