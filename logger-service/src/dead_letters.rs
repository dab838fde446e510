//! The table `dead_letters`: one row for each event that died on a route, however often.

mod filter;
mod mark;
mod record;
mod select;

use std::sync::Arc;

use store::Database;
use tokio::sync::Semaphore;

use crate::dialect::Dialect;

pub(crate) use filter::{Filter, Parameters, State};
pub(crate) use mark::Marked;
pub(crate) use record::Recorded;
pub(crate) use select::{Summary, Whole};

/// Dead letters in memory with their data, which may be large, to be answered. Others wait.
const WHOLE_MAX: usize = 4;

/// The table in a database that may be away.
#[derive(Clone)]
pub(crate) struct DeadLetters {
    database: Database,
    dialect: Dialect,
    places: Arc<Semaphore>,
}

impl DeadLetters {
    pub(crate) fn new(database: Database, dialect: Dialect) -> Self {
        Self {
            database,
            dialect,
            places: Arc::new(Semaphore::new(WHOLE_MAX)),
        }
    }
}
