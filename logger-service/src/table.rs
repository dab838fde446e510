//! The table `events`: where it is, the writer, and the reader.

mod filter;
mod insert;
mod select;
mod writer;

use store::{Database, DatabaseUrl};

pub(crate) use filter::{Filter, Parameters};
pub(crate) use insert::Stored;
pub(crate) use writer::{InsertError, Writer, writer};

use crate::dialect::Dialect;
use crate::listing::Searches;

/// What is written and read of a row, in this order.
const COLUMNS: &str = "id, type, source, name, subject, time, received_at, content_type, \
                       data_text, data_bytes, attributes, content_encoding, decoded, undecoded";
const COLUMN_COUNT: usize = 14;

/// The table in a database that may be away.
#[derive(Clone)]
pub(crate) struct Table {
    pub(crate) database: Database,
    pub(crate) dialect: Dialect,
    pub(crate) searches: Searches,
}

impl Table {
    /// Fails for what waiting cannot mend; see [`Database::open`].
    pub(crate) fn open(url: &DatabaseUrl) -> anyhow::Result<Self> {
        let dialect = Dialect::of(url);
        let database = Database::open(url, "logger", dialect.migrations())?;
        Ok(Self {
            database,
            dialect,
            searches: Searches::new(),
        })
    }
}
