//! A virtual host with a route's queue, and services on it.

use anyhow::Context as _;
use messaging::topology::route_queue;
use tempfile::TempDir;
use tests::{
    process::Process,
    rabbitmq::{Node, VirtualHost},
};

use crate::{builds::Build, queue::Queue};

/// The route whose queue all contenders publish into.
const ROUTE: &str = "logs";
/// An address where nothing listens.
const NOBODY: &str = "http://127.0.0.1:1";

/// The stage of one scenario.
pub(crate) struct Stage {
    pub(crate) virtual_host: VirtualHost,
    pub(crate) queue: Queue,
    pub(crate) dir: TempDir,
    /// Of other services than those that are shipped.
    build: Option<Build>,
}

impl Stage {
    /// Makes it, with the queue.
    pub(crate) async fn make(node: &Node) -> anyhow::Result<Self> {
        let virtual_host = node.virtual_host().await;
        let dir = tempfile::tempdir().context("a directory")?;
        let queue = Queue::open(&virtual_host.url, route_queue(ROUTE)).await?;
        let stage = Self {
            virtual_host,
            queue,
            dir,
            build: None,
        };
        // The listener declares it.
        let mut listener = stage.listener(NOBODY, "").await?;
        listener.ready().await;
        listener.kill().await;
        Ok(stage)
    }

    /// With the services of another build from now on.
    pub(crate) fn with(mut self, build: Build) -> Self {
        self.build = Some(build);
        self
    }

    /// Starts a listener whose one route leads to `target`, with `options` in the words of the file.
    pub(crate) async fn listener(&self, target: &str, options: &str) -> anyhow::Result<Process> {
        let route = format!(
            "[[route]]\nname = \"{ROUTE}\"\nbindings = [\"log.#\"]\ntarget = \"{target}\"\n{options}\n"
        );
        self.listener_of(&route).await
    }

    /// Starts a listener with a file of `routes`.
    pub(crate) async fn listener_of(&self, routes: &str) -> anyhow::Result<Process> {
        let file = self.dir.path().join("routes.toml");
        std::fs::write(&file, routes).context("the routes file")?;
        let environment = [
            ("AMQP_URL", self.amqp_url()),
            ("ROUTES_FILE", &file.display().to_string()),
            ("LOGGER_URL", NOBODY),
            ("AUTH_URL", NOBODY),
            ("DEAD_LETTERS", "queue"),
        ];
        Ok(self.start("listener-service", &environment).await)
    }

    /// Starts a broker, configured by `environment`, and waits until it is ready.
    pub(crate) async fn broker(&self, environment: &[(&str, &str)]) -> Process {
        let environment = [&[("AMQP_URL", self.amqp_url())], environment].concat();
        let broker = self.start("broker-service", &environment).await;
        broker.ready().await;
        broker
    }

    async fn start(&self, service: &'static str, environment: &[(&str, &str)]) -> Process {
        match &self.build {
            Some(build) => build.start(service, self.dir.path(), environment),
            None => Process::start(service, self.dir.path(), environment).await,
        }
    }

    pub(crate) fn amqp_url(&self) -> &str {
        &self.virtual_host.url
    }

    /// Deletes the virtual host: queues that are left cost RabbitMQ for as long as it runs.
    pub(crate) async fn strike(self) {
        self.virtual_host.management.delete_virtual_host().await;
    }

    /// Empties the queue, and checks that it held as many events as were accepted.
    pub(crate) async fn check_held(&self, accepted: u64) -> anyhow::Result<()> {
        let held = self.queue.purge().await?;
        anyhow::ensure!(
            held == accepted,
            "{accepted} events were accepted, and the queue held {held}"
        );
        Ok(())
    }
}
