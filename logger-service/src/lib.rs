//! logger-service: stores events, each id once, and lists them; and stores dead letters, which can
//! be looked at here without disturbing a queue.
//!
//! Events arrive as CloudEvents in HTTP binary mode, or as plain `{"name", "data"}`. Their data is
//! stored and given back byte for byte. No answer says "logged" before the commit.

mod answer;
mod cloud_event;
mod config;
mod dead_letter;
mod dead_letters;
mod decoded;
mod dialect;
mod event;
mod listing;
mod plain;
mod routes;
mod table;

use anyhow::Context as _;
use service_kit::readiness::Readiness;
use service_kit::server;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

pub use config::Config;

use dead_letters::DeadLetters;
use routes::App;
use table::Table;

/// Serves until `shutdown`. The database may be away at the start and at any time later: requests
/// are then answered 503, and `/readyz` says why.
///
/// # Errors
/// What waiting cannot mend: a malformed database URL, a directory that cannot be written, an
/// address that must not be served without authentication.
pub async fn run(
    config: Config,
    listener: TcpListener,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let memory = server::prepare(&listener, &config.http)?;
    let table = Table::open(&config.database_url).context("LOGGER_DATABASE_URL")?;
    let database = table.database.clone();
    let (writer, writing) = table::writer(table.clone());
    let checked = database.clone();
    let readiness = Readiness::new(shutdown.clone()).check("database", move || {
        let database = checked.clone();
        Box::pin(async move { database.check().await.map_err(|error| error.to_string()) })
    });
    let dead_letters = DeadLetters::new(database.clone(), table.dialect, table.searches.clone());
    let routes = routes::routes(App {
        table,
        writer,
        dead_letters,
        memory: memory.clone(),
    });
    let serve = server::serve(
        "logger-service",
        listener,
        routes,
        &config.http,
        memory,
        readiness,
        shutdown.clone(),
    );
    let prepare = async {
        database.prepare(&shutdown, |_| async { Ok(()) }).await;
        Ok(())
    };
    let write = async {
        writing.await;
        Ok(())
    };
    // Serving owns the routes and with them the writer's queue, so the writer ends after it. When
    // serving fails, the others have nothing left to work for.
    let result = tokio::try_join!(serve, prepare, write);
    database.close().await;
    result.map(drop)
}
