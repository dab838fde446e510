//! The table `dead_letters`: one row for each event that died on a route, however often.

mod filter;
mod mark;
mod record;
mod select;

use store::Database;

use crate::dialect::Dialect;
use crate::listing::Searches;

pub(crate) use filter::{Filter, Parameters, State};
pub(crate) use mark::Marked;
pub(crate) use record::Recorded;
pub(crate) use select::{Summary, Whole};

/// The table in a database that may be away.
#[derive(Clone)]
pub(crate) struct DeadLetters {
    database: Database,
    dialect: Dialect,
    searches: Searches,
}

impl DeadLetters {
    pub(crate) fn new(database: Database, dialect: Dialect, searches: Searches) -> Self {
        Self {
            database,
            dialect,
            searches,
        }
    }
}
