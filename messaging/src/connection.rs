//! One AMQP connection that heals.
//!
//! lapin does not recover by itself in a way that can be trusted, so each [`Connection`] has one
//! supervisor task: connect, watch until the first error, back off, connect again. A cold start
//! and a reconnect are the same path. Whoever needs a channel asks for one and waits.

use std::{sync::Arc, time::Duration};

use futures_util::StreamExt as _;
use lapin::{ConnectionProperties, Event, uri::AMQPUri};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::watch,
    task::{JoinError, JoinHandle},
    time::timeout,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{info, warn};

use crate::{
    AmqpUrl, Backoff, Status,
    amqp_url::Redacted,
    channel::{Channel, ChannelError, Turn},
};

/// From the start of a connection attempt to the open connection.
const CONNECT_DEADLINE: Duration = Duration::from_secs(10);
/// For one node to answer at all.
const PROBE_DEADLINE: Duration = Duration::from_secs(3);
/// What a client says first (AMQP 0-9-1, 4.2.2).
const PROTOCOL_HEADER: &[u8] = b"AMQP\x00\x00\x09\x01";
/// For the closing handshake; afterwards the socket is dropped.
const CLOSE_DEADLINE: Duration = Duration::from_secs(3);

/// A supervised AMQP connection. Cheap to clone; all clones are the same connection.
///
/// Publish on one and consume on another: RabbitMQ blocks a connection that publishes when it
/// runs short of memory or disk, and acknowledgements must not wait behind that.
#[derive(Clone, Debug)]
pub struct Connection {
    link: watch::Receiver<Link>,
    declaring: Turn,
    closing: CancellationToken,
    tasks: TaskTracker,
}

/// What the supervisor tells the users of the connection.
#[derive(Clone, Debug)]
pub(crate) enum Link {
    Down(Arc<str>),
    Up(Arc<lapin::Connection>),
    Blocked(Arc<lapin::Connection>, Arc<str>),
}

impl Link {
    pub(crate) fn connection(&self) -> Option<&Arc<lapin::Connection>> {
        match self {
            Self::Down(_) => None,
            Self::Up(connection) | Self::Blocked(connection, _) => Some(connection),
        }
    }
}

impl Connection {
    /// Starts to connect to one of the nodes of `url`, and keeps at it until [`Self::close`].
    /// `name` is shown in RabbitMQ's list of connections and in the logs.
    pub fn open(name: impl Into<String>, url: &AmqpUrl) -> Self {
        let (sender, link) = watch::channel(Link::Down("not connected yet".into()));
        let closing = CancellationToken::new();
        let tasks = TaskTracker::new();
        let supervisor = Supervisor {
            name: name.into(),
            nodes: url.nodes().iter().cloned().map(Node::new).collect(),
            link: sender,
            closing: closing.clone(),
        };
        tasks.spawn(supervisor.run());
        tasks.close();
        Self {
            link,
            declaring: Turn::default(),
            closing,
            tasks,
        }
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

    /// Opens a channel, waiting for the connection where it is away. Ends with an error when the
    /// connection is closed for good or RabbitMQ refuses the channel.
    pub(crate) async fn channel(&self) -> Result<Channel, ChannelError> {
        let mut link = self.link.clone();
        let connection = link
            .wait_for(|link| link.connection().is_some())
            .await
            .map_err(|_closed| ChannelError::Closing)?
            .connection()
            .cloned()
            .ok_or(ChannelError::Closing)?;
        Channel::open(connection, link, self.declaring.clone()).await
    }
}

struct Supervisor {
    name: String,
    nodes: Vec<Node>,
    link: watch::Sender<Link>,
    closing: CancellationToken,
}

impl Supervisor {
    async fn run(mut self) {
        let mut backoff = Backoff::new();
        loop {
            for index in 0..self.nodes.len() {
                let closing = self.closing.clone();
                let connected = tokio::select! {
                    connected = self.nodes[index].connect(&self.name) => connected,
                    () = closing.cancelled() => return,
                };
                let node = Redacted(&self.nodes[index].uri);
                let reason = match connected {
                    Ok(connection) => {
                        info!(connection = self.name, %node, "connected to RabbitMQ");
                        backoff.reset();
                        let Some(reason) = self.watch(connection).await else {
                            return;
                        };
                        reason
                    }
                    Err(reason) => reason,
                };
                let attempt = backoff.attempt() + 1;
                warn!(connection = self.name, %node, attempt, reason, "no connection to RabbitMQ, trying again");
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
    async fn watch(&self, connection: lapin::Connection) -> Option<String> {
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
                        warn!(connection = self.name, reason, "RabbitMQ blocks publishing");
                        self.announce(&connection, Some(reason.into()));
                    }
                    Some(Event::ConnectionUnblocked) => {
                        info!(connection = self.name, "RabbitMQ takes publishes again");
                        self.announce(&connection, None);
                    }
                    // lapin tells the errors of channels here as well, which end no connection.
                    Some(Event::Error(error)) if !connection.status().connected() => {
                        return Some(error.to_string());
                    }
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

    fn announce(&self, connection: &Arc<lapin::Connection>, blocked: Option<Arc<str>>) {
        self.link.send_replace(match blocked {
            None => Link::Up(connection.clone()),
            Some(reason) => Link::Blocked(connection.clone(), reason),
        });
    }

    async fn wait(&self, wait: Duration) -> Option<()> {
        tokio::select! {
            () = tokio::time::sleep(wait) => Some(()),
            () = self.closing.cancelled() => None,
        }
    }
}

/// One node of the cluster.
struct Node {
    uri: AMQPUri,
    /// An attempt that did not end in time. lapin's connect never returns from a node that is
    /// stopped (SIGSTOP) or cut off without a reset, and each one given up leaks a thread. So it
    /// is kept, and replaced only once the node is seen to answer somebody else.
    unfinished: Option<Attempt>,
}

type Attempt = JoinHandle<lapin::Result<lapin::Connection>>;

impl Node {
    fn new(uri: AMQPUri) -> Self {
        Self {
            uri,
            unfinished: None,
        }
    }

    /// One attempt, or the rest of the last one. The error is a reason to show to people.
    async fn connect(&mut self, name: &str) -> Result<lapin::Connection, String> {
        let mut attempt = match self.unfinished.take() {
            Some(mut attempt) => {
                let answers = self.answers().await;
                // A node that lives has a moment to end the old attempt before a new one.
                let moment = match answers {
                    Ok(()) => Duration::from_secs(1),
                    Err(_) => Duration::ZERO,
                };
                match (timeout(moment, &mut attempt).await, answers) {
                    (Ok(ended), _) => return outcome(ended),
                    (Err(_elapsed), Ok(())) => self.start(name),
                    (Err(_elapsed), Err(reason)) => {
                        self.unfinished = Some(attempt);
                        return Err(reason);
                    }
                }
            }
            None => {
                // Where nobody listens this fails at once, and without a thread of lapin's.
                self.reach().await?;
                self.start(name)
            }
        };
        match timeout(CONNECT_DEADLINE, &mut attempt).await {
            Ok(ended) => outcome(ended),
            Err(_elapsed) => {
                self.unfinished = Some(attempt);
                let seconds = CONNECT_DEADLINE.as_secs();
                Err(format!("no AMQP handshake within {seconds} s"))
            }
        }
    }

    fn start(&self, name: &str) -> Attempt {
        let properties = ConnectionProperties::default().with_connection_name(name.into());
        tokio::spawn(lapin::Connection::connect_uri(self.uri.clone(), properties))
    }

    /// Opens a plain TCP connection to the node.
    async fn reach(&self) -> Result<TcpStream, String> {
        let authority = &self.uri.authority;
        let connect = TcpStream::connect((authority.host.as_str(), authority.port));
        match timeout(PROBE_DEADLINE, connect).await {
            Ok(connected) => connected.map_err(|error| error.to_string()),
            Err(_elapsed) => Err(unanswered(PROBE_DEADLINE)),
        }
    }

    /// Whether a process answers behind the port, which a stopped one does not: the kernel
    /// accepts for it. Anything read, be it an error or the end, comes from a live process.
    async fn answers(&self) -> Result<(), String> {
        let mut stream = self.reach().await?;
        let probe = async {
            stream.write_all(PROTOCOL_HEADER).await?;
            stream.read(&mut [0; 8]).await
        };
        match timeout(PROBE_DEADLINE, probe).await {
            Ok(_anything) => Ok(()),
            Err(_elapsed) => Err(unanswered(PROBE_DEADLINE)),
        }
    }
}

/// What an attempt came to. It is told once: an attempt that has ended cannot be asked again.
fn outcome(
    ended: Result<lapin::Result<lapin::Connection>, JoinError>,
) -> Result<lapin::Connection, String> {
    match ended {
        Ok(connected) => connected.map_err(|error| error.to_string()),
        Err(panicked) => Err(panicked.to_string()),
    }
}

fn unanswered(deadline: Duration) -> String {
    format!("no answer within {} s", deadline.as_secs())
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn an_attempt_that_ends_while_the_node_wakes_is_told_once() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let uri = format!("amqp://{}", listener.local_addr().unwrap());
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let _gone = stream.write_all(PROTOCOL_HEADER).await;
            }
        });
        let mut node = Node::new(uri.parse().unwrap());
        node.unfinished = Some(tokio::spawn(async {
            tokio::time::sleep(Duration::from_millis(200)).await;
            // Nobody listens there.
            lapin::Connection::connect("amqp://127.0.0.1:1", ConnectionProperties::default()).await
        }));
        let reason = node.connect("test").await.err();
        assert!(reason.is_some_and(|reason| reason.contains("refused")));
    }
}
