//! The database of a service: SQLite by default, PostgreSQL by URL, one SQL text for both.
//!
//! It handles SQLite's file and pragmas, migrations, waiting for a database that is not there yet,
//! a deadline for every statement, and detection of refused writes. It deliberately has no query
//! layer. Services write SQL against the pool that both databases understand: `$1` placeholders,
//! `BIGINT` for numbers, times and booleans, `TEXT`, `ON CONFLICT`.

mod database;
mod deadline;
mod last_write;
mod migration;
mod refusal;
mod sqlite_file;
mod url;

pub use database::Database;
pub use deadline::{StoreError, deadline};
pub use migration::Migration;
pub use url::DatabaseUrl;
