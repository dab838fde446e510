//! Private RabbitMQ nodes.
//!
//! All tests of one process share one node and take a virtual host each; a test that stops or
//! starves its node starts one of its own. A node never outlives the tests: it stops when the
//! pipe to its standard input closes, however this process ends.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Stdio,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
    sync::OnceCell,
    time::timeout,
};

use crate::{OrPanic as _, eventually, foreign::Foreign, management::Management};

const START_DEADLINE: Duration = Duration::from_secs(120);
const STOP_DEADLINE: Duration = Duration::from_secs(30);
/// For RabbitMQ to notice that a consumer is gone.
const LEAVE_DEADLINE: Duration = Duration::from_secs(20);
/// Looks at a queue that must find no consumer.
const LEFT_LOOKS: usize = 5;
/// `rabbitmqctl` starts an Erlang machine of its own, which takes its time on a busy one.
const CTL_DEADLINE: Duration = Duration::from_secs(60);

/// A node of RabbitMQ with its data in a directory of its own.
pub struct Node {
    dir: TempDir,
    running: Option<Running>,
    address: String,
    management_url: String,
}

struct Running {
    script: Child,
    /// Process of RabbitMQ itself.
    pid: u32,
}

/// A virtual host of a node, which no other test uses.
pub struct VirtualHost {
    /// Its name.
    pub name: String,
    /// For `AMQP_URL`.
    pub url: String,
    /// RabbitMQ's own view of what is in it.
    pub management: Management,
}

impl VirtualHost {
    /// Its URL by way of a proxy.
    pub fn url_through(&self, proxy: SocketAddr) -> String {
        let (credentials, _addr) = self.url.rsplit_once('@').unwrap_or_default();
        format!("{credentials}@{proxy}/{}", self.name)
    }

    /// How many messages its consumers have left in a queue, which is empty then. Their programs
    /// must be about to end: what is delivered and not acknowledged is back in the queue by then.
    pub async fn left(&self, queue: &str) -> u32 {
        let foreign = Foreign::connect(&self.url).await;
        // One such look may be of a queue that did not answer in time.
        for _ in 0..LEFT_LOOKS {
            eventually("its consumers are gone", LEAVE_DEADLINE, || async {
                (foreign.consumers(queue).await == 0).then_some(())
            })
            .await;
        }
        let left = foreign.purge(queue).await;
        foreign.close().await;
        left
    }

    /// Where its node listens.
    pub fn server(&self) -> SocketAddr {
        let (_credentials, rest) = self.url.rsplit_once('@').unwrap_or_default();
        let (addr, _name) = rest.split_once('/').unwrap_or_default();
        addr.parse().or_panic(rest)
    }
}

impl Node {
    /// Starts a new node.
    pub async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// A node that is never dropped, as nothing is that is static: its directory goes with it.
    async fn start_shared() -> Self {
        Self::start_with(&["--remove"]).await
    }

    async fn start_with(options: &[&str]) -> Self {
        let dir = tempfile::tempdir().or_panic("a directory for RabbitMQ");
        let mut node = Self {
            dir,
            running: None,
            address: String::new(),
            management_url: String::new(),
        };
        node.launch(options).await;
        node
    }

    /// Starts the node again after [`Self::stop`], with the same data at the same ports.
    pub async fn start_again(&mut self) {
        assert!(self.running.is_none(), "the node runs");
        self.launch(&["--same-ports"]).await;
    }

    /// Stops the node in good order, as a restart for maintenance does.
    pub async fn stop(&mut self) {
        let Some(Running { mut script, .. }) = self.running.take() else {
            return;
        };
        drop(script.stdin.take());
        timeout(STOP_DEADLINE, script.wait())
            .await
            .or_panic("RabbitMQ stops in time")
            .or_panic("RabbitMQ stops");
    }

    /// Process id of RabbitMQ.
    pub fn pid(&self) -> u32 {
        match &self.running {
            Some(running) => running.pid,
            None => panic!("the node does not run"),
        }
    }

    /// Makes a virtual host.
    pub async fn virtual_host(&self) -> VirtualHost {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let name = format!("test-{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let management = Management::new(&self.management_url, &name);
        management.create_virtual_host().await;
        VirtualHost {
            url: format!("{}/{name}", self.address),
            management,
            name,
        }
    }

    /// Where the node listens for AMQP.
    pub fn addr(&self) -> SocketAddr {
        let (_credentials, addr) = self.address.rsplit_once('@').unwrap_or_default();
        addr.parse().or_panic(&self.address)
    }

    /// `kill -9`, and waits until the node is gone. [`Self::start_again`] brings it back.
    pub async fn kill(&mut self) {
        let Some(Running { mut script, pid }) = self.running.take() else {
            panic!("the node does not run");
        };
        signal(pid, "KILL");
        timeout(STOP_DEADLINE, script.wait())
            .await
            .or_panic("scripts/rabbitmq-node notices in time")
            .or_panic("scripts/rabbitmq-node ends");
    }

    /// Runs `rabbitmqctl` with `arguments` against the node, to its end.
    pub async fn ctl(&self, arguments: &[&str]) {
        let run = Command::new(scripts().join("rabbitmq-node"))
            .arg("--ctl")
            .arg(self.dir.path())
            .args(arguments)
            .stdin(Stdio::null())
            .output();
        let output = timeout(CTL_DEADLINE, run).await;
        let output = output.or_panic("rabbitmqctl ends").or_panic("rabbitmqctl");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {errors}");
    }

    async fn launch(&mut self, options: &[&str]) {
        let mut script = Command::new(scripts().join("rabbitmq-node"))
            .arg(self.dir.path())
            .args(options)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .or_panic("scripts/rabbitmq-node");
        let Some(stdout) = script.stdout.take() else {
            panic!("standard output is piped above");
        };
        let mut lines = BufReader::new(stdout).lines();
        let line = timeout(START_DEADLINE, lines.next_line())
            .await
            .or_panic("RabbitMQ starts in time")
            .or_panic("RabbitMQ's ready line");
        let Some(line) = line else {
            panic!("RabbitMQ did not start; scripts/rabbitmq-node says why above");
        };
        let words: Vec<_> = line.split(' ').collect();
        let ["ready", url, management, pid] = words.as_slice() else {
            panic!("not a ready line: {line}");
        };
        let Some((address, _default_virtual_host)) = url.rsplit_once('/') else {
            panic!("not an AMQP URL: {url}");
        };
        self.address = address.to_owned();
        self.management_url = (*management).to_owned();
        self.running = Some(Running {
            script,
            pid: pid.parse().or_panic("a process id"),
        });
    }
}

/// Sends a process a signal, such as `STOP`, `CONT` or `KILL`.
pub fn signal(pid: u32, signal: &str) {
    let kill = std::process::Command::new("kill")
        .args(["-s", signal, &pid.to_string()])
        .status()
        .or_panic("kill");
    assert!(kill.success(), "kill -s {signal} {pid}");
}

/// A virtual host on the node that the tests of this process share.
pub async fn virtual_host() -> VirtualHost {
    static SHARED: OnceCell<Node> = OnceCell::const_new();
    SHARED
        .get_or_init(Node::start_shared)
        .await
        .virtual_host()
        .await
}

fn scripts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts")
}
