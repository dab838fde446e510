//! Where SQLite and PostgreSQL differ.

use store::{DatabaseUrl, Migration};

const SQLITE: &[Migration] = &[
    Migration {
        version: 1,
        name: "events",
        sql: include_str!("../migrations/sqlite/0001_events.sql"),
    },
    Migration {
        version: 2,
        name: "dead letters",
        sql: include_str!("../migrations/sqlite/0002_dead_letters.sql"),
    },
];

const POSTGRES: &[Migration] = &[
    Migration {
        version: 1,
        name: "events",
        sql: include_str!("../migrations/postgres/0001_events.sql"),
    },
    Migration {
        version: 2,
        name: "dead letters",
        sql: include_str!("../migrations/postgres/0002_dead_letters.sql"),
    },
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    Sqlite,
    Postgres,
}

impl Dialect {
    pub(crate) fn of(url: &DatabaseUrl) -> Self {
        if url.is_sqlite() {
            Self::Sqlite
        } else {
            Self::Postgres
        }
    }

    /// The databases number rows differently and have different names for bytes.
    pub(crate) fn migrations(self) -> &'static [Migration] {
        match self {
            Self::Sqlite => SQLITE,
            Self::Postgres => POSTGRES,
        }
    }

    /// The text of a column with its ASCII letters in lower case. SQLite folds only these anyway;
    /// the C collation makes PostgreSQL do the same.
    pub(crate) fn folded(self, column: &str) -> String {
        match self {
            Self::Sqlite => format!("lower({column})"),
            Self::Postgres => format!(r#"lower({column} COLLATE "C")"#),
        }
    }
}

/// `$1, $2, ...`: placeholders that both databases understand.
pub(crate) fn placeholders(first: usize, count: usize) -> String {
    let placeholders: Vec<_> = (first..first + count).map(|n| format!("${n}")).collect();
    placeholders.join(", ")
}
