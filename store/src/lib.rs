//! The database of a service: SQLite by default, PostgreSQL by URL, one SQL text for both.
//!
//! What it takes care of: the file of SQLite and its pragmas, migrations, waiting for a database
//! that is not there yet, a deadline for every statement, and telling when writes are refused.
//! What it deliberately lacks: a query layer. Services write their SQL against the pool, within what
//! both databases understand: `$1` placeholders, `BIGINT` for numbers, times and booleans, `TEXT`,
//! `ON CONFLICT`.

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
