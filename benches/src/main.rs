//! `make bench`: what the suite costs, beside what others cost and what RabbitMQ itself takes.
//!
//! Real processes and a RabbitMQ of its own. Prints a table for each scenario, writes it into a
//! document where told to, and exits with 1 when a run was not what it should be.

#![expect(
    clippy::print_stdout,
    reason = "it is a program that reports to a terminal"
)]

mod ceiling;
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

use std::{path::PathBuf, process::ExitCode};

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use serde_json::json;

use crate::{
    ceiling::Ceiling,
    lab::{Lab, Plan},
    peer::Peer,
    report::Report,
    versions::Versions,
};

/// Measures the suite, its peers and the ceiling, each several times in turn
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

    /// What to measure [default: everything]
    scenarios: Vec<Scenario>,

    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// What this program does as a process of its own
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
}

const ALL: [Scenario; 4] = [
    Scenario::Publish,
    Scenario::Forward,
    Scenario::EndToEnd,
    Scenario::Start,
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
    let mut lab = Lab::open(cli.plan, Peer::all()?).await;
    let scenarios = if cli.scenarios.is_empty() {
        &ALL[..]
    } else {
        &cli.scenarios
    };
    let mut is_valid = true;
    for scenario in scenarios {
        let report = scenario.measure(&lab).await?;
        is_valid &= report.is_valid;
        let versions = Versions::read(&lab, report.scenario).await?;
        lab.progress.suspend(|| show(cli, &report, &versions));
        if let Some(path) = cli.write.as_ref().filter(|_| report.is_valid) {
            let text = format!("{}\n{versions}\n", report.markdown());
            document::write(path, report.scenario, &text)?;
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

fn show(cli: &Cli, report: &Report, versions: &Versions) {
    if cli.json {
        println!("{}", json!({"report": report, "versions": versions}));
    } else {
        println!(
            "## {}\n\n{}\n{versions}\n",
            report.scenario,
            report.markdown()
        );
    }
}

impl Scenario {
    async fn measure(self, lab: &Lab) -> anyhow::Result<Report> {
        match self {
            Self::Publish => publish::measure(lab).await,
            Self::Forward => forward::measure(lab).await,
            Self::EndToEnd => end_to_end::measure(lab).await,
            Self::Start => start::measure(lab).await,
        }
    }
}
