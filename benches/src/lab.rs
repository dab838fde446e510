//! What all scenarios share: one RabbitMQ, how long and how often is measured, and the progress.

use std::{borrow::Cow, panic::AssertUnwindSafe, time::Duration};

use anyhow::{anyhow, bail};
use futures_util::FutureExt as _;
use indicatif::{ProgressBar, ProgressStyle};
use tests::rabbitmq::Node;
use tokio::time::{Instant, sleep};

use crate::{
    peer::Peer,
    report::{Figure, Ratio, Report, Sample},
    usage::Meter,
    versions::{self, Versions},
};

/// Before what is measured.
const WARM_UP: Duration = Duration::from_secs(2);
/// RabbitMQ is at rest when it took less than this share of one core in such a time.
const REST_SHARE: f64 = 0.1;
const REST_LOOK: Duration = Duration::from_secs(1);
const REST_LOOKS_MAX: usize = 60;

/// How long and how often is measured.
#[derive(clap::Args, Clone, Copy, Debug)]
pub(crate) struct Plan {
    /// Rounds, in each of which every contender has its turn
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) rounds: u16,

    /// Seconds that each run is measured [default: 8; of end-to-end 60]
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) seconds: Option<u16>,
}

impl Plan {
    /// How long a run is measured that takes `default` where nothing is said.
    pub(crate) fn length(self, default: u16) -> Duration {
        Duration::from_secs(self.seconds.unwrap_or(default).into())
    }

    /// How long a run warms up before that.
    pub(crate) fn warm_up(self, default: u16) -> Duration {
        WARM_UP.min(self.length(default))
    }
}

/// Where everything is measured.
pub(crate) struct Lab {
    pub(crate) node: Node,
    pub(crate) plan: Plan,
    pub(crate) peers: Vec<Peer>,
    pub(crate) progress: ProgressBar,
    pub(crate) versions: Versions,
}

impl Lab {
    pub(crate) async fn open(plan: Plan, peers: Vec<Peer>) -> anyhow::Result<Self> {
        let (progress, load) = (progress(), versions::load());
        progress.set_message("RabbitMQ starts");
        let node = Node::start().await;
        let versions = Versions::read(load, &node, &peers, plan).await?;
        Ok(Self {
            node,
            plan,
            peers,
            progress,
            versions,
        })
    }

    /// Measures every contender once a round, after RabbitMQ has come to rest. The first of a round is
    /// the second of the next one, and every other round goes backwards, so that none always has the
    /// same one before it. A run that fails does not count.
    pub(crate) async fn rounds<T: Clone>(
        &self,
        mut report: Report,
        contenders: &[(Cow<'static, str>, T)],
        measure: impl AsyncFn(&T) -> anyhow::Result<Vec<Figure>>,
    ) -> anyhow::Result<Report> {
        let scenario = report.scenario;
        report.contenders = contenders.iter().map(|(name, _)| name.clone()).collect();
        let rounds = usize::from(self.plan.rounds);
        self.progress.inc_length((rounds * contenders.len()) as u64);
        for round in 0..rounds {
            let mut turns = contenders.to_vec();
            turns.rotate_right(round % contenders.len());
            if round % 2 == 1 {
                turns.reverse();
            }
            for (contender, what) in turns {
                let message = format!("{scenario}, round {} of {rounds}: {contender}", round + 1);
                self.progress.set_message(message);
                self.rest().await?;
                // A panic of the harness is the failure of one run; what it was is on stderr.
                let measured = AssertUnwindSafe(measure(&what)).catch_unwind();
                match measured.await.unwrap_or_else(|_| Err(anyhow!("a panic"))) {
                    Ok(figures) => report.samples.push(Sample {
                        round,
                        contender,
                        figures,
                    }),
                    Err(error) => {
                        report.fail(format!("{contender}, round {}: {error:#}", round + 1))
                    }
                }
                self.progress.inc(1);
            }
        }
        Ok(report)
    }

    /// Waits until RabbitMQ has put away what the run before left it: the files of a queue that was
    /// full cost it seconds, which the next contender would pay for.
    pub(crate) async fn rest(&self) -> anyhow::Result<()> {
        let meter = Meter::new([("RabbitMQ", self.node.pid())]);
        for _ in 0..REST_LOOKS_MAX {
            let begun = Instant::now();
            let before = meter.read()?;
            sleep(REST_LOOK).await;
            let spent: Duration = meter.since(&before)?.iter().map(|(_, time)| *time).sum();
            if spent < begun.elapsed().mul_f64(REST_SHARE) {
                return Ok(());
            }
        }
        bail!("RabbitMQ has not come to rest")
    }
}

impl Report {
    /// Without any result yet.
    pub(crate) fn new(scenario: &'static str, text: String, ratios: Vec<Ratio>) -> Self {
        Self {
            scenario,
            text,
            contenders: Vec::new(),
            samples: Vec::new(),
            ratios,
            complaints: Vec::new(),
            is_valid: true,
        }
    }

    /// Notes that a run is not what it should be.
    fn fail(&mut self, complaint: String) {
        self.complaints.push(format!("INVALID: {complaint}"));
        self.is_valid = false;
    }
}

/// On stderr, and only where that is a terminal.
fn progress() -> ProgressBar {
    let progress = ProgressBar::new(0);
    let template = "{elapsed_precise} [{bar:30}] {pos}/{len} {msg}";
    if let Ok(style) = ProgressStyle::with_template(template) {
        progress.set_style(style);
    }
    progress.enable_steady_tick(Duration::from_secs(1));
    progress
}
