//! `scripts/proof`: whether the publisher's verdicts are true, at full size, and how fast it is.
//!
//! The trial itself is [`tests::proof`], which `make test` runs in small as well. This adds what only
//! a process of its own can tell: that nothing is leaked. Exits with 1 when a verdict is false or
//! something is left behind.

#![expect(
    unreachable_pub,
    reason = "modules of a program are reached by nobody else"
)]
#![expect(
    clippy::print_stdout,
    reason = "it is a program that reports to a terminal"
)]

mod progress;
mod resources;
mod sweep;

use std::{process::ExitCode, time::Instant};

use clap::{Args, Parser, Subcommand};
use tests::{
    proof::{Plan, Trial},
    rabbitmq::{Node, VirtualHost},
};

use crate::{resources::Resources, sweep::Sweep};

#[derive(Parser)]
#[command(args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,

    #[command(flatten)]
    prove: Prove,
}

#[derive(Subcommand)]
enum Command {
    /// Measures publishes a second, by publishes on their way and by channels
    Sweep(Sweep),
}

#[derive(Args)]
struct Prove {
    /// Messages, each of which is published once
    #[arg(long, default_value_t = 1_000_000)]
    publishes: usize,

    /// Of them, those whose key has no queue
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(0..=50))]
    unroutable_percent: u8,

    /// Of them, those to each of two queues that are full now and then: a quorum and a classic one
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(0..=20))]
    full_percent: u8,

    /// Connections that are broken: by turns reset by the network and closed by RabbitMQ
    #[arg(long, default_value_t = 10)]
    losses: usize,

    /// Callers that publish at the same time
    #[arg(long, default_value_t = 512)]
    in_flight: usize,

    /// Publishers on the one connection, each with a channel of its own
    #[arg(long, default_value_t = 1)]
    channels: usize,
}

#[tokio::main]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    let work = async {
        let mut node = Node::start().await;
        let virtual_host = node.virtual_host().await;
        introduce(&virtual_host).await;
        let code = match &cli.command {
            Some(Command::Sweep(sweep)) => sweep.run(&virtual_host).await,
            None => prove(&virtual_host, &cli.prove).await,
        };
        node.stop().await;
        code
    };
    tokio::select! {
        code = work => code,
        // Everything that was started ends as it is dropped.
        _asked = tokio::signal::ctrl_c() => ExitCode::from(130),
    }
}

async fn introduce(virtual_host: &VirtualHost) {
    let (rabbitmq, erlang) = virtual_host.management.versions().await;
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    println!("RabbitMQ {rabbitmq}, Erlang {erlang}, {cores} cores\n");
}

async fn prove(virtual_host: &VirtualHost, prove: &Prove) -> ExitCode {
    let plan = Plan {
        publishes: prove.publishes,
        unroutable_percent: prove.unroutable_percent.into(),
        full_percent: prove.full_percent.into(),
        losses: prove.losses,
        in_flight: prove.in_flight,
        channels: prove.channels,
    };
    let trial = Trial::start(virtual_host, plan.clone()).await;
    // What management keeps open for itself is there from the beginning.
    trial.nothing_is_left().await;
    let before = Resources::now();
    let begun = Instant::now();
    let (tenths, ()) = tokio::join!(progress::watch(&trial.account), trial.run());
    let took = begun.elapsed();
    trial.nothing_is_left().await;
    let leaks = resources::leaks(before, &tenths, plan.losses).await;
    let judgement = trial.end().await;

    let Plan {
        publishes,
        losses,
        in_flight,
        channels,
        ..
    } = plan;
    println!(
        "{publishes} publishes by {in_flight} callers over {channels} channels of one connection, \
         which was lost {losses} times, in {:.1} s\n\n{judgement}\n\n{leaks}",
        took.as_secs_f64()
    );
    if judgement.violations.is_empty() && leaks.found.is_empty() {
        println!("\nevery verdict is true, nothing is left behind");
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
