//! Where SQLite and PostgreSQL differ.

use sqlx::error::DatabaseError;
use store::{DatabaseUrl, Migration};

const SQLITE: &[Migration] = &[Migration {
    version: 1,
    name: "events",
    sql: include_str!("../../migrations/sqlite/0001_events.sql"),
}];

const POSTGRES: &[Migration] = &[Migration {
    version: 1,
    name: "events",
    sql: include_str!("../../migrations/postgres/0001_events.sql"),
}];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    Sqlite,
    Postgres,
}

impl Dialect {
    pub(super) fn of(url: &DatabaseUrl) -> Self {
        if url.is_sqlite() {
            Self::Sqlite
        } else {
            Self::Postgres
        }
    }

    /// The databases number rows differently and have different names for bytes.
    pub(super) fn migrations(self) -> &'static [Migration] {
        match self {
            Self::Sqlite => SQLITE,
            Self::Postgres => POSTGRES,
        }
    }

    /// The text of the data with its ASCII letters in lower case. SQLite folds only these anyway;
    /// the C collation makes PostgreSQL do the same.
    pub(super) fn folded_text(self) -> &'static str {
        match self {
            Self::Sqlite => "lower(data_text)",
            Self::Postgres => r#"lower(data_text COLLATE "C")"#,
        }
    }

    /// Whether the values of a row are at fault, so that trying again is useless.
    pub(super) fn is_refusal(self, error: &dyn DatabaseError) -> bool {
        let Some(code) = error.code() else {
            return false;
        };
        match self {
            // TOOBIG, CONSTRAINT, MISMATCH and RANGE; further bits tell what exactly.
            Self::Sqlite => code
                .parse()
                .is_ok_and(|code: u32| matches!(code & 0xff, 18 | 19 | 20 | 25)),
            // Data exception, integrity violation, program limit (a key too long for its index).
            Self::Postgres => ["22", "23", "54"]
                .iter()
                .any(|class| code.starts_with(class)),
        }
    }
}
