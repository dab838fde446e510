//! The binary: parse, log, bind, run.

use broker_service::Config;
use clap::Parser;
use service_kit::{healthcheck, server, shutdown, telemetry};

/// Takes HTTP requests and publishes them as events to RabbitMQ.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(flatten)]
    config: Config,
    #[command(flatten)]
    telemetry: telemetry::TelemetryConfig,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Exit with 0 when the service at its own address is ready
    Healthcheck,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    if let Some(Command::Healthcheck) = cli.command {
        return healthcheck::run(cli.config.addr).await;
    }
    let _telemetry = telemetry::init(&cli.telemetry)?;
    let listener = server::bind(cli.config.addr).await?;
    broker_service::run(cli.config, listener, shutdown::on_signal()).await
}
