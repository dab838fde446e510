//! What the broker is told by flags and environment.

use std::{
    num::{NonZeroU32, ParseIntError},
    path::PathBuf,
    time::Duration,
};

use clap::builder::BoolishValueParser;
use messaging::AmqpUrl;
use service_kit::{secret_arg::SecretArg, server::HttpConfig};

/// Configuration of broker-service.
#[derive(clap::Args, Clone, Debug)]
pub struct Config {
    /// RabbitMQ; several nodes of one cluster are separated by commas
    #[arg(
        long,
        env,
        hide_env_values = true,
        value_parser = SecretArg::<AmqpUrl>::new(),
        default_value = "amqp://guest:guest@127.0.0.1:5672/%2F"
    )]
    pub amqp_url: AmqpUrl,

    /// Whether to declare and bind exchanges and queues; with false everything is provided by
    /// definitions, and only looked up
    #[arg(long, env, default_value_t = true, action = clap::ArgAction::Set,
          value_parser = BoolishValueParser::new())]
    pub amqp_declare: bool,

    /// Time for RabbitMQ to confirm an event, in milliseconds
    #[arg(long = "publish-timeout-ms", env = "PUBLISH_TIMEOUT_MS", value_parser = milliseconds,
          default_value = "5000")]
    pub publish_timeout: Duration,

    /// Time for an authentication to be answered, in milliseconds
    #[arg(long = "auth-timeout-ms", env = "AUTH_TIMEOUT_MS", value_parser = milliseconds,
          default_value = "5000")]
    pub auth_timeout: Duration,

    /// Time for which an Idempotency-Key is remembered, in seconds
    #[arg(long = "idempotency-window-seconds", env = "IDEMPOTENCY_WINDOW_SECONDS",
          value_parser = seconds, default_value = "86400")]
    pub idempotency_window: Duration,

    /// Idempotency-Keys remembered at one time; beyond it the least recently used are forgotten
    #[arg(long, env, default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub idempotency_keys_max: u64,

    /// Folder with a JSON Schema for each event type that has one, as `<type>.json`
    #[arg(long, env)]
    pub schemas_dir: Option<PathBuf>,

    #[command(flatten)]
    #[expect(
        missing_docs,
        reason = "a comment here would become the help text of every flag"
    )]
    pub http: HttpConfig,
}

fn milliseconds(text: &str) -> Result<Duration, ParseIntError> {
    Ok(Duration::from_millis(text.parse::<u32>()?.into()))
}

fn seconds(text: &str) -> Result<Duration, ParseIntError> {
    Ok(Duration::from_secs(
        text.parse::<NonZeroU32>()?.get().into(),
    ))
}
