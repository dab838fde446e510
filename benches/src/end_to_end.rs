//! From a client to the disk of the logger, at a rate of the client's own.

use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use tempfile::TempDir;
use tests::{http, process::Process, rabbitmq::VirtualHost};
use tokio::time::{Instant, sleep, sleep_until};

use crate::{
    event,
    generator::{Load, Pace},
    lab::Lab,
    publish::megabytes,
    report::{Figure, Report},
    sampler,
    tally::Latency,
    usage::{Meter, Window, peak_memory},
};

const SECONDS: u16 = 60;
/// More than are ever busy: a request that waits for a connection is late as any other.
const CONNECTIONS: usize = 256;
/// Events a second.
const RATES: [u32; 2] = [1_000, 5_000];
/// For what is still under way after the last request.
const DRAIN_DEADLINE: Duration = Duration::from_secs(60);
/// Between two questions whether all are stored.
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

pub(crate) async fn measure(lab: &Lab) -> anyhow::Result<Report> {
    let text = format!(
        "Events of {} bytes of data at a fixed rate for {} s, after {} s that do not count, by `POST /handle`, through \
         RabbitMQ and the listener into the logger's SQLite database (`synchronous=FULL`, many events a commit); \
         all services with their default configuration. Latencies count from when a request was due. That to the \
         store is of {} events a second more, which are asked for at the logger until they are there, so after their \
         commit. Behind are the events that were due and not stored, beside those on their way at the start. In the end the logger had stored every event that was accepted.",
        event::BYTES,
        lab.plan.length(SECONDS).as_secs(),
        lab.plan.warm_up(SECONDS).as_secs(),
        sampler::PER_SECOND,
    );
    let rates = RATES.map(|rate| (format!("{rate} events/s").into(), rate));
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

    async fn measure(mut self, lab: &Lab, rate: u32) -> anyhow::Result<Vec<Figure>> {
        let (warm_up, length) = (lab.plan.warm_up(SECONDS), lab.plan.length(SECONDS));
        let load = Load {
            addr: self.broker.addr,
            connections: CONNECTIONS,
            pace: Pace::Open { per_second: rate },
            body: event::request(event::BYTES),
            warm_up,
            length,
        };
        let meter = Meter::new([
            ("broker", self.broker.pid()),
            ("listener", self.listener.pid()),
            ("logger", self.logger.pid()),
            ("RabbitMQ", lab.node.pid()),
            ("generator", std::process::id()),
        ]);
        let window = Window::after(warm_up, length);
        let (outcome, sampled, behind) = tokio::try_join!(
            load.run(meter),
            sampler::run(&self.broker, &self.logger, window),
            self.behind(window, rate + sampler::PER_SECOND),
        )?;
        if let Some(refusal) = &outcome.refusal {
            bail!(
                "{} requests were not accepted, the first one: {refusal}",
                outcome.refused
            );
        }
        let accepted = outcome.accepted + sampled.accepted;
        let drained = self.drained(accepted).await?;
        let growth = behind.growth();
        ensure!(
            behind.looks.len() < LOOKS_MIN || growth <= f64::from(rate) * GROWTH_MAX,
            "{growth:.1} events more were behind with each second"
        );
        let stored = Latency::of_all(&sampled.latencies);
        let mut figures: Vec<Figure> = vec![
            (
                "accepted, events/s".into(),
                outcome.events as f64 / outcome.seconds,
            ),
            ("stored, events/s".into(), behind.stored_per_second),
            ("to the 202: p50, ms".into(), outcome.latency.p50),
            ("to the 202: p99, ms".into(), outcome.latency.p99),
            ("to the store: p50, ms".into(), stored.p50),
            ("to the store: p99, ms".into(), stored.p99),
            ("most events behind".into(), behind.most()),
            ("growth of these, events/s".into(), growth),
            ("all stored after, s".into(), drained.as_secs_f64()),
        ];
        figures.extend(outcome.cpu_figures());
        for (name, process) in [
            ("broker", &self.broker),
            ("listener", &self.listener),
            ("logger", &self.logger),
        ] {
            let name = format!("{name} peak memory, MB");
            figures.push((name.into(), megabytes(peak_memory(process.pid())?)));
        }
        for process in [&mut self.broker, &mut self.listener, &mut self.logger] {
            process.kill().await;
        }
        self.virtual_host.management.delete_virtual_host().await;
        Ok(figures)
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

    /// Waits until the logger has stored so many events, and returns how long that took.
    async fn drained(&self, accepted: u64) -> anyhow::Result<Duration> {
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

    fn growth(looks: impl IntoIterator<Item = f64>) -> f64 {
        Behind {
            looks: looks.into_iter().collect(),
            stored_per_second: 0.0,
        }
        .growth()
    }

    #[test]
    fn more_are_behind_where_the_end_is_worse_than_the_beginning() {
        assert_eq!(growth((0..60).map(|second| f64::from(second) * 83.0)), 83.0);
        assert_eq!(growth((0..60).map(|second| f64::from(second % 2))), 0.0);
        assert_eq!(growth([0.0, 6.0]), 6.0);
        assert_eq!(growth([7.0]), 0.0);
        assert_eq!(growth([]), 0.0);
    }
}
