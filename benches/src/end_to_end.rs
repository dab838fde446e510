//! From a client to the disk of the logger, at rates of the client's own and at the logger's.

use std::{sync::Arc, time::Duration};

use anyhow::{Context as _, bail, ensure};
use tempfile::TempDir;
use tests::{http, process::Process, rabbitmq::VirtualHost};
use tokio::{
    sync::Semaphore,
    time::{Instant, sleep, sleep_until},
};

use crate::{
    event,
    generator::{Load, Pace},
    lab::{Lab, Overload},
    publish::megabytes,
    report::{Figure, Report},
    sampler,
    tally::{Latency, Outcome},
    usage::{Meter, Window, peak_memory},
};

const SECONDS: u16 = 60;
/// More than are ever busy: a request that waits for a connection is late as any other.
const CONNECTIONS: usize = 256;
/// Events that are on their way where the logger sets the pace.
const ON_THEIR_WAY: u64 = 1_000;
/// For what is still under way after the last request.
const DRAIN_DEADLINE: Duration = Duration::from_secs(60);
/// Between two questions how many are stored.
const PAUSE: Duration = Duration::from_millis(20);
/// Between two looks at what is stored.
const LOOK: Duration = Duration::from_secs(1);
/// Where what is behind grows by more than this share of the rate, it is a backlog. Of a run of a
/// minute a stall of up to two seconds at its very end looks like less.
const GROWTH_MAX: f64 = 0.005;
/// Of fewer looks nothing can be told.
const LOOKS_MIN: usize = 30;
/// What the logger counts an event under once it is committed.
const STORED: &str = r#"logger_events_total{outcome="new"}"#;

/// How fast events come.
#[derive(Clone, Copy)]
enum Rate {
    /// So many a second, whatever becomes of them.
    PerSecond(u32),
    /// One for each that is stored.
    AsStored,
}

pub(crate) async fn measure(lab: &Lab) -> anyhow::Result<Report> {
    let text = format!(
        "Events of {} bytes of data for {} s, after {} s that do not count, by `POST /handle`, through \
         RabbitMQ and the listener into the logger's SQLite database (`synchronous=FULL`, many events a commit); \
         all services with their default configuration. At a fixed rate latencies count from when a request was due. That to the \
         store is of {} events a second more, which are asked for at the logger until they are there, so after their \
         commit. Behind are the events that were due and not stored, beside those on their way at the start. As fast as they are \
         stored is the most that is kept up with: {ON_THEIR_WAY} events are on their way, and a new one follows each that is stored. \
         In the end the logger had stored every event that was accepted.",
        event::BYTES,
        lab.plan.length(SECONDS).as_secs(),
        lab.plan.warm_up(SECONDS).as_secs(),
        sampler::PER_SECOND,
    );
    let rates = [
        ("1000 events/s".into(), Rate::PerSecond(1_000)),
        ("5000 events/s".into(), Rate::PerSecond(5_000)),
        ("as fast as stored".into(), Rate::AsStored),
    ];
    let report = Report::new("end-to-end", text, Vec::new());
    lab.rounds(report, &rates, async |rate| {
        Chain::start(lab).await?.measure(lab, *rate).await
    })
    .await
}

/// All that an event passes.
struct Chain {
    virtual_host: VirtualHost,
    broker: Process,
    listener: Process,
    logger: Process,
    _dir: TempDir,
}

impl Chain {
    async fn start(lab: &Lab) -> anyhow::Result<Self> {
        let virtual_host = lab.node.virtual_host().await;
        let amqp = ("AMQP_URL", virtual_host.url.as_str());
        let dir = tempfile::tempdir().context("a directory")?;
        let logger = Process::start("logger-service", dir.path(), &[]).await;
        let url = logger.url("");
        let environment = [amqp, ("LOGGER_URL", url.as_str())];
        let listener = Process::start("listener-service", dir.path(), &environment).await;
        let broker = Process::start("broker-service", dir.path(), &[amqp]).await;
        for service in [&logger, &listener, &broker] {
            service.ready().await;
        }
        Ok(Self {
            virtual_host,
            broker,
            listener,
            logger,
            _dir: dir,
        })
    }

    async fn measure(mut self, lab: &Lab, rate: Rate) -> anyhow::Result<Vec<Figure>> {
        let figures = self.figures(lab, rate).await;
        for process in [&mut self.broker, &mut self.listener, &mut self.logger] {
            process.kill().await;
        }
        // With all that an overload left in its queue.
        self.virtual_host.management.delete_virtual_host().await;
        figures
    }

    async fn figures(&self, lab: &Lab, rate: Rate) -> anyhow::Result<Vec<Figure>> {
        let mut figures = match rate {
            Rate::PerSecond(rate) => self.at(rate, lab).await?,
            Rate::AsStored => self.as_stored(lab).await?,
        };
        for (name, process) in [
            ("broker", &self.broker),
            ("listener", &self.listener),
            ("logger", &self.logger),
        ] {
            let name = format!("{name} peak memory, MB");
            figures.push((name.into(), megabytes(peak_memory(process.pid())?)));
        }
        Ok(figures)
    }

    /// An open loop, which goes on whatever the chain does.
    async fn at(&self, rate: u32, lab: &Lab) -> anyhow::Result<Vec<Figure>> {
        let load = self.load(lab, Pace::Open { per_second: rate });
        let window = Window::after(load.warm_up, load.length);
        // An overload fails the other two in ways that do not tell what it is.
        let (outcome, sampled, behind) = tokio::join!(
            load.run(self.meter(lab)),
            sampler::run(&self.broker, &self.logger, window),
            self.behind(window, rate + sampler::PER_SECOND),
        );
        let behind = behind?;
        behind.kept_up(rate)?;
        let (outcome, sampled) = (outcome?, sampled?);
        let drained = self.drained(&outcome, sampled.accepted).await?;
        let stored = Latency::of_all(&sampled.latencies);
        let mut figures = figures(&outcome, behind.stored_per_second);
        figures.extend([
            ("to the store: p50, ms".into(), stored.p50),
            ("to the store: p99, ms".into(), stored.p99),
            ("most events behind".into(), behind.most()),
            ("growth of these, events/s".into(), behind.growth()),
            ("all stored after, s".into(), drained.as_secs_f64()),
        ]);
        figures.extend(outcome.cpu_figures());
        Ok(figures)
    }

    /// A closed loop around the whole chain.
    async fn as_stored(&self, lab: &Lab) -> anyhow::Result<Vec<Figure>> {
        let permits = Arc::new(Semaphore::new(0));
        let load = self.load(lab, Pace::Permits(permits.clone()));
        let window = Window::after(load.warm_up, load.length);
        let (outcome, stored_per_second) =
            tokio::join!(load.run(self.meter(lab)), self.release(&permits, window),);
        let outcome = outcome?;
        let drained = self.drained(&outcome, 0).await?;
        let mut figures = figures(&outcome, stored_per_second);
        figures.push(("all stored after, s".into(), drained.as_secs_f64()));
        figures.extend(outcome.cpu_figures());
        Ok(figures)
    }

    fn load(&self, lab: &Lab, pace: Pace) -> Load {
        Load {
            addr: self.broker.addr,
            connections: CONNECTIONS,
            pace,
            body: event::request(event::BYTES),
            warm_up: lab.plan.warm_up(SECONDS),
            length: lab.plan.length(SECONDS),
        }
    }

    fn meter(&self, lab: &Lab) -> Meter {
        Meter::new([
            ("broker", self.broker.pid()),
            ("listener", self.listener.pid()),
            ("logger", self.logger.pid()),
            ("RabbitMQ", lab.node.pid()),
            ("generator", std::process::id()),
        ])
    }

    /// Permits one request more for each event that is stored, until the end of the window. Returns
    /// how many were stored in it, a second.
    async fn release(&self, permits: &Semaphore, window: Window) -> f64 {
        let mut permitted = 0;
        let mut before = None;
        loop {
            let stored = self.stored().await;
            let now = Instant::now();
            if now >= window.start {
                before.get_or_insert((stored, now));
            }
            if now >= window.end {
                permits.close();
                let (stored_before, begun) = before.unwrap_or((stored, window.start));
                return (stored - stored_before) as f64 / (now - begun).as_secs_f64();
            }
            permits.add_permits((stored + ON_THEIR_WAY - permitted) as usize);
            permitted = stored + ON_THEIR_WAY;
            sleep(PAUSE).await;
        }
    }

    /// Looks every second by how many events the logger is behind what was due, until the end of the
    /// window: all that are on their way count, wherever they are.
    async fn behind(&self, window: Window, per_second: u32) -> anyhow::Result<Behind> {
        let mut behind = Behind::default();
        sleep_until(window.start).await;
        let before = self.stored().await;
        let begun = Instant::now();
        let mut stored = 0.0;
        while Instant::now() < window.end {
            sleep_until(window.end.min(Instant::now() + LOOK)).await;
            let due = begun.elapsed().as_secs_f64() * f64::from(per_second);
            stored = (self.stored().await - before) as f64;
            behind.looks.push(due - stored);
        }
        behind.stored_per_second = stored / begun.elapsed().as_secs_f64();
        Ok(behind)
    }

    /// Waits until the logger has stored all events that were accepted, `more` of them beside the
    /// load, and returns how long that took.
    async fn drained(&self, outcome: &Outcome, more: u64) -> anyhow::Result<Duration> {
        if let Some(refusal) = &outcome.refusal {
            bail!(
                "{} requests were not accepted, the first one: {refusal}",
                outcome.refused
            );
        }
        let accepted = outcome.accepted + more;
        let begun = Instant::now();
        loop {
            let stored = self.stored().await;
            if stored == accepted {
                return Ok(begun.elapsed());
            }
            ensure!(
                stored < accepted && begun.elapsed() < DRAIN_DEADLINE,
                "{accepted} events were accepted, and {stored} are stored"
            );
            sleep(PAUSE).await;
        }
    }

    /// Events that the logger has stored, each counted once, after its commit.
    async fn stored(&self) -> u64 {
        let stored = http::metric(&self.logger.url("/metrics"), STORED).await;
        stored.unwrap_or_default() as u64
    }
}

/// What every run has, in its order.
fn figures(outcome: &Outcome, stored_per_second: f64) -> Vec<Figure> {
    let accepted_per_second = outcome.events as f64 / outcome.seconds;
    vec![
        ("accepted, events/s".into(), accepted_per_second),
        ("stored, events/s".into(), stored_per_second),
        ("to the 202: p50, ms".into(), outcome.latency.p50),
        ("to the 202: p99, ms".into(), outcome.latency.p99),
    ]
}

/// Events that are due and not stored, and those that are stored meanwhile.
#[derive(Default)]
struct Behind {
    /// One each [`LOOK`], beside what was behind at the start.
    looks: Vec<f64>,
    stored_per_second: f64,
}

impl Behind {
    fn most(&self) -> f64 {
        self.looks.iter().copied().fold(0.0, f64::max)
    }

    /// Fails where they are a backlog that grows.
    fn kept_up(&self, rate: u32) -> Result<(), Overload> {
        let growth = self.growth();
        if self.looks.len() < LOOKS_MIN || growth <= f64::from(rate) * GROWTH_MAX {
            return Ok(());
        }
        Err(Overload(format!(
            "not kept up with: {:.0} a second were stored, and each second left {growth:.0} more behind",
            self.stored_per_second
        )))
    }

    /// Events a second by which there are more of them, from the first third of the run to its last.
    fn growth(&self) -> f64 {
        let third = self.looks.len().div_ceil(3);
        let mean = |looks: &[f64]| looks.iter().sum::<f64>() / looks.len().max(1) as f64;
        let (_, last) = self.looks.split_at(self.looks.len() - third);
        let between = (self.looks.len() - third).max(1) as f64 * LOOK.as_secs_f64();
        (mean(last) - mean(&self.looks[..third])) / between
    }
}

#[cfg(test)]
mod checks {
    use super::Behind;

    fn behind(looks: impl IntoIterator<Item = f64>) -> Behind {
        Behind {
            looks: looks.into_iter().collect(),
            stored_per_second: 0.0,
        }
    }

    fn growing(looks: u32, per_look: f64) -> Behind {
        behind((0..looks).map(|look| f64::from(look) * per_look))
    }

    #[test]
    fn more_are_behind_where_the_end_is_worse_than_the_beginning() {
        assert_eq!(growing(60, 83.0).growth(), 83.0);
        let both_ways = (0..60).map(|look| f64::from(look % 2));
        assert_eq!(behind(both_ways).growth(), 0.0);
        assert_eq!(behind([0.0, 6.0]).growth(), 6.0);
        assert_eq!(behind([7.0]).growth(), 0.0);
        assert_eq!(behind([]).growth(), 0.0);
    }

    #[test]
    fn a_backlog_that_grows_is_an_overload() {
        assert!(growing(60, 26.0).kept_up(5_000).is_err());
        assert!(growing(60, 24.0).kept_up(5_000).is_ok());
        // Too short to tell.
        assert!(growing(29, 26.0).kept_up(5_000).is_ok());
    }
}
