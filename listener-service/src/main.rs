//! The listener-service binary: parse, log, bind, run.

use std::net::SocketAddr;

use clap::{Parser, Subcommand};
use listener_service::{Config, DeadLettersCommand};
use service_kit::telemetry::{self, TelemetryConfig};
use service_kit::{healthcheck, server, shutdown};

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

#[derive(Subcommand)]
#[expect(clippy::large_enum_variant, reason = "there is one, once")]
enum Command {
    /// Exit 0 when the service at the same address is ready
    Healthcheck,
    #[command(subcommand)]
    DeadLetters(DeadLettersCommand),
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    match cli.command {
        Some(Command::Healthcheck) => return healthcheck::run(cli.addr).await,
        Some(Command::DeadLetters(command)) => {
            let token_file = cli.config.http.api_token_file.as_deref();
            return command.run(cli.addr, token_file).await;
        }
        None => {}
    }
    let _telemetry = telemetry::init(&cli.telemetry)?;
    let listener = server::bind(cli.addr).await?;
    listener_service::run(cli.config, listener, shutdown::on_signal()).await
}
