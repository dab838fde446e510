//! Configuration of the service.

use std::path::PathBuf;

use service_kit::server::HttpConfig;
use store::DatabaseUrl;

use crate::Email;

/// Where users and keys are, and how long a token is good for.
#[derive(clap::Args, Clone, Debug)]
pub struct Config {
    /// sqlite:<path>, or postgres://user:password@host/database for more than one instance
    #[arg(
        long = "auth-database-url",
        env = "AUTH_DATABASE_URL",
        hide_env_values = true,
        default_value = "sqlite:data/auth.db"
    )]
    pub database_url: DatabaseUrl,

    /// Secret from which the signing and the sealing key are derived; made at the first start,
    /// shared by the instances that share a database
    #[arg(
        long = "auth-key-file",
        env = "AUTH_KEY_FILE",
        default_value = "data/auth.key"
    )]
    pub key_file: PathBuf,

    /// E-mail of the administrator that is made at the first start
    #[arg(
        long = "auth-admin-email",
        env = "AUTH_ADMIN_EMAIL",
        default_value = "admin@example.com"
    )]
    pub admin_email: Email,

    /// File for that administrator's generated password; one that exists already is used
    #[arg(
        long = "auth-admin-password-file",
        env = "AUTH_ADMIN_PASSWORD_FILE",
        default_value = "data/admin-password.txt"
    )]
    pub admin_password_file: PathBuf,

    /// Seconds that a token is valid for
    #[arg(
        long = "auth-token-ttl-seconds",
        env = "AUTH_TOKEN_TTL_SECONDS",
        default_value = "3600",
        value_parser = clap::value_parser!(u32).range(1..=30 * 86_400)
    )]
    pub token_ttl_seconds: u32,

    /// The HTTP server.
    #[command(flatten)]
    pub http: HttpConfig,
}
