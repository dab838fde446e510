//! The database from opening to closing, on SQLite.

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
