//! Configuration of the service.

use service_kit::server::HttpConfig;
use store::DatabaseUrl;

/// Where the events are.
#[derive(clap::Args, Clone, Debug)]
pub struct Config {
    /// sqlite:<path>, or postgres://user:password@host/database for more than one instance
    #[arg(
        long = "logger-database-url",
        env = "LOGGER_DATABASE_URL",
        hide_env_values = true,
        default_value = "sqlite:data/logger.db"
    )]
    pub database_url: DatabaseUrl,

    /// The HTTP server.
    #[command(flatten)]
    pub http: HttpConfig,
}
