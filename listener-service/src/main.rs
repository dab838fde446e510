//! The listener-service binary: parse, log, bind, run.

use std::{net::SocketAddr, process::ExitCode};

use clap::Parser;
use listener_service::{Command, Config};
use service_kit::telemetry::{self, TelemetryConfig};
use service_kit::{server, shutdown};

// The other one is there to be measured: scripts/bench-builds.
#[cfg(not(allocator = "libc"))]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Consumes queues of RabbitMQ and forwards each event over HTTP.
#[derive(Parser)]
#[command(version)]
struct Cli {
    /// Address to listen on, for health checks and administration
    #[arg(long, env = "LISTENER_ADDR", default_value = "127.0.0.1:8083")]
    addr: SocketAddr,
    #[command(flatten)]
    config: Config,
    #[command(flatten)]
    telemetry: TelemetryConfig,
    #[command(subcommand)]
    command: Option<Command>,
}

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    let cli = Cli::parse();
    if let Some(command) = cli.command {
        return command.run(cli.addr, &cli.config).await;
    }
    let _telemetry = telemetry::init(&cli.telemetry)?;
    let listener = server::bind(cli.addr).await?;
    listener_service::run(cli.config, listener, shutdown::on_signal()).await?;
    Ok(ExitCode::SUCCESS)
}
