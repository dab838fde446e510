//! One AMQP connection that heals.
//!
//! lapin does not recover by itself in a way that can be trusted, so each [`Connection`] has one
//! supervisor task: connect, watch until the first error, back off, connect again. A cold start
//! and a reconnect are the same path. Whoever needs a channel asks for one and waits.

use std::{sync::Arc, time::Duration};

use budget::Budget;
use futures_util::StreamExt as _;
use lapin::{
    ErrorKind, Event,
    protocol::{AMQPErrorKind, AMQPHardError},
};
use tokio::{sync::watch, time::timeout};
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::TaskTracker,
};
use tracing::{info, warn};

use crate::{
    AmqpUrl, Backoff, Status,
    amqp_url::Redacted,
    caught::caught,
    channel::{CLOSE_DEADLINE, Channel, ChannelError, Declaring},
    intake::Intake,
    node::{Live, Node},
    places::Places,
};

/// What RabbitMQ writes when it closes a channel for its `consumer_timeout`; the code is that of
/// every failed precondition.
const ACKNOWLEDGEMENT_TIMEOUT: &str = "delivery acknowledgement";

/// For the supervisor to hear what a channel has heard.
const COUNT_DEADLINE: Duration = Duration::from_secs(1);

/// A supervised AMQP connection. Cheap to clone; all clones are the same connection.
///
/// Publish on one and consume on another: RabbitMQ blocks a connection that publishes when it
/// runs short of memory or disk, and acknowledgements must not wait behind that.
#[derive(Clone, Debug)]
pub struct Connection {
    name: Arc<str>,
    url: AmqpUrl,
    link: watch::Receiver<Link>,
    /// How often RabbitMQ closed it with an internal error.
    internal_errors: watch::Receiver<u64>,
    declaring: Declaring,
    /// Bounds what its consumers are sent ahead.
    budget: Option<Budget>,
    /// For its consumers that are to have a connection of their own.
    pub(crate) places: Places,
    closing: CancellationToken,
    tasks: TaskTracker,
}

/// What the supervisor tells the users of the connection.
#[derive(Clone, Debug)]
pub(crate) enum Link {
    Down(Arc<str>),
    Up(Arc<Live>),
    Blocked(Arc<Live>, Arc<str>),
}

impl Link {
    pub(crate) fn connection(&self) -> Option<&Arc<Live>> {
        match self {
            Self::Down(_) => None,
            Self::Up(connection) | Self::Blocked(connection, _) => Some(connection),
        }
    }

    /// The reason why RabbitMQ blocks publishes, while it does.
    pub(crate) fn blocked(&self) -> Option<Arc<str>> {
        match self {
            Self::Blocked(_, reason) => Some(reason.clone()),
            Self::Down(_) | Self::Up(_) => None,
        }
    }
}

impl Connection {
    /// Starts to connect to one of the nodes of `url`, and keeps at it until [`Self::close`].
    /// `name` is shown in RabbitMQ's list of connections and in the logs.
    pub fn open(name: impl Into<String>, url: &AmqpUrl) -> Self {
        Self::start(name.into().into(), url.clone(), None)
    }

    /// The same for one to consume on, whose deliveries take their bytes of `budget`. What finds no
    /// room goes back to its queue until there is some.
    pub fn open_within(budget: Budget, name: impl Into<String>, url: &AmqpUrl) -> Self {
        Self::start(name.into().into(), url.clone(), Some(budget))
    }

    fn start(name: Arc<str>, url: AmqpUrl, budget: Option<Budget>) -> Self {
        let (sender, link) = watch::channel(Link::Down("not connected yet".into()));
        let (count, internal_errors) = watch::channel(0);
        let closing = CancellationToken::new();
        let tasks = TaskTracker::new();
        let supervisor = Supervisor {
            name: name.clone(),
            nodes: (url.nodes().iter())
                .map(|uri| Node::new(uri.clone(), budget.clone()))
                .collect(),
            link: sender,
            internal_errors: count,
            closing: closing.clone(),
        };
        tasks.spawn(supervisor.run());
        tasks.close();
        Self {
            name,
            url,
            link,
            internal_errors,
            declaring: Declaring::default(),
            budget,
            places: Places::default(),
            closing,
            tasks,
        }
    }

    /// With `false` the channels of this connection declare and bind nothing: what they need is
    /// provided by definitions and only looked up, which takes no permission to configure. What is
    /// missing is an error that names it, until it is there. Only queues that RabbitMQ is to name
    /// are made and bound all the same, since nobody can provide them.
    #[must_use]
    pub fn declaring(mut self, declaring: bool) -> Self {
        self.declaring.looks_up = !declaring;
        self
    }

    pub(crate) fn looks_up(&self) -> bool {
        self.declaring.looks_up
    }

    /// Whether RabbitMQ can be talked to now.
    pub fn status(&self) -> Status {
        match &*self.link.borrow() {
            Link::Up(_) => Status::Ready,
            Link::Blocked(_, reason) => Status::Blocked(reason.clone()),
            Link::Down(reason) => Status::Waiting(reason.clone()),
        }
    }

    /// Closes the connection and waits for it, within a deadline. Channels die with it.
    pub async fn close(&self) {
        self.closing.cancel();
        self.tasks.wait().await;
    }

    /// Bytes that one consumer may be sent ahead, where they are bounded.
    pub(crate) fn bytes_ahead(&self) -> Option<usize> {
        self.budget.as_ref().map(Intake::per_consumer)
    }

    /// Another one like it, for one of its queues alone. It declares in turn with this one.
    pub(crate) fn for_queue(&self, queue: &str) -> Self {
        let name = format!("{}: {queue}", self.name);
        let mut own = Self::start(name.into(), self.url.clone(), self.budget.clone());
        own.declaring = self.declaring.clone();
        own
    }

    /// Closes the connection when it is dropped.
    pub(crate) fn close_on_drop(&self) -> DropGuard {
        self.closing.clone().drop_guard()
    }

    /// How often RabbitMQ closed it with an internal error. On a connection that is up all are
    /// counted that came before it.
    pub(crate) fn internal_errors(&self) -> u64 {
        *self.internal_errors.borrow()
    }

    /// Whether RabbitMQ closed it with an internal error, of which a channel may know a moment
    /// before the supervisor.
    pub(crate) async fn had_internal_error(&self) -> bool {
        let mut count = self.internal_errors.clone();
        let counted = timeout(COUNT_DEADLINE, count.wait_for(|count| *count > 0)).await;
        counted.is_ok_and(|counted| counted.is_ok())
    }

    /// Whether it is closed for good, or about to be.
    pub(crate) fn is_closing(&self) -> bool {
        self.closing.is_cancelled()
    }

    /// Whether RabbitMQ opens a channel now.
    pub(crate) async fn answers(&self) -> bool {
        let Ok(channel) = self.channel().await else {
            return false;
        };
        channel.close().await;
        true
    }

    /// Opens a channel, waiting for the connection where it is away. Ends with an error when the
    /// connection is closed for good or RabbitMQ refuses the channel.
    pub(crate) async fn channel(&self) -> Result<Channel, ChannelError> {
        let connection = self.up().await?;
        Channel::open(connection, self.link.clone(), self.declaring.clone()).await
    }

    /// Waits until it is connected. Ends with an error when it is closed for good.
    pub(crate) async fn up(&self) -> Result<Arc<Live>, ChannelError> {
        let mut link = self.link.clone();
        let link = link.wait_for(|link| link.connection().is_some()).await;
        let link = link.map_err(|_closed| ChannelError::Closing)?;
        link.connection().cloned().ok_or(ChannelError::Closing)
    }
}

struct Supervisor {
    name: Arc<str>,
    nodes: Vec<Node>,
    link: watch::Sender<Link>,
    internal_errors: watch::Sender<u64>,
    closing: CancellationToken,
}

impl Supervisor {
    async fn run(mut self) {
        let mut backoff = Backoff::new();
        loop {
            for index in 0..self.nodes.len() {
                let closing = self.closing.clone();
                let connected = tokio::select! {
                    connected = caught(self.nodes[index].connect(&self.name)) => connected,
                    () = closing.cancelled() => return,
                };
                let node = Redacted(&self.nodes[index].uri);
                let reason = match connected.unwrap_or_else(|| Err(panicked())) {
                    Ok(connection) => {
                        info!(connection = %self.name, %node, "connected to RabbitMQ");
                        backoff.reset();
                        match caught(self.watch(connection)).await {
                            Some(None) => return,
                            Some(Some(reason)) => reason,
                            None => panicked(),
                        }
                    }
                    Err(reason) => reason,
                };
                let attempt = backoff.attempt() + 1;
                warn!(connection = %self.name, %node, attempt, reason, "no connection to RabbitMQ, trying again");
                let reason = format!("no connection to RabbitMQ at {node}: {reason}");
                self.link.send_replace(Link::Down(reason.into()));
                // The wait after each node, not after each round, bounds the attempts a minute.
                if self.wait(backoff.next_wait()).await.is_none() {
                    return;
                }
            }
        }
    }

    /// Follows a live connection until it ends: the reason, or `None` when it was closed here.
    async fn watch(&self, connection: Live) -> Option<String> {
        let connection = Arc::new(connection);
        let mut events = std::pin::pin!(connection.events_listener());
        let unannounced = connection
            .status()
            .blocked()
            .then(|| "no reason given".into());
        self.announce(&connection, unannounced);
        // Events may be missed between the handshake and the listener above, so look as well.
        let mut look = tokio::time::interval(Duration::from_secs(1));
        loop {
            tokio::select! {
                event = events.next() => match event {
                    Some(Event::ConnectionBlocked(reason)) => {
                        warn!(connection = %self.name, reason, "RabbitMQ blocks publishing");
                        self.announce(&connection, Some(reason.into()));
                    }
                    Some(Event::ConnectionUnblocked) => {
                        info!(connection = %self.name, "RabbitMQ takes publishes again");
                        self.announce(&connection, None);
                    }
                    Some(Event::Error(error)) if !connection.status().connected() => {
                        if is_internal(&error) {
                            self.internal_errors.send_modify(|count| *count += 1);
                        }
                        return Some(error.to_string());
                    }
                    // lapin tells the errors of channels here as well, which end no connection.
                    Some(Event::Error(error)) => self.warn_of_timeout(&error),
                    Some(_) => {}
                    None => return Some("the connection ended".to_owned()),
                },
                _ = look.tick() => {
                    if !connection.status().connected() {
                        return Some("the connection ended".to_owned());
                    }
                }
                () = self.closing.cancelled() => {
                    let goodbye = connection.close(200, "closed by its owner".into());
                    // An error here says that the connection is gone already, as wanted.
                    let _ = timeout(CLOSE_DEADLINE, goodbye).await;
                    self.link.send_replace(Link::Down("closed".into()));
                    return None;
                }
            }
        }
    }

    fn announce(&self, connection: &Arc<Live>, blocked: Option<Arc<str>>) {
        self.link.send_replace(match blocked {
            None => Link::Up(connection.clone()),
            Some(reason) => Link::Blocked(connection.clone(), reason),
        });
    }

    /// RabbitMQ tells nobody its `consumer_timeout` before it has passed, so this is the first that
    /// can be said of one that is too short. Any other error is told by the channel's user.
    fn warn_of_timeout(&self, error: &lapin::Error) {
        let reason = error.to_string();
        if reason.contains(ACKNOWLEDGEMENT_TIMEOUT) {
            warn!(
                connection = %self.name,
                reason,
                "RabbitMQ closed a channel that held its deliveries for too long, and delivers them again: raise its consumer_timeout"
            );
        }
    }

    async fn wait(&self, wait: Duration) -> Option<()> {
        tokio::select! {
            () = tokio::time::sleep(wait) => Some(()),
            () = self.closing.cancelled() => None,
        }
    }
}

/// Whether it is 541 of RabbitMQ's reply codes.
fn is_internal(error: &lapin::Error) -> bool {
    let ErrorKind::ProtocolError(protocol) = error.kind() else {
        return false;
    };
    matches!(
        protocol.kind(),
        AMQPErrorKind::Hard(AMQPHardError::INTERNALERROR)
    )
}

fn panicked() -> String {
    ChannelError::Panicked.to_string()
}
