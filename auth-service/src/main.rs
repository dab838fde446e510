//! The auth-service binary: parse, telemetry, bind, run.

use std::net::SocketAddr;

use auth_service::Config;
use clap::{Parser, Subcommand};
use service_kit::telemetry::{self, TelemetryConfig};
use service_kit::{healthcheck, server, shutdown};

// The other one is there to be measured: scripts/bench-builds.
#[cfg(not(allocator = "libc"))]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Logs users in and issues signed tokens.
#[derive(Parser)]
#[command(version)]
struct Cli {
    /// Address to listen on
    #[arg(long, env = "AUTH_ADDR", default_value = "127.0.0.1:8081")]
    addr: SocketAddr,
    #[command(flatten)]
    telemetry: TelemetryConfig,
    #[command(flatten)]
    config: Config,
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
    auth_service::run(cli.config, listener, shutdown::on_signal()).await
}
