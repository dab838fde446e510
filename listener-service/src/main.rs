//! The binary: parse, log, bind, run.

use listener_service::Config;
use clap::Parser;
use service_kit::{healthcheck, server, shutdown, telemetry};

/// Consumes queues of RabbitMQ and forwards each event over HTTP.
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
    listener_service::run(cli.config, listener, shutdown::on_signal()).await
}
