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
/// RabbitMQ is at rest when it took less than this share of one core, so many looks in a row: it may
/// pause in the midst of its work.
const REST_SHARE: f64 = 0.1;
const REST_LOOKS: usize = 3;
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
    /// How long a run is measured, `default` unless given.
    pub(crate) fn length(self, default: u16) -> Duration {
        Duration::from_secs(self.seconds.unwrap_or(default).into())
    }

    /// How long a run warms up before that.
    pub(crate) fn warm_up(self, default: u16) -> Duration {
        WARM_UP.min(self.length(default))
    }
}

/// The load was more than a contender can handle on this machine.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Overload(pub(crate) String);

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
        let versions = Versions::read(load, &node, &peers).await?;
        Ok(Self {
            node,
            plan,
            peers,
            progress,
            versions,
        })
    }

    /// Measures every contender once a round, after RabbitMQ has come to rest. A run that fails does
    /// not count.
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
            for (contender, what) in turns(contenders, round) {
                let message = format!("{scenario}, round {} of {rounds}: {contender}", round + 1);
                self.progress.set_message(message);
                let measured = async {
                    self.rest().await?;
                    measure(&what).await
                };
                // A panic of the harness is the failure of one run; what it was is on stderr.
                let measured = AssertUnwindSafe(measured).catch_unwind();
                match measured.await.unwrap_or_else(|_| Err(anyhow!("a panic"))) {
                    Ok(figures) => report.samples.push(Sample {
                        round,
                        contender,
                        figures,
                    }),
                    Err(error) => report.complain(
                        format!("{contender}, round {}: {error:#}", round + 1),
                        error.is::<Overload>(),
                    ),
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
        let (mut quiet, mut share) = (0, 0.0);
        for _ in 0..REST_LOOKS_MAX {
            let begun = Instant::now();
            let before = meter.read()?;
            sleep(REST_LOOK).await;
            let spent: Duration = meter.since(&before)?.iter().map(|(_, time)| *time).sum();
            share = spent.div_duration_f64(begun.elapsed());
            quiet = if share < REST_SHARE { quiet + 1 } else { 0 };
            if quiet == REST_LOOKS {
                return Ok(());
            }
        }
        bail!("RabbitMQ has not come to rest: it takes {share:.2} of a core")
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

    /// Notes a run without figures: an overload is what it found, anything else a fault of the run.
    fn complain(&mut self, complaint: String, is_overload: bool) {
        self.is_valid &= is_overload;
        let kind = if is_overload { "" } else { "INVALID: " };
        self.complaints.push(format!("{kind}{complaint}"));
    }
}

/// The contenders in the order of a round. Every other round goes backwards, and each such pair
/// begins with the next contender: in the end each was about as often before another as after it.
fn turns<T: Clone>(contenders: &[T], round: usize) -> Vec<T> {
    let mut turns = contenders.to_vec();
    turns.rotate_left(round / 2 % contenders.len());
    if round % 2 == 1 {
        turns.reverse();
    }
    turns
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

#[cfg(test)]
mod checks {
    use super::{Report, turns};

    #[test]
    fn an_overload_is_told_and_invalidates_nothing() {
        let mut report = Report::new("end-to-end", String::new(), Vec::new());
        report.complain("not kept up with".to_owned(), true);
        assert!(report.is_valid);
        report.complain("a panic".to_owned(), false);
        report.complain("not kept up with".to_owned(), true);
        assert!(!report.is_valid);
        assert_eq!(
            report.complaints,
            ["not kept up with", "INVALID: a panic", "not kept up with"]
        );
    }

    #[test]
    fn each_is_as_often_before_another_as_after_it() {
        for contenders in [2, 4, 6] {
            let all: Vec<_> = (0..contenders).collect();
            let rounds: Vec<_> = (0..2 * contenders)
                .map(|round| turns(&all, round))
                .collect();
            for one in 0..contenders {
                let firsts = rounds.iter().filter(|turns| turns[0] == one).count();
                assert_eq!(firsts, 2, "of {contenders}: {rounds:?}");
                for other in (0..contenders).filter(|other| *other != one) {
                    let place = |turns: &[usize], of| turns.iter().position(|turn| *turn == of);
                    let before = rounds
                        .iter()
                        .filter(|turns| place(turns, one) < place(turns, other));
                    assert_eq!(before.count(), contenders, "of {contenders}: {rounds:?}");
                }
            }
        }
        // Already in the first two.
        assert_eq!(turns(&["a", "b"], 0), ["a", "b"]);
        assert_eq!(turns(&["a", "b"], 1), ["b", "a"]);
    }
}
