//! What the listener is told by flags and environment.

use std::path::PathBuf;

use clap::builder::BoolishValueParser;
use messaging::AmqpUrl;
use service_kit::{secret_arg::SecretArg, server::HttpConfig};
use url::Url;

/// Configuration of listener-service.
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

    /// File of routes in TOML [default: all events to the logger, authentications to auth-service]
    #[arg(long, env)]
    pub routes_file: Option<PathBuf>,

    /// Where the default routes and the dead letters find logger-service
    #[arg(long, env, default_value = "http://127.0.0.1:8082")]
    pub logger_url: Url,

    /// Where dead letters are kept: logger, which lists them and from where they can be replayed;
    /// or queue, for a listener without logger-service
    #[arg(long, env, default_value = "logger")]
    pub dead_letters: DeadLetters,

    /// Where the default routes find auth-service
    #[arg(long, env, default_value = "http://127.0.0.1:8081")]
    pub auth_url: Url,

    /// Where broker-service is: a route that would send its events round in circles is refused
    #[arg(long, env, default_value = "http://127.0.0.1:8080")]
    pub broker_url: Url,

    #[command(flatten)]
    #[expect(
        missing_docs,
        reason = "a comment here would become the help text of every flag"
    )]
    pub http: HttpConfig,
}

/// Where dead letters are kept.
#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeadLetters {
    /// In logger-service, at `LOGGER_URL`.
    Logger,
    /// In the queue of dead letters of each route, for another program to take.
    Queue,
}
