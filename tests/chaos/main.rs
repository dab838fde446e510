//! `make chaos`: breaks every part of the gateway under load, again and again, and strikes the
//! balance of all events after each kind of fault.
//!
//! Real processes, a real RabbitMQ, a network that can be broken. Prints a row for each fault, writes
//! the table into a document, and exits with 1 when a row does not hold what is promised.

#![expect(
    unreachable_pub,
    reason = "modules of a program are reached by nobody else"
)]
#![expect(
    clippy::print_stdout,
    reason = "it is a program that reports to a terminal"
)]

mod fault;
mod judge;
mod report;
mod row;
mod stage;
mod versions;

use std::{panic::AssertUnwindSafe, path::PathBuf, process::ExitCode, time::Instant};

use clap::Parser;
use futures_util::FutureExt as _;
use rand::{SeedableRng as _, rngs::StdRng};
use tests::rabbitmq::Node;

use crate::{fault::Fault, report::Report, row::Row, stage::Stage, versions::Versions};

#[derive(Parser)]
struct Cli {
    /// A few injections of each fault, to try the suite out
    #[arg(long)]
    short: bool,

    /// Only the faults whose name contains this text
    #[arg(long)]
    only: Option<String>,

    /// Of the random choices; the one of an earlier run repeats them
    #[arg(long)]
    seed: Option<u64>,

    /// The document whose table is replaced
    #[arg(long)]
    report: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    tokio::select! {
        code = run(&cli) => code,
        // Everything that was started ends as it is dropped.
        _asked = tokio::signal::ctrl_c() => ExitCode::from(130),
    }
}

async fn run(cli: &Cli) -> ExitCode {
    let started = Instant::now();
    let seed = cli.seed.unwrap_or_else(rand::random);
    println!("seed {seed}");
    let chosen = |fault: &Fault| match &cli.only {
        Some(only) => fault.title().contains(only.as_str()),
        None => true,
    };
    let (aside, in_turn): (Vec<_>, Vec<_>) = Fault::ALL
        .into_iter()
        .filter(chosen)
        .partition(|fault| fault.is_aside());
    let (node, other_node) = tokio::join!(Node::start(), Node::start());
    let versions = Versions::read(&node, seed, cli.short).await;
    let (mut rows, last) = tokio::join!(
        rows(node, in_turn, cli.short, seed),
        rows(other_node, aside, cli.short, seed),
    );
    rows.extend(last);
    let report = Report {
        versions: versions.after(started.elapsed()),
        rows,
    };
    println!("\n{}", report.markdown());
    if let Some(path) = &cli.report {
        report.write(path);
    }
    if report.holds() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// The rows of faults that are injected one after another, on one node.
async fn rows(mut node: Node, faults: Vec<Fault>, short: bool, seed: u64) -> Vec<Row> {
    let mut rows = Vec::new();
    for fault in faults {
        let mut random = StdRng::seed_from_u64(seed);
        let row = scenario(&mut node, fault, short, &mut random);
        // A panic is the failure of one row; what it left of the node is not used again.
        let row = match AssertUnwindSafe(row).catch_unwind().await {
            Ok(row) => row,
            Err(_panic) => {
                node = Node::start().await;
                Row::broken(fault)
            }
        };
        println!("{}", row.line());
        rows.push(row);
    }
    node.stop().await;
    rows
}

async fn scenario(node: &mut Node, fault: Fault, short: bool, random: &mut StdRng) -> Row {
    println!("\n== {}", fault.title());
    let mut stage = Stage::start(node, fault).await;
    fault.play(&mut stage, short, random).await;
    let end = stage.end().await;
    judge::judge(fault, end)
}
