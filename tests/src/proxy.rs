//! A TCP proxy in front of RabbitMQ or a target: the network, to be broken as a test needs it.

mod pump;

use std::{net::SocketAddr, time::Duration};

use tokio::{
    net::{TcpListener, TcpStream},
    sync::{broadcast, watch},
    task::{JoinHandle, JoinSet},
};

use crate::{OrPanic as _, eventually, port};

/// What the network does with all connections, those that live included.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Bytes pass.
    #[default]
    Pass,
    /// Bytes arrive later, each direction by its own time.
    Delay {
        /// From the client to the server.
        up: Duration,
        /// From the server to the client.
        down: Duration,
    },
    /// So many bytes pass in a second, for each connection and direction.
    Throttle(u32),
    /// Connections are accepted and stay, and nothing passes either way, an end neither; what was
    /// sent passes afterwards, as TCP's retransmissions would.
    HalfOpen,
    /// New connections are refused; those that live go on.
    Refuse,
}

/// How connections end that are cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// RST: bytes in flight are lost, and both ends get an error.
    Reset,
    /// FIN, as if the other end had closed.
    Close,
}

/// A running proxy.
pub struct Proxy {
    /// Where clients connect to.
    pub addr: SocketAddr,
    mode: watch::Sender<Mode>,
    cut: broadcast::Sender<Cut>,
    task: JoinHandle<()>,
}

impl Proxy {
    /// Starts a proxy in front of `server`, at a new address.
    pub async fn start(server: SocketAddr) -> Self {
        let addr = port::reserve();
        let listener = TcpListener::bind(addr).await.or_panic("the proxy's port");
        let mode = watch::Sender::default();
        let cut = broadcast::Sender::new(1);
        let task = tokio::spawn(run(listener, server, mode.clone(), cut.clone()));
        Self {
            addr,
            mode,
            cut,
            task,
        }
    }

    /// Changes what the network does, at once. After [`Mode::Refuse`] has been set, or left, it
    /// also applies to connections made after this call.
    pub async fn set(&self, mode: Mode) {
        let refuse = mode == Mode::Refuse;
        let refused = self.mode.send_replace(mode) == Mode::Refuse;
        if refuse == refused {
            return;
        }
        eventually("the proxy's listener", Duration::from_secs(10), || async {
            (TcpStream::connect(self.addr).await.is_err() == refuse).then_some(())
        })
        .await;
    }

    /// Ends all connections that live, and returns how many there were.
    pub fn cut(&self, cut: Cut) -> usize {
        self.cut.send(cut).unwrap_or_default()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn run(
    listener: TcpListener,
    server: SocketAddr,
    mode: watch::Sender<Mode>,
    cut: broadcast::Sender<Cut>,
) {
    let addr = listener.local_addr().or_panic("the proxy's address");
    let mut listener = Some(listener);
    let mut changes = mode.subscribe();
    let mut connections = JoinSet::new();
    loop {
        let refuse = *changes.borrow_and_update() == Mode::Refuse;
        if refuse {
            listener = None;
        }
        let open = match &listener {
            Some(open) => open,
            None if refuse => {
                if changes.changed().await.is_err() {
                    return;
                }
                continue;
            }
            None => listener.insert(TcpListener::bind(addr).await.or_panic("the proxy's port")),
        };
        tokio::select! {
            accepted = open.accept() => if let Ok((client, _)) = accepted {
                connections.spawn(connection(client, server, mode.subscribe(), cut.subscribe()));
            },
            Some(_ended) = connections.join_next() => {}
            changed = changes.changed() => if changed.is_err() { return },
        }
    }
}

/// One connection, until both directions have ended or it is cut.
async fn connection(
    mut client: TcpStream,
    server: SocketAddr,
    mode: watch::Receiver<Mode>,
    mut cut: broadcast::Receiver<Cut>,
) {
    let Ok(mut server) = TcpStream::connect(server).await else {
        // As near to "refused" as an accepted connection comes.
        let _closed = client.set_zero_linger();
        return;
    };
    // Held back bytes are the mode's business, not the kernel's.
    let _slower = (client.set_nodelay(true), server.set_nodelay(true));
    let ended = {
        let (from_client, to_client) = client.split();
        let (from_server, to_server) = server.split();
        let up = pump::run(from_client, to_server, mode.clone(), pump::Direction::Up);
        let down = pump::run(from_server, to_client, mode, pump::Direction::Down);
        tokio::select! {
            ended = async { tokio::try_join!(up, down) } => ended.map(drop).map_err(|_| Cut::Reset),
            cut = cut.recv() => Err(cut.unwrap_or(Cut::Close)),
        }
    };
    // An error of one side is a reset for the other.
    if ended == Err(Cut::Reset) {
        let _gone = (client.set_zero_linger(), server.set_zero_linger());
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        time::{Instant, timeout},
    };

    use super::*;

    /// Time in which nothing is to come.
    const SILENCE: Duration = Duration::from_millis(100);

    /// A server that sends back what it gets, behind a proxy, and a connection to it.
    async fn echo() -> (Proxy, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut read, mut write) = stream.split();
                    let _ended = tokio::io::copy(&mut read, &mut write).await;
                });
            }
        });
        let proxy = Proxy::start(server).await;
        let stream = TcpStream::connect(proxy.addr).await.unwrap();
        (proxy, stream)
    }

    async fn round_trip(stream: &mut TcpStream, bytes: usize) -> Duration {
        let start = Instant::now();
        stream.write_all(&vec![7; bytes]).await.unwrap();
        stream.read_exact(&mut vec![0; bytes]).await.unwrap();
        start.elapsed()
    }

    #[tokio::test]
    async fn bytes_pass_late_or_slowly_as_told() {
        let (proxy, mut stream) = echo().await;
        round_trip(&mut stream, 100_000).await;
        let (up, down) = (Duration::from_millis(150), Duration::from_millis(50));
        proxy.set(Mode::Delay { up, down }).await;
        assert!(round_trip(&mut stream, 1).await >= up + down);
        proxy.set(Mode::Throttle(10_000)).await;
        assert!(round_trip(&mut stream, 3_000).await >= Duration::from_millis(250));
        proxy.set(Mode::Pass).await;
        round_trip(&mut stream, 100_000).await;
    }

    #[tokio::test]
    async fn half_open_keeps_connections_and_holds_back_what_they_carry() {
        let (proxy, mut stream) = echo().await;
        round_trip(&mut stream, 1).await;
        proxy.set(Mode::HalfOpen).await;
        let mut second = TcpStream::connect(proxy.addr).await.unwrap();
        for stream in [&mut stream, &mut second] {
            stream.write_all(b"x").await.unwrap();
            assert!(timeout(SILENCE, stream.read_u8()).await.is_err());
        }
        proxy.set(Mode::Pass).await;
        assert_eq!(stream.read_u8().await.unwrap(), b'x');
        assert_eq!(second.read_u8().await.unwrap(), b'x');
    }

    #[tokio::test]
    async fn refusing_is_for_new_connections_and_ends_at_the_same_address() {
        let (proxy, mut stream) = echo().await;
        round_trip(&mut stream, 1).await;
        proxy.set(Mode::Refuse).await;
        assert!(TcpStream::connect(proxy.addr).await.is_err());
        round_trip(&mut stream, 1).await;
        proxy.set(Mode::Pass).await;
        let mut again = TcpStream::connect(proxy.addr).await.unwrap();
        round_trip(&mut again, 1).await;
    }

    #[tokio::test]
    async fn a_cut_is_a_reset_or_an_end() {
        for cut in [Cut::Reset, Cut::Close] {
            let (proxy, mut stream) = echo().await;
            round_trip(&mut stream, 1).await;
            assert_eq!(proxy.cut(cut), 1);
            let read = stream.read(&mut [0]).await;
            match cut {
                Cut::Reset => assert_eq!(
                    read.unwrap_err().kind(),
                    std::io::ErrorKind::ConnectionReset
                ),
                Cut::Close => assert_eq!(read.unwrap(), 0),
            }
        }
    }
}
