//! A lapin channel together with the knowledge of whether its connection still lives.

use std::{collections::HashMap, future::Future, ops::Deref, sync::Arc, time::Duration};

use lapin::{
    ErrorKind,
    options::ConfirmSelectOptions,
    protocol::{AMQPErrorKind, AMQPSoftError},
};
use tokio::{
    sync::{Mutex, watch},
    time::timeout,
};
use tracing::debug;

use crate::{
    connection::Link,
    intake::{Intake, Taken},
    node::Live,
    topology::Topology,
};

/// For one request to RabbitMQ on a channel: open, declare, consume.
const CALL_DEADLINE: Duration = Duration::from_secs(10);

/// For each goodbye, of a consumer, a channel, the connection. What RabbitMQ does not answer by
/// then ends with the socket.
pub(crate) const CLOSE_DEADLINE: Duration = Duration::from_secs(2);

/// An open channel. It is dropped at the first error and never repaired.
pub(crate) struct Channel {
    declarer: Declarer,
    connection: Arc<Live>,
    link: watch::Receiver<Link>,
}

/// Declares on a channel, in turn with the other channels of its connection: where two make the
/// same quorum queue at once, RabbitMQ 3.10 may close the connection with an internal error.
#[derive(Clone)]
pub(crate) struct Declarer {
    connection: Arc<Live>,
    channel: lapin::Channel,
    declaring: Declaring,
}

/// How the channels of a connection declare.
#[derive(Clone, Debug, Default)]
pub(crate) struct Declaring {
    turn: Arc<Mutex<Shown>>,
    /// Not at all: everything is provided.
    pub(crate) looks_up: bool,
}

/// What was looked up, by name, and whether RabbitMQ lets this user look.
type Shown = HashMap<String, bool>;

/// Why a channel could not be had, or what ended it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ChannelError {
    #[error("the connection is closed for good")]
    Closing,
    #[error("RabbitMQ did not answer within {} s", CALL_DEADLINE.as_secs())]
    Deadline,
    #[error("the connection was lost")]
    Lost,
    #[error("RabbitMQ cancelled the consumer: the queue was deleted or moved")]
    Cancelled,
    /// As RabbitMQ 4.3 says it; 3.10 closes the channel.
    #[error(
        "RabbitMQ cancelled the consumer although the queue is there: a delivery was held for too \
         long (raise its consumer_timeout), or the queue has moved"
    )]
    TimedOut,
    #[error(
        "it is a stream, which keeps no place for its consumers, so events would be lost; replace it \
         by a quorum queue, or give the route a queue of its own on the exchange before the stream"
    )]
    Stream,
    /// As RabbitMQ 3.10 may leave a quorum queue after its node was killed: it is declared and looked
    /// up as ever, and neither delivers nor confirms.
    #[error(
        "it has no leader: RabbitMQ knows the queue and does not begin to deliver from it; restart \
         the RabbitMQ node, which then elects one"
    )]
    NoLeader,
    /// The message never gets here; see `apart.rs`.
    #[error(
        "RabbitMQ cannot write its next message to a client of AMQP 0-9-1, and closes the connection \
         (541 INTERNAL_ERROR); remove the message by RabbitMQ's management API (POST \
         /api/queues/VHOST/QUEUE/get with the ackmode ack_requeue_false, or purge the queue). Other \
         queues run on; this one is tried again every half a minute, on a connection of its own"
    )]
    Undeliverable,
    #[error("publishes stayed unconfirmed past the deadline")]
    Unconfirmed,
    #[error("a bug of this program; its panic is in the log")]
    Panicked,
    /// With RabbitMQ's own words, which name the user and what it must not use.
    #[error("{reason}; {cure}")]
    Refused { reason: String, cure: &'static str },
    /// A message was larger than RabbitMQ takes. In its own words.
    #[error("{reason}")]
    TooLarge { reason: String, bytes_max: usize },
    #[error(transparent)]
    Amqp(lapin::Error),
    #[error("{attempt}: {source}")]
    Declare {
        attempt: String,
        source: Box<ChannelError>,
    },
}

impl ChannelError {
    /// Whether RabbitMQ ended the channel for what one publish asked for.
    pub(crate) fn is_refusal(&self) -> bool {
        matches!(self, Self::Refused { .. } | Self::TooLarge { .. })
    }

    /// Whether RabbitMQ was silent, rather than said no.
    pub(crate) fn is_deadline(&self) -> bool {
        match self {
            Self::Deadline => true,
            Self::Declare { source, .. } => source.is_deadline(),
            _ => false,
        }
    }
}

/// What to do about a permission that is missing.
const GRANT: &str =
    "grant it with `rabbitmqctl set_permissions`, or set_topic_permissions for an event type";

impl From<lapin::Error> for ChannelError {
    fn from(error: lapin::Error) -> Self {
        let ErrorKind::ProtocolError(told) = error.kind() else {
            return Self::Amqp(error);
        };
        let reason = told.get_message().as_str();
        match told.kind() {
            AMQPErrorKind::Soft(AMQPSoftError::ACCESSREFUSED) => Self::Refused {
                reason: reason.to_owned(),
                cure: GRANT,
            },
            AMQPErrorKind::Soft(AMQPSoftError::PRECONDITIONFAILED) => match bytes_max(reason) {
                Some(bytes_max) => Self::TooLarge {
                    reason: reason.to_owned(),
                    bytes_max,
                },
                None => Self::Amqp(error),
            },
            _ => Self::Amqp(error),
        }
    }
}

/// Most bytes of a body, where RabbitMQ says `… message size 9 is larger than configured max size 8`.
fn bytes_max(reason: &str) -> Option<usize> {
    let (_, words) = reason.split_once("message size ")?;
    let (_, max) = words.split_once("max size ")?;
    max.trim().parse().ok()
}

impl Channel {
    /// Most bytes of a frame.
    pub(crate) fn frame_max(&self) -> u32 {
        match self.connection.configuration().frame_max() {
            0 => u32::MAX,
            some => some,
        }
    }

    pub(crate) async fn open(
        connection: Arc<Live>,
        link: watch::Receiver<Link>,
        declaring: Declaring,
    ) -> Result<Self, ChannelError> {
        let opened = call(connection.create_channel());
        let channel = while_connected(&connection, link.clone(), opened).await?;
        Ok(Self {
            declarer: Declarer {
                connection: connection.clone(),
                channel,
                declaring,
            },
            connection,
            link,
        })
    }

    /// What its deliveries take of the memory budget, where they are bounded.
    pub(crate) fn intake(&self) -> Option<Arc<Intake>> {
        self.connection.intake.clone()
    }

    /// What the delivery of this tag took of it.
    pub(crate) fn taken(&self, tag: u64) -> Option<Taken> {
        let intake = self.connection.intake.as_ref()?;
        intake.take(self.declarer.channel.id(), tag)
    }

    /// Awaits `work` on this channel, for as long as its connection lives.
    pub(crate) async fn while_connected<T>(
        &self,
        work: impl Future<Output = Result<T, ChannelError>>,
    ) -> Result<T, ChannelError> {
        while_connected(&self.connection, self.link.clone(), work).await
    }

    /// Puts the channel into confirm mode. Without it lapin reports every publish as a success.
    pub(crate) async fn select_confirms(&self) -> Result<(), ChannelError> {
        call(
            self.declarer
                .channel
                .confirm_select(ConfirmSelectOptions { nowait: false }),
        )
        .await
    }

    /// Declares everything in `topology`; idempotent.
    pub(crate) async fn declare(&self, topology: &Topology) -> Result<(), ChannelError> {
        self.declarer.declare(topology).await
    }

    /// Whether it only looks up what a topology would declare.
    pub(crate) fn looks_up(&self) -> bool {
        self.declarer.declaring.looks_up
    }

    /// For who declares again beside the deliveries of the channel.
    pub(crate) fn declarer(&self) -> Declarer {
        self.declarer.clone()
    }

    /// The reason why RabbitMQ blocks publishes on this connection, while it does.
    pub(crate) fn blocked(&self) -> Option<Arc<str>> {
        self.link.borrow().blocked()
    }

    /// Waits for a change of the connection that is worth a look at [`Self::blocked`]; an error
    /// once the connection under this channel is gone.
    pub(crate) async fn link_changed(&mut self) -> Result<(), ChannelError> {
        self.link
            .changed()
            .await
            .map_err(|_closed| ChannelError::Closing)?;
        if is_of(&self.link.borrow(), &self.connection) {
            Ok(())
        } else {
            Err(ChannelError::Lost)
        }
    }

    /// Closes the channel, within a deadline; what was delivered and not acknowledged goes back
    /// to its queue.
    pub(crate) async fn close(&self) {
        // An error says that the channel is closed already, as wanted.
        let _ = timeout(
            CLOSE_DEADLINE,
            self.declarer.channel.close(200, "done".into()),
        )
        .await;
    }
}

impl Declarer {
    /// Declares everything in `topology`, or only looks whether it is there; idempotent.
    pub(crate) async fn declare(&self, topology: &Topology) -> Result<(), ChannelError> {
        let mut shown = self.declaring.turn.lock().await;
        if self.declaring.looks_up {
            self.look_up(topology, &mut shown).await
        } else {
            topology.declare_on(&self.channel).await
        }
    }

    /// RabbitMQ 4.3 shows a user only what it may use in some way, and closes the channel of one that
    /// looks for more. So a first look goes by a channel of its own, and what is not shown is used
    /// unseen: what is wrong with it shows when it is used.
    async fn look_up(&self, topology: &Topology, shown: &mut Shown) -> Result<(), ChannelError> {
        let mut first_looks = None;
        for declaration in topology.declarations() {
            let name = declaration.name();
            match shown.get(&name) {
                Some(false) => {}
                None if declaration.is_shown_to_some() => {
                    let channel = match first_looks.take() {
                        Some(channel) => channel,
                        None => call(self.connection.create_channel()).await?,
                    };
                    let is_shown = match declaration.look_up_on(&channel).await {
                        Ok(()) => true,
                        Err(ChannelError::Refused { reason, .. }) => {
                            debug!(reason, "used without a look");
                            false
                        }
                        Err(source) => return Err(declaration.failed(true, source)),
                    };
                    shown.insert(name, is_shown);
                    first_looks = Some(channel).filter(|_| is_shown);
                }
                Some(true) | None => {
                    let looked = declaration.look_up_on(&self.channel).await;
                    if looked.is_err() {
                        shown.remove(&name);
                    }
                    looked.map_err(|source| declaration.failed(true, source))?;
                }
            }
        }
        if let Some(channel) = first_looks {
            // An error says that it is closed already, as wanted.
            let _ = timeout(CLOSE_DEADLINE, channel.close(200, "done".into())).await;
        }
        Ok(())
    }
}

impl Deref for Channel {
    type Target = lapin::Channel;

    fn deref(&self) -> &Self::Target {
        &self.declarer.channel
    }
}

/// Awaits `work` for as long as `connection` lives: lapin may leave a request unanswered that was
/// sent in the moment in which the connection broke, and its deadline is far.
async fn while_connected<T>(
    connection: &Arc<Live>,
    mut link: watch::Receiver<Link>,
    work: impl Future<Output = Result<T, ChannelError>>,
) -> Result<T, ChannelError> {
    tokio::select! {
        biased; // an answer counts, also one that is just in time
        done = work => done,
        _ = link.wait_for(|link| !is_of(link, connection)) => Err(ChannelError::Lost),
    }
}

fn is_of(link: &Link, connection: &Arc<Live>) -> bool {
    let live = link.connection();
    live.is_some_and(|live| Arc::ptr_eq(live, connection))
}

/// Puts the deadline on one request to RabbitMQ; lapin has none of its own.
pub(crate) async fn call<T>(
    request: impl Future<Output = lapin::Result<T>>,
) -> Result<T, ChannelError> {
    match timeout(CALL_DEADLINE, request).await {
        Ok(answer) => Ok(answer?),
        Err(_elapsed) => Err(ChannelError::Deadline),
    }
}
