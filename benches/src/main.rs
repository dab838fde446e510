//! `make bench`: what the gateway costs, compared with peers and with RabbitMQ alone.
//!
//! Real processes and a private RabbitMQ. Prints a table for each scenario, writes it into a
//! document on request, and exits with 1 if a run was invalid.

#![expect(
    clippy::print_stdout,
    reason = "it is a program that reports to a terminal"
)]

mod builds;
mod ceiling;
mod chart;
mod curves;
mod document;
mod end_to_end;
mod event;
mod figures;
mod forward;
mod generator;
mod lab;
mod null_target;
mod peer;
mod publish;
mod queue;
mod report;
mod sampler;
mod stage;
mod start;
mod tally;
mod usage;
mod versions;

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use serde::Serialize;
use serde_json::json;

use crate::{
    ceiling::Ceiling,
    curves::Curve,
    lab::{Lab, Plan},
    peer::Peer,
    report::Report,
};

/// Measures the gateway, its peers and the ceiling, each several times in turn
#[derive(Parser)]
#[command(args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(flatten)]
    plan: Plan,

    /// Print JSON with the figures of each round instead of tables
    #[arg(long)]
    json: bool,

    /// Document whose tables of these scenarios are replaced
    #[arg(long)]
    write: Option<PathBuf>,

    /// What to measure [default: everything but builds]
    scenarios: Vec<Scenario>,

    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// What this program does as a separate process
    #[command(hide = true)]
    Ceiling(Ceiling),
}

#[derive(clap::ValueEnum, Clone, Copy, Debug)]
enum Scenario {
    /// Requests into a queue: the ceiling without HTTP, the broker, and its peers
    Publish,
    /// Events out of a queue, to a target that costs nothing
    Forward,
    /// Requests at a fixed rate, through everything into the logger's database
    EndToEnd,
    /// From the start of each service to its readiness
    Start,
    /// The broker and the listener as they are built by BENCH_BUILDS, which scripts/bench makes
    Builds,
    /// How the cost grows with sizes, connections, routes and a backlog: pictures, of one run each
    Curves,
}

/// The folder of pictures beside a document.
const PICTURES: &str = "performance";

/// Without being told which.
const ALL: [Scenario; 5] = [
    Scenario::Publish,
    Scenario::Forward,
    Scenario::EndToEnd,
    Scenario::Start,
    Scenario::Curves,
];

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    let cli = Cli::parse();
    if let Some(Command::Ceiling(ceiling)) = cli.command {
        let amqp_url = std::env::var("AMQP_URL").context("AMQP_URL")?;
        let outcome = ceiling.run(&amqp_url).await?;
        let peak = usage::peak_memory(std::process::id())?;
        println!("{}", json!([outcome, peak]));
        return Ok(ExitCode::SUCCESS);
    }
    tokio::select! {
        code = run(&cli) => code,
        // Everything that was started ends as it is dropped.
        _asked = tokio::signal::ctrl_c() => Ok(ExitCode::from(130)),
    }
}

async fn run(cli: &Cli) -> anyhow::Result<ExitCode> {
    let mut lab = Lab::open(cli.plan, Peer::all()?).await?;
    let scenarios = if cli.scenarios.is_empty() {
        &ALL[..]
    } else {
        &cli.scenarios
    };
    let mut is_valid = true;
    for scenario in scenarios {
        let found = scenario.measure(&lab).await?;
        is_valid &= found.is_valid();
        let versions = lab.versions.of(*scenario, found.scenario(), lab.plan);
        lab.progress.suspend(|| show(cli, &found, &versions));
        if let Some(path) = cli.write.as_ref().filter(|_| found.is_valid()) {
            found.draw(path)?;
            let text = format!("{}\n{versions}\n", found.markdown(Some(PICTURES)));
            document::write(path, found.scenario(), &text)?;
        }
    }
    lab.progress.finish_and_clear();
    lab.node.stop().await;
    Ok(if is_valid {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn show(cli: &Cli, found: &Found, versions: &versions::Footnote) {
    if cli.json {
        println!("{}", json!({"report": found, "versions": versions}));
    } else {
        let text = found.markdown(None);
        println!("## {}\n\n{text}\n{versions}\n", found.scenario());
    }
}

/// What a scenario found.
#[derive(Serialize)]
#[serde(untagged)]
enum Found {
    Report(Report),
    Curves(Vec<Curve>),
}

impl Found {
    fn scenario(&self) -> &'static str {
        match self {
            Self::Report(report) => report.scenario,
            Self::Curves(_) => "curves",
        }
    }

    fn is_valid(&self) -> bool {
        match self {
            Self::Report(report) => report.is_valid,
            Self::Curves(_) => true,
        }
    }

    fn markdown(&self, pictures: Option<&str>) -> String {
        match self {
            Self::Report(report) => report.markdown(),
            Self::Curves(curves) => {
                let curves: Vec<_> = curves
                    .iter()
                    .map(|curve| curve.markdown(pictures))
                    .collect();
                curves.join("\n")
            }
        }
    }

    /// Draws what there is to draw beside the document.
    fn draw(&self, document: &Path) -> anyhow::Result<()> {
        let Self::Curves(curves) = self else {
            return Ok(());
        };
        let folder = document.with_file_name(PICTURES);
        curves.iter().try_for_each(|curve| curve.draw(&folder))
    }
}

impl Scenario {
    async fn measure(self, lab: &Lab) -> anyhow::Result<Found> {
        Ok(Found::Report(match self {
            Self::Publish => publish::measure(lab).await?,
            Self::Forward => forward::measure(lab).await?,
            Self::EndToEnd => end_to_end::measure(lab).await?,
            Self::Start => start::measure(lab).await?,
            Self::Builds => builds::measure(lab).await?,
            Self::Curves => return Ok(Found::Curves(curves::measure(lab).await?)),
        }))
    }
}
