//! One node of the cluster: whether it can be reached, and the one attempt to connect to it.

use std::{ops::Deref, sync::Arc, time::Duration};

use budget::Budget;
use lapin::{ConnectionProperties, uri::AMQPUri};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    task::{JoinError, JoinHandle},
    time::timeout,
};

use crate::{intake::Intake, wire};

/// From the start of a connection attempt to the open connection.
const CONNECT_DEADLINE: Duration = Duration::from_secs(10);
/// For one node to answer at all.
const PROBE_DEADLINE: Duration = Duration::from_secs(3);
/// What a client says first (AMQP 0-9-1, 4.2.2).
const PROTOCOL_HEADER: &[u8] = b"AMQP\x00\x00\x09\x01";

/// One node of the cluster.
pub(crate) struct Node {
    pub(crate) uri: AMQPUri,
    /// Bounds the deliveries of its connections.
    budget: Option<Budget>,
    /// An attempt that did not end in time. lapin's connect never returns from a node that is
    /// stopped (SIGSTOP) or cut off without a reset, and each one given up leaks a thread. So it
    /// is kept, and replaced only once the node is seen to answer somebody else.
    unfinished: Option<Attempt>,
}

type Attempt = JoinHandle<lapin::Result<Live>>;

/// A connection, with what its deliveries take of the memory budget.
#[derive(Debug)]
pub(crate) struct Live {
    connection: lapin::Connection,
    pub(crate) intake: Option<Arc<Intake>>,
}

impl Deref for Live {
    type Target = lapin::Connection;

    fn deref(&self) -> &Self::Target {
        &self.connection
    }
}

impl Node {
    pub(crate) fn new(uri: AMQPUri, budget: Option<Budget>) -> Self {
        Self {
            uri,
            budget,
            unfinished: None,
        }
    }

    /// One attempt, or the rest of the last one. The error is a reason to show to people.
    pub(crate) async fn connect(&mut self, name: &str) -> Result<Live, String> {
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
        let intake = self
            .budget
            .clone()
            .map(|budget| Arc::new(Intake::new(budget)));
        let connecting = wire::connect(self.uri.clone(), properties, intake.clone());
        tokio::spawn(async move {
            let connection = connecting.await?;
            Ok(Live { connection, intake })
        })
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
fn outcome(ended: Result<lapin::Result<Live>, JoinError>) -> Result<Live, String> {
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
        let mut node = Node::new(uri.parse().unwrap(), None);
        node.unfinished = Some(tokio::spawn(async {
            tokio::time::sleep(Duration::from_millis(200)).await;
            // Nobody listens there.
            let nowhere = "amqp://127.0.0.1:1".parse().unwrap();
            let connection = wire::connect(nowhere, ConnectionProperties::default(), None).await?;
            Ok(Live {
                connection,
                intake: None,
            })
        }));
        let reason = node.connect("test").await.err();
        assert!(reason.is_some_and(|reason| reason.contains("refused")));
    }
}
