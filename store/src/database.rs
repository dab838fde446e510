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
const POSTGRES_SESSION: &str = "SET statement_timeout = '8s'; SET lock_timeout = '5s';";

const CONNECTIONS_MAX: u32 = 8;
const ACQUIRE: Duration = Duration::from_secs(5);
/// For all of the work before the service is ready: migrations and first-start work.
const PREPARE: Duration = Duration::from_secs(60);
const CLOSE: Duration = Duration::from_secs(5);

/// A database that may be away. Clones share one pool.
#[derive(Clone, Debug)]
pub struct Database {
    pool: AnyPool,
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
        let pool = lazy_pool(options, CONNECTIONS_MAX, sqlite);
        let obstacle = Arc::new(watch::Sender::new(Some("not connected yet".to_owned())));
        Ok(Self {
            pool,
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
        match &*self.obstacle.borrow() {
            None => Ok(&self.pool),
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
        if tokio::time::timeout(CLOSE, self.pool.close())
            .await
            .is_err()
        {
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
        let single = lazy_pool(options, 1, self.sqlite);
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

fn lazy_pool(options: AnyConnectOptions, connections_max: u32, sqlite: bool) -> AnyPool {
    let session = if sqlite {
        SQLITE_SESSION
    } else {
        POSTGRES_SESSION
    };
    AnyPoolOptions::new()
        .max_connections(connections_max)
        .acquire_timeout(ACQUIRE)
        .after_connect(move |connection, _| {
            Box::pin(async move { connection.execute(session).await.map(drop) })
        })
        .connect_lazy_with(options)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;
    use std::path::Path;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    const SCHEMA: &[Migration] = &[Migration {
        version: 1,
        name: "things",
        sql: "CREATE TABLE things (id TEXT PRIMARY KEY); INSERT INTO things VALUES ('first');",
    }];

    fn open(path: &Path) -> Database {
        let url = format!("sqlite:{}", path.display());
        Database::open(&DatabaseUrl::from(url.as_str()), "test", SCHEMA).unwrap()
    }

    async fn count(database: &Database) -> i64 {
        let query = sqlx::query_scalar("SELECT COUNT(*) FROM things");
        deadline(query.fetch_one(database.pool().unwrap()))
            .await
            .unwrap()
    }

    #[tokio::test]
    async fn creates_a_private_file_and_migrates_once() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("new/a b.db");
        for _ in 0..2 {
            let database = open(&path);
            assert!(matches!(database.pool(), Err(StoreError::NotReady(_))));
            let spawned = database.clone();
            let shutdown = CancellationToken::new();
            tokio::spawn(async move { spawned.prepare(&shutdown, |_| async { Ok(()) }).await })
                .await
                .unwrap();
            database.check().await.unwrap();
            assert_eq!(count(&database).await, 1);
            let session =
                "SELECT journal_mode || synchronous FROM pragma_journal_mode, pragma_synchronous";
            let session: String = sqlx::query_scalar(session)
                .fetch_one(database.pool().unwrap())
                .await
                .unwrap();
            assert_eq!(session, "wal2", "2 is FULL");
            let wal = path.with_file_name("a b.db-wal");
            for file in [&path, &wal] {
                let mode = std::fs::metadata(file).unwrap().permissions().mode();
                assert_eq!(mode & 0o777, 0o600, "{}", file.display());
            }
            database.close().await;
        }
    }

    #[tokio::test]
    async fn first_start_work_is_repeated_until_it_works_and_its_failure_is_told() {
        let directory = tempfile::tempdir().unwrap();
        let database = open(&directory.path().join("a.db"));
        let attempts = AtomicU32::new(0);
        let first = |_| async {
            if attempts.fetch_add(1, Ordering::Relaxed) == 1 {
                let told = database.check().await.unwrap_err().to_string();
                assert!(told.contains("disk on fire"), "{told}");
                return Ok(());
            }
            bail!("disk on fire")
        };
        database.prepare(&CancellationToken::new(), first).await;
        assert_eq!(attempts.load(Ordering::Relaxed), 2);
        database.check().await.unwrap();
    }

    #[tokio::test]
    async fn an_absent_server_is_waited_for_until_shutdown() {
        // Port 1 of this machine refuses.
        let url = DatabaseUrl::from("postgres://user:s3cret@127.0.0.1:1/none");
        let database = Database::open(&url, "test", SCHEMA).unwrap();
        let shutdown = CancellationToken::new();
        let told = async {
            database.obstacle.subscribe().changed().await.unwrap();
            let told = database.check().await.unwrap_err().to_string();
            shutdown.cancel();
            told
        };
        let ((), told) = tokio::join!(database.prepare(&shutdown, |_| async { Ok(()) }), told);
        assert!(
            told.contains("cannot connect") && !told.contains("s3cret"),
            "{told}"
        );
    }

    #[tokio::test]
    async fn a_failed_write_is_told_until_one_works_and_a_refused_row_is_no_failure() {
        let directory = tempfile::tempdir().unwrap();
        let database = open(&directory.path().join("a.db"));
        let shutdown = CancellationToken::new();
        database.prepare(&shutdown, |_| async { Ok(()) }).await;
        let insert = |id: &'static str| {
            let pool = database.pool().unwrap();
            database.write(
                sqlx::query("INSERT INTO things VALUES ($1)")
                    .bind(id)
                    .execute(pool),
            )
        };
        let error = insert("first").await.unwrap_err();
        assert!(database.is_refusal(&error), "{error}");
        database.check().await.unwrap();

        let gone = sqlx::raw_sql("ALTER TABLE things RENAME TO others");
        gone.execute(database.pool().unwrap()).await.unwrap();
        let error = insert("second").await.unwrap_err();
        assert!(!database.is_refusal(&error), "{error}");
        let told = database.check().await.unwrap_err().to_string();
        assert!(told.contains("no such table"), "{told}");

        let back = sqlx::raw_sql("ALTER TABLE others RENAME TO things");
        back.execute(database.pool().unwrap()).await.unwrap();
        insert("second").await.unwrap();
        database.check().await.unwrap();
    }

    #[tokio::test]
    async fn a_failed_write_is_forgotten_with_a_fault_that_hit_reading_too() {
        let directory = tempfile::tempdir().unwrap();
        let database = open(&directory.path().join("a.db"));
        let shutdown = CancellationToken::new();
        database.prepare(&shutdown, |_| async { Ok(()) }).await;
        let pool = database.pool().unwrap();
        let rename = async |from: &str, to: &str| {
            let sql = AssertSqlSafe(format!("ALTER TABLE {from} RENAME TO {to}"));
            sqlx::raw_sql(sql).execute(pool).await.unwrap();
        };
        rename("test_migrations", "away").await;
        let failing = sqlx::query("INSERT INTO nowhere VALUES (1)").execute(pool);
        database.write(failing).await.unwrap_err();
        database.check().await.unwrap_err();
        rename("away", "test_migrations").await;
        database.check().await.unwrap();
    }

    #[tokio::test]
    async fn refuses_what_waiting_cannot_mend() {
        let directory = tempfile::tempdir().unwrap();
        let occupied = directory.path().join("file");
        std::fs::write(&occupied, "").unwrap();
        let below_a_file = format!("sqlite:{}/a.db", occupied.display());
        for url in ["", "mysql://localhost/a", "sqlite::memory:", &below_a_file] {
            assert!(
                Database::open(&DatabaseUrl::from(url), "test", SCHEMA).is_err(),
                "{url}"
            );
        }
    }
}
