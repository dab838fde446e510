//! The database refuses in the middle of the work: locked, full, crashed. What was answered 2xx is
//! in the store afterwards, once, and readiness tells.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use sqlx::AssertSqlSafe;
use tests::postgres::Server;
use tests::{OrPanic as _, eventually};

use super::dead_letters::report;
use super::load::Load;
use super::server::{Delivery, Logger, Site};
use super::writing::witness;

const READY_AGAIN: Duration = Duration::from_secs(30);
/// Pages of the largest database that SQLite makes (its documentation, "Limits In SQLite").
const SQLITE_PAGES_MAX: u32 = 4_294_967_294;
const SQLITE_PAGE_BYTES: u64 = 512;
/// Where the header of an SQLite file has the number of its pages.
const SQLITE_PAGES_OFFSET: u64 = 28;

impl Logger {
    /// Waits until the service says that it is not ready, for this reason.
    async fn is_not_ready(&self, reason: &str) {
        eventually(reason, READY_AGAIN, async || {
            let answer = self.get("/readyz").await;
            (answer.status == 503 && answer.problem(503).contains(reason)).then_some(())
        })
        .await;
    }
}

pub async fn a_lock_longer_than_a_write_waits_loses_nothing(site: Site) {
    let logger = Arc::new(site.start().await);
    let load = Load::start(&logger);
    load.goes_on().await;
    let mut other = witness(&site)
        .await
        .acquire()
        .await
        .or_panic("a connection");
    let lock = if is_sqlite(&site) {
        "BEGIN IMMEDIATE"
    } else {
        "BEGIN; LOCK TABLE events, dead_letters IN SHARE MODE"
    };
    sqlx::raw_sql(lock)
        .execute(&mut *other)
        .await
        .or_panic("a lock");
    load.is_refused().await;
    logger.is_not_ready("the last write failed").await;

    sqlx::raw_sql("ROLLBACK")
        .execute(&mut *other)
        .await
        .or_panic("a rollback");
    logger.ready().await;
    load.goes_on().await;
    load.settle().await;
}

pub async fn a_commit_that_fails_is_no_2xx(site: Site) {
    let logger = site.start().await;
    execute(&site, "CREATE TABLE nobody (id TEXT PRIMARY KEY)").await;
    for table in ["events", "dead_letters"] {
        execute(&site, &fail_commits(&site, table)).await;
    }
    let event = Delivery {
        id: "1",
        event_type: "a.b",
        content_type: "text/plain",
        data: b"x",
    };
    // The statement itself is fine, and has given its rows before the commit. To the database it
    // is the event's fault, and dead letters have none.
    logger.deliver(&event).await.problem(400);
    logger.report(&report("1")).await.problem(503);
    assert!(logger.ids("").await.is_empty());
    assert!(logger.dead("").await.is_empty());

    for table in ["events", "dead_letters"] {
        let repair = if is_sqlite(&site) {
            format!("DROP TRIGGER fail_{table}")
        } else {
            format!("ALTER TABLE {table} DROP CONSTRAINT fail_{table}")
        };
        execute(&site, &repair).await;
    }
    assert_eq!(logger.deliver(&event).await.status, 201);
    logger.bury(&report("1")).await;
}

#[tokio::test]
async fn a_full_database_loses_nothing() {
    let site = Site::on_sqlite();
    let path = Path::new(site.database_url.trim_start_matches("sqlite:"));
    File::create(path).or_panic("a file");
    let tables = "CREATE TABLE slack (a); INSERT INTO slack VALUES (zeroblob(200000)); \
                  CREATE TABLE filler (a); INSERT INTO filler VALUES (zeroblob(20000000));";
    execute(
        &site,
        &format!("PRAGMA page_size = {SQLITE_PAGE_BYTES}; {tables}"),
    )
    .await;
    site.start().await.stop().await;
    execute(&site, "DROP TABLE slack").await;
    make_full(path);

    let logger = Arc::new(site.start().await);
    let load = Load::start(&logger);
    load.is_refused().await;
    logger.is_not_ready("database or disk is full").await;
    // Readers are not in the way.
    logger.get_json("/logs").await;

    execute(&site, "DROP TABLE filler").await;
    logger.ready().await;
    load.goes_on().await;
    load.settle().await;
}

#[tokio::test]
async fn crashes_of_postgres_lose_nothing() {
    let postgres = Server::start().await;
    let logger = Arc::new(Site::at(postgres.create_database().await).start().await);
    let load = Load::start(&logger);
    for _ in 0..2 {
        load.goes_on().await;
        postgres.stop().await;
        load.is_refused().await;
        logger.is_not_ready("database").await;
        postgres.start_again().await;
        logger.ready().await;
    }
    load.goes_on().await;
    load.settle().await;
}

/// Lets each insert into `table` refer to a row that is not there, which is noticed by the commit.
fn fail_commits(site: &Site, table: &str) -> String {
    let reference = "REFERENCES nobody (id) DEFERRABLE INITIALLY DEFERRED";
    if !is_sqlite(site) {
        return format!(
            "ALTER TABLE {table} ADD CONSTRAINT fail_{table} FOREIGN KEY (id) {reference}"
        );
    }
    format!(
        "CREATE TABLE orphans_{table} (id TEXT {reference}); \
         CREATE TRIGGER fail_{table} AFTER INSERT ON {table} \
         BEGIN INSERT INTO orphans_{table} VALUES (NEW.id); END"
    )
}

fn is_sqlite(site: &Site) -> bool {
    site.database_url.starts_with("sqlite:")
}

/// Lets the database end where SQLite's file format does, so that no page can be added and SQLite
/// says what it says of a full disk. The file has a hole instead of the pages, which nothing uses;
/// what is free within it can still be filled.
fn make_full(path: &Path) {
    let file = OpenOptions::new().write(true).open(path).or_panic("a file");
    let bytes = u64::from(SQLITE_PAGES_MAX) * SQLITE_PAGE_BYTES;
    file.set_len(bytes)
        .or_panic("a file system with sparse files");
    file.write_all_at(&SQLITE_PAGES_MAX.to_be_bytes(), SQLITE_PAGES_OFFSET)
        .or_panic("the header");
}

/// Runs statements as another program, which may have to wait for its turn.
async fn execute(site: &Site, statements: &str) {
    let pool = witness(site).await;
    eventually(statements, READY_AGAIN, async || {
        // Safe: made of constants.
        let statements = AssertSqlSafe(statements.to_owned());
        sqlx::raw_sql(statements).execute(&pool).await.ok()
    })
    .await;
    pool.close().await;
}
