//! Schema changes: numbered, applied once, never edited afterwards.

use std::borrow::Cow;

use sqlx::SqlSafeStr as _;
use sqlx::migrate::{MigrationType, Migrator};

/// One step of a schema, in SQL that both databases understand.
#[derive(Debug)]
pub struct Migration {
    /// Position in the sequence, from 1.
    pub version: i64,
    /// A few words, kept in the database's own list of what was applied.
    pub name: &'static str,
    /// One or more statements.
    pub sql: &'static str,
}

/// The table that lists what was applied. It carries the schema's name, because two services may
/// share a database.
pub(crate) fn table(schema: &str) -> String {
    format!("{schema}_migrations")
}

pub(crate) fn migrator(schema: &str, migrations: &[Migration]) -> Migrator {
    let steps = migrations.iter().map(|step| {
        sqlx::migrate::Migration::new(
            step.version,
            Cow::Borrowed(step.name),
            MigrationType::Simple,
            step.sql.into_sql_str(),
            false,
        )
    });
    let mut migrator = Migrator::with_migrations(steps.collect());
    migrator.dangerous_set_table_name(table(schema));
    migrator
}
