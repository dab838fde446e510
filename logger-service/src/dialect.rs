//! Where SQLite and PostgreSQL differ.

use std::fmt::Write as _;

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
    Migration {
        version: 3,
        name: "content encoding",
        sql: include_str!("../migrations/sqlite/0003_content_encoding.sql"),
    },
    Migration {
        version: 4,
        name: "decoded",
        sql: include_str!("../migrations/sqlite/0004_decoded.sql"),
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
    Migration {
        version: 3,
        name: "content encoding",
        sql: include_str!("../migrations/postgres/0003_content_encoding.sql"),
    },
    Migration {
        version: 4,
        name: "decoded",
        sql: include_str!("../migrations/postgres/0004_decoded.sql"),
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

    /// Placeholders of whole rows, whose values are bound in order.
    pub(crate) fn rows(self, rows: usize, columns: usize) -> String {
        match self {
            // Without numbers: SQLite treats numbered ones as names, and searches each among all
            // others.
            Self::Sqlite => {
                let row = format!("({})", vec!["?"; columns].join(", "));
                vec![row.as_str(); rows].join(", ")
            }
            Self::Postgres => {
                let first = (0..rows).map(|row| 1 + row * columns);
                let rows: Vec<_> = first
                    .map(|first| format!("({})", placeholders(first, columns)))
                    .collect();
                rows.join(", ")
            }
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
    let mut placeholders = String::with_capacity(count * "$1234, ".len());
    for number in first..first + count {
        let comma = if number == first { "" } else { ", " };
        // Writing to a string cannot fail.
        let _ = write!(placeholders, "{comma}${number}");
    }
    placeholders
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_database_gets_its_placeholders() {
        assert_eq!(placeholders(9, 3), "$9, $10, $11");
        assert_eq!(placeholders(1, 0), "");
        assert_eq!(Dialect::Sqlite.rows(2, 2), "(?, ?), (?, ?)");
        assert_eq!(Dialect::Postgres.rows(2, 2), "($1, $2), ($3, $4)");
    }
}
