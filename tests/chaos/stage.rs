//! What a fault is injected into: the services as processes, under load, between two proxies.

use std::time::Duration;

use tempfile::TempDir;
use tests::{
    OrPanic as _,
    audit::Audit,
    ledger::{Ledger, Reconciliation},
    load::{Load, LoadConfig},
    process::Process,
    proxy::Proxy,
    rabbitmq::{Node, VirtualHost},
    sink::Sink,
    target::Target,
};
use tokio::time::{Instant, sleep};

use crate::fault::{Fault, hostile};

/// The route to the logger, and the one to the sink; each takes every event.
pub const LOGGER: &str = "logger";
pub const SINK: &str = "sink";

/// Longer than the wait for a third attempt, and whatever it takes to work off a backlog.
const SETTLE_DEADLINE: Duration = Duration::from_secs(180);
/// When the wait for recovery is given up; far more than is allowed.
const RECOVERY_DEADLINE: Duration = Duration::from_secs(60);
const CLIENTS: u32 = 32;

/// Everything that takes part in one row of the table.
pub struct Stage<'a> {
    pub node: &'a mut Node,
    pub virtual_host: VirtualHost,
    pub broker: Process,
    pub listener: Process,
    pub logger: Process,
    pub sink: Sink,
    /// Between the services and RabbitMQ, where the fault asks for it.
    pub amqp: Proxy,
    /// Between the listener and the sink.
    pub target: Proxy,
    /// The target of a route beside, where the fault asks for one.
    pub beside: Target,
    pub load: Load,
    ledger: Ledger,
    audit: Audit,
    /// What was seen in the course of it and should not have been.
    pub complaints: Vec<String>,
    injected: usize,
    recoveries: Vec<Duration>,
    _dir: TempDir,
}

/// What is left to be judged when the load has ended and everything has settled.
pub struct End {
    pub injected: usize,
    pub balance: Reconciliation,
    pub ledger: Ledger,
    pub longest_gap: Duration,
    pub recovery: Duration,
    pub complaints: Vec<String>,
}

impl<'a> Stage<'a> {
    /// Starts all parts, and the load once they are ready.
    pub async fn start(node: &'a mut Node, fault: Fault) -> Self {
        let virtual_host = node.virtual_host().await;
        let amqp = Proxy::start(node.addr()).await;
        let amqp_url = if fault.through_proxy() {
            virtual_host.url_through(amqp.addr)
        } else {
            virtual_host.url.clone()
        };
        let sink = Sink::start().await;
        let target = Proxy::start(sink.addr).await;
        let beside = hostile::target().await;
        let dir = tempfile::tempdir().or_panic("a directory");
        let logger = logger(&dir).await;
        let routes = routes(fault, &target, &beside);
        let listener = listener(&dir, &amqp_url, &logger, &routes).await;
        let broker = Process::start("broker-service", dir.path(), &[("AMQP_URL", &amqp_url)]).await;
        for service in [&logger, &listener, &broker] {
            service.ready().await;
        }
        let load = Load::start(&LoadConfig {
            brokers: vec![broker.addr],
            clients: CLIENTS,
            rate: fault.rate(),
        });
        let audit = Audit::new(&virtual_host.management, SINK);
        Self {
            node,
            audit: audit.with_logger(LOGGER, logger.url("")),
            virtual_host,
            broker,
            listener,
            logger,
            sink,
            amqp,
            target,
            beside,
            load,
            ledger: Ledger::new(&[LOGGER, SINK]),
            complaints: Vec::new(),
            injected: 0,
            recoveries: Vec::new(),
            _dir: dir,
        }
    }

    /// Lets the load run.
    pub async fn run(&self, time: Duration) {
        sleep(time).await;
    }

    /// Waits until broker and listener are ready, an event is accepted and one comes to each
    /// destination, all of them after `healed`; notes how long that took, and returns it.
    pub async fn recovered(&mut self, healed: Instant) -> Duration {
        let since = jiff::Timestamp::now();
        let stored = self.logger.url(&format!("/logs?limit=1&since={since}"));
        let client = tests::http::client();
        while !self.is_whole(healed, &client, &stored).await {
            if healed.elapsed() > RECOVERY_DEADLINE {
                self.complain(format!("not whole again within {RECOVERY_DEADLINE:?}"));
                break;
            }
            sleep(Duration::from_millis(20)).await;
        }
        let took = healed.elapsed();
        self.recoveries.push(took);
        took
    }

    async fn is_whole(&self, healed: Instant, client: &reqwest::Client, stored: &str) -> bool {
        let stored = async {
            let answer = client.get(stored).timeout(Duration::from_secs(2)).send();
            let page = answer.await.ok()?.json::<serde_json::Value>().await.ok()?;
            page["events"].as_array().map(|events| !events.is_empty())
        };
        self.load.accepted_since(healed)
            && self.sink.delivered_since(healed)
            && self.broker.is_ready().await
            && self.listener.is_ready().await
            && stored.await == Some(true)
    }

    /// Counts a fault that was injected.
    pub fn injected(&mut self) {
        self.injected += 1;
    }

    /// Notes that something is wrong unless `holds`, and goes on.
    pub fn complain_unless(&mut self, holds: bool, what: &str) {
        if !holds {
            self.complain(what);
        }
    }

    /// Notes that something is wrong, and goes on.
    fn complain(&mut self, what: impl Into<String>) {
        let what = what.into();
        println!("   WRONG: {what}");
        self.complaints.push(what);
    }

    /// Stops the load for a moment and waits until every accepted event has arrived.
    pub async fn drain(&mut self) {
        self.load.pause().await;
        self.ledger.sent(self.load.take());
        let settled = self
            .audit
            .settle(&self.sink, &mut self.ledger, SETTLE_DEADLINE);
        let balance = settled.await;
        if !balance.lost.is_empty() {
            self.complain(format!("{} events not drained", balance.lost.len()));
        }
    }

    /// Ends the load, waits for everything to settle, and strikes the balance.
    pub async fn end(mut self) -> End {
        let Self {
            load,
            mut ledger,
            mut audit,
            ..
        } = self;
        for (name, process) in [
            ("broker", &mut self.broker),
            ("listener", &mut self.listener),
            ("logger", &mut self.logger),
        ] {
            if !process.is_running() {
                self.complaints.push(format!("the {name} ended by itself"));
            }
        }
        ledger.sent(load.stop().await);
        let settled = audit.settle(&self.sink, &mut ledger, SETTLE_DEADLINE);
        let balance = settled.await;
        drop((self.listener, self.broker));
        self.virtual_host.management.delete_virtual_host().await;
        End {
            injected: self.injected,
            balance,
            longest_gap: ledger.longest_gap(SINK),
            ledger,
            recovery: self.recoveries.into_iter().max().unwrap_or_default(),
            complaints: self.complaints,
        }
    }
}

async fn logger(dir: &TempDir) -> Process {
    let database = format!("sqlite:{}", dir.path().join("logger.db").display());
    let environment = [("LOGGER_DATABASE_URL", database.as_str())];
    Process::start("logger-service", dir.path(), &environment).await
}

async fn listener(dir: &TempDir, amqp_url: &str, logger: &Process, routes: &str) -> Process {
    let file = dir.path().join("routes.toml");
    std::fs::write(&file, routes).or_panic("the routes file");
    let (file, logger) = (file.display().to_string(), logger.url(""));
    let environment = [
        ("AMQP_URL", amqp_url),
        ("ROUTES_FILE", &file),
        ("LOGGER_URL", &logger),
    ];
    Process::start("listener-service", dir.path(), &environment).await
}

fn routes(fault: Fault, target: &Proxy, beside: &Target) -> String {
    let (options, more) = (fault.route_options(), fault.more_routes(beside.addr));
    format!(
        "[[route]]\nname = \"{LOGGER}\"\nbindings = [\"#\"]\ntarget = \"${{LOGGER_URL}}/log\"\n\n\
         [[route]]\nname = \"{SINK}\"\nbindings = [\"#\"]\ntarget = \"http://{}/\"\n{options}\n\n{more}",
        target.addr,
    )
}
