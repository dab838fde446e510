//! The broker-service binary: parse, log, bind, run.

use std::net::SocketAddr;

use broker_service::Config;
use clap::{Parser, Subcommand};
use service_kit::telemetry::{self, TelemetryConfig};
use service_kit::{healthcheck, server, shutdown};

// The other one is there to be measured: scripts/bench-builds.
#[cfg(not(allocator = "libc"))]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Takes HTTP requests and publishes them as events to RabbitMQ.
#[derive(Parser)]
#[command(version)]
struct Cli {
    /// Address to listen on
    #[arg(long, env = "BROKER_ADDR", default_value = "127.0.0.1:8080")]
    addr: SocketAddr,
    #[command(flatten)]
    config: Config,
    #[command(flatten)]
    telemetry: TelemetryConfig,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Exit 0 when the service at the same address is ready
    Healthcheck,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    if let Some(Command::Healthcheck) = cli.command {
        return healthcheck::run(cli.addr).await;
    }
    let _telemetry = telemetry::init(&cli.telemetry)?;
    let listener = server::bind(cli.addr).await?;
    broker_service::run(cli.config, listener, shutdown::on_signal()).await
}
