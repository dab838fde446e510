//! A deadline for statements, and the one error of this crate.

use std::time::Duration;

/// Longer than PostgreSQL's `statement_timeout` and SQLite's `busy_timeout`, so that the database's
/// own, more precise error comes first. This one is for a connection that went silent.
const STATEMENT: Duration = Duration::from_secs(10);

/// Why the database did not answer. Each of these passes when the database works again.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Not connected, or not migrated, since the process started.
    #[error("the database is not ready: {0}")]
    NotReady(String),
    /// No answer in time.
    #[error("the database did not answer within {} s", STATEMENT.as_secs())]
    Timeout,
    /// Reads work, but the last write failed recently, for this reason.
    #[error("the last write failed: {0}")]
    LastWrite(String),
    /// The connection or the statement failed.
    #[error("the database failed: {0}")]
    Sql(#[from] sqlx::Error),
}

/// Awaits one statement or transaction for at most 10 seconds.
pub async fn deadline<T>(
    work: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<T, StoreError> {
    match tokio::time::timeout(STATEMENT, work).await {
        Ok(result) => Ok(result?),
        Err(_elapsed) => Err(StoreError::Timeout),
    }
}
