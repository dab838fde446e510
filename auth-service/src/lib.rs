//! auth-service: who may log in, and a signed token that says so.
//!
//! Users live in SQLite or PostgreSQL, passwords only as argon2id hashes. Credentials reach the
//! service in clear over HTTP, or sealed when they have come through RabbitMQ. Tokens are JWTs that
//! anybody can verify offline with the published key.

mod administrator;
mod app;
mod config;
mod email;
mod error;
mod hasher;
mod keys;
mod password;
mod private_file;
mod routes;
mod token;
mod user;

use anyhow::Context as _;
use service_kit::readiness::Readiness;
use service_kit::server;
use store::Database;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

pub use config::Config;
pub use email::Email;

use app::App;
use hasher::Hasher;
use keys::Keys;
use token::Tokens;

/// Serves until `shutdown`. The database may be away at the start and at any time later: requests
/// are then answered 503, and `/readyz` says why.
///
/// # Errors
/// What waiting cannot mend: an unusable key file, a malformed database URL, an address that must
/// not be served without authentication.
pub async fn run(
    config: Config,
    listener: TcpListener,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let memory = server::prepare(&listener, &config.http)?;
    let keys = Keys::load(&config.key_file).context("AUTH_KEY_FILE")?;
    let tokens = Tokens::new(&keys.signing_seed, config.token_ttl_seconds)?;
    let database =
        Database::open(&config.database_url, "auth", user::SCHEMA).context("AUTH_DATABASE_URL")?;
    tracing::info!(
        signing_key.id = tokens.key_id(),
        sealing_key.id = keys.sealing.public().key_id(),
        "keys loaded"
    );
    let hasher = Hasher::new();
    let app = App::new(database.clone(), hasher.clone(), tokens, keys.sealing);
    let checked = database.clone();
    let readiness = Readiness::new(shutdown.clone()).check("database", move || {
        let database = checked.clone();
        Box::pin(async move { database.check().await.map_err(|error| error.to_string()) })
    });
    let routes = routes::routes(app);
    let serve = server::serve(
        "auth-service",
        listener,
        routes,
        &config.http,
        memory,
        readiness,
        shutdown.clone(),
    );
    let prepare = database.prepare(&shutdown, |pool| {
        administrator::ensure(
            pool,
            &hasher,
            &config.admin_email,
            &config.admin_password_file,
        )
    });
    let prepare = async {
        prepare.await;
        Ok(())
    };
    // When serving fails, nothing is left to prepare for.
    let result = tokio::try_join!(serve, prepare);
    database.close().await;
    result.map(drop)
}
