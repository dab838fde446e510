//! The pool, and the state it is in from the start of the process until the schema is in place.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use backoff::ExponentialBackoff;
use backoff::backoff::Backoff as _;
use sqlx::any::{AnyConnectOptions, AnyPoolOptions};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AnyPool, AssertSqlSafe, ConnectOptions as _, Connection as _, Executor as _};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::last_write::LastWrite;
use crate::{DatabaseUrl, Migration, StoreError, deadline, migration, refusal, sqlite_file};

/// A 2xx promises that the commit survives a power cut: WAL alone (synchronous=NORMAL) does not.
const SQLITE_SESSION: &str = "PRAGMA busy_timeout = 5000; PRAGMA journal_mode = WAL; \
     PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON;";
const SQLITE_READS_SESSION: &str = "PRAGMA busy_timeout = 5000; PRAGMA query_only = ON;";
const POSTGRES_SESSION: &str = "SET statement_timeout = '8s'; SET lock_timeout = '5s';";

const CONNECTIONS_MAX: u32 = 8;
const READS_MAX: u32 = 8;
const ACQUIRE: Duration = Duration::from_secs(5);
/// For all of the work before the service is ready: migrations and first-start work.
const PREPARE: Duration = Duration::from_secs(60);
const CLOSE: Duration = Duration::from_secs(5);

/// A database that may be away. Clones share one pool.
#[derive(Clone, Debug)]
pub struct Database {
    pool: AnyPool,
    reads: AnyPool,
    schema: &'static str,
    migrations: &'static [Migration],
    sqlite: bool,
    /// Why it cannot be used yet; `None` once prepared.
    obstacle: Arc<watch::Sender<Option<String>>>,
    last_write: LastWrite,
}

impl Database {
    /// Makes the pool without connecting; [`prepare`](Self::prepare) does that. `schema` names the
    /// list of applied migrations.
    ///
    /// # Errors
    /// Only what waiting cannot mend: a malformed URL, or a directory that cannot be written.
    pub fn open(
        url: &DatabaseUrl,
        schema: &'static str,
        migrations: &'static [Migration],
    ) -> anyhow::Result<Self> {
        sqlx::any::install_default_drivers();
        let options: AnyConnectOptions = url
            .as_str()
            .parse()
            .context("malformed URL; special characters in a password must be percent-encoded")?;
        let sqlite = url.is_sqlite();
        let scheme = options.database_url.scheme();
        if !sqlite && !matches!(scheme, "postgres" | "postgresql") {
            bail!("database URL with scheme {scheme}; use sqlite:<path> or postgres://…");
        }
        if sqlite {
            // Every connection of the pool would see another database.
            if url.as_str().contains(":memory:") || url.as_str().contains("mode=memory") {
                bail!("an SQLite database in memory cannot be pooled; give a path");
            }
            let file = SqliteConnectOptions::from_url(&options.database_url)?;
            sqlite_file::create(file.get_filename())?;
        }
        let pool = lazy_pool(options.clone(), CONNECTIONS_MAX, session(sqlite));
        let reads = lazy_pool(options, READS_MAX, reads_session(sqlite));
        let obstacle = Arc::new(watch::Sender::new(Some("not connected yet".to_owned())));
        Ok(Self {
            pool,
            reads,
            schema,
            migrations,
            sqlite,
            obstacle,
            last_write: LastWrite::default(),
        })
    }

    /// Connects, migrates and runs `first` (what must hold before the service is ready), again and
    /// again with growing waits of up to about 5 s, until it works or `shutdown` is cancelled.
    pub async fn prepare<F>(&self, shutdown: &CancellationToken, first: impl Fn(AnyPool) -> F)
    where
        F: Future<Output = anyhow::Result<()>>,
    {
        let mut waits = waits();
        let attempts = async {
            while let Err(error) = self.attempt(&first).await {
                let reason = format!("{error:#}");
                // Without an elapsed-time limit the policy never ends.
                let wait = waits.next_backoff().unwrap_or(waits.max_interval);
                tracing::warn!(
                    wait_ms = wait.as_millis(),
                    "database not ready, trying again: {reason}"
                );
                self.obstacle.send_replace(Some(reason));
                tokio::time::sleep(wait).await;
            }
            self.obstacle.send_replace(None);
            tracing::info!("database ready");
        };
        shutdown.run_until_cancelled(attempts).await;
    }

    /// The pool, once prepared.
    pub fn pool(&self) -> Result<&AnyPool, StoreError> {
        self.prepared().map(|()| &self.pool)
    }

    /// The same with few connections of its own, for reads that may take long: nothing that is
    /// written waits for one of them. SQLite refuses to write here.
    pub fn reads(&self) -> Result<&AnyPool, StoreError> {
        self.prepared().map(|()| &self.reads)
    }

    fn prepared(&self) -> Result<(), StoreError> {
        match &*self.obstacle.borrow() {
            None => Ok(()),
            Some(reason) => Err(StoreError::NotReady(reason.clone())),
        }
    }

    /// Awaits one statement or transaction that writes, as [`deadline`] does, and remembers for
    /// [`check`](Self::check) whether the database took it.
    pub async fn write<T>(
        &self,
        work: impl Future<Output = Result<T, sqlx::Error>>,
    ) -> Result<T, StoreError> {
        let result = deadline(work).await;
        match &result {
            Ok(_) => self.last_write.forget(),
            // The database is well.
            Err(error) if self.is_refusal(error) => {}
            Err(error) => self.last_write.failed(error),
        }
        result
    }

    /// Whether the values of a statement are at fault, so that trying it again is useless.
    pub fn is_refusal(&self, error: &StoreError) -> bool {
        refusal::is_refusal(self.sqlite, error)
    }

    /// Whether statements would work now, for readiness: one that reads is tried, and the last
    /// [`write`](Self::write) has not failed just before. A service whose job is to read need not
    /// use that.
    ///
    /// No write is tried. One that is rolled back proves nothing, since databases meet a full disk
    /// when they commit or grow; one that is committed would cost a flush of the disk each time,
    /// would wait behind every lock, and would still find room where a larger row finds none.
    pub async fn check(&self) -> Result<(), StoreError> {
        let pool = self.pool()?;
        // SQLite answers a bare SELECT 1 without looking at its file.
        let table = migration::table(self.schema);
        let query = format!("SELECT COUNT(*) FROM {table}");
        let read = deadline(sqlx::query(AssertSqlSafe(query)).execute(pool)).await;
        if let Err(error) = read {
            // The same fault, as far as is known: when reading works again, writing may as well.
            self.last_write.forget();
            return Err(error);
        }
        self.last_write.check()
    }

    /// Closes all connections, which lets SQLite fold its log into the file.
    pub async fn close(&self) {
        let close = async {
            self.reads.close().await;
            self.pool.close().await;
        };
        if tokio::time::timeout(CLOSE, close).await.is_err() {
            tracing::warn!("database connections did not close in time");
        }
    }

    async fn attempt<F>(&self, first: impl Fn(AnyPool) -> F) -> anyhow::Result<()>
    where
        F: Future<Output = anyhow::Result<()>>,
    {
        let work = async {
            self.migrate().await?;
            first(self.pool.clone()).await
        };
        tokio::time::timeout(PREPARE, work)
            .await
            .context("no answer in time")?
    }

    async fn migrate(&self) -> anyhow::Result<()> {
        let options = AnyConnectOptions::clone(&self.pool.connect_options());
        // A pool only says that it timed out; a bare connection says why it cannot be had.
        let connection = tokio::time::timeout(ACQUIRE, options.connect())
            .await
            .context("cannot connect: no answer")?
            .context("cannot connect")?;
        connection.close().await?;
        // Not a connection of the pool: if a step fails, closing it gives back PostgreSQL's
        // migration lock, which would otherwise wait in the pool with it.
        let single = lazy_pool(options, 1, session(self.sqlite));
        let migrator = migration::migrator(self.schema, self.migrations);
        let result = migrator.run(&single).await;
        single.close().await;
        result.context("cannot apply the schema")
    }
}

fn waits() -> ExponentialBackoff {
    ExponentialBackoff {
        initial_interval: Duration::from_millis(200),
        current_interval: Duration::from_millis(200),
        max_interval: Duration::from_secs(4),
        randomization_factor: 0.25,
        max_elapsed_time: None,
        ..ExponentialBackoff::default()
    }
}

fn session(sqlite: bool) -> &'static str {
    if sqlite {
        SQLITE_SESSION
    } else {
        POSTGRES_SESSION
    }
}

fn reads_session(sqlite: bool) -> &'static str {
    if sqlite {
        SQLITE_READS_SESSION
    } else {
        POSTGRES_SESSION
    }
}

fn lazy_pool(options: AnyConnectOptions, connections_max: u32, session: &'static str) -> AnyPool {
    AnyPoolOptions::new()
        .max_connections(connections_max)
        .acquire_timeout(ACQUIRE)
        .after_connect(move |connection, _| {
            Box::pin(async move { connection.execute(session).await.map(drop) })
        })
        .connect_lazy_with(options)
}

#[cfg(test)]
mod tests;
