//! Reading a table from its newest row on, in steps of some milliseconds.
//!
//! A database reads on though nobody waits any more: SQLite never looks up amid a statement that
//! finds nothing. So no statement of a search reads for long, searches take turns, and each ends at its
//! deadline, with what it has found.

use std::ops::Range;
use std::sync::Arc;
use std::thread::available_parallelism;
use std::time::Duration;

use sqlx::{AnyPool, AssertSqlSafe};
use store::{StoreError, deadline};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout};

use crate::listing::Cursor;

/// Searches at one time; further ones wait for a moment and are then refused.
const SEARCHES_MAX: usize = 32;
const PATIENCE: Duration = Duration::from_secs(1);
/// Most steps at one time. On few processors fewer, since events are to be stored meanwhile.
const STEPS_MAX: usize = 4;
const DEADLINE: Duration = Duration::from_secs(5);
/// Rows of the first step. They may have a megabyte each.
const FIRST_ROWS: i64 = 256;
/// A shorter step is followed by a larger one, a longer one by a smaller one.
const SHORT: Duration = Duration::from_millis(5);
const LONG: Duration = Duration::from_millis(25);

/// Why a page of a listing cannot be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SearchError {
    /// Too many others are under way.
    #[error("too many searches at once")]
    Busy,
    /// The database failed, or was not done in time.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// All searches of a service.
#[derive(Clone)]
pub(crate) struct Searches {
    places: Arc<Semaphore>,
    turns: Arc<Semaphore>,
}

/// One search, which has a place until it is dropped.
pub(crate) struct Search {
    turns: Arc<Semaphore>,
    ends_at: Instant,
    _place: OwnedSemaphorePermit,
}

/// The rows of a table that a search has not seen yet: those from `lowest` on, and below `below`.
pub(crate) struct Steps<'a> {
    search: &'a Search,
    lowest: i64,
    below: i64,
    rows: i64,
}

/// The rows to read next. Others take their turn when it is given to [`Steps::done`].
pub(crate) struct Step {
    pub(crate) rows: Range<i64>,
    begun: Instant,
    _turn: Option<OwnedSemaphorePermit>,
}

impl Searches {
    pub(crate) fn new() -> Self {
        let processors = available_parallelism().map_or(1, usize::from);
        Self {
            places: Arc::new(Semaphore::new(SEARCHES_MAX)),
            turns: Arc::new(Semaphore::new((processors / 2).clamp(1, STEPS_MAX))),
        }
    }

    pub(crate) async fn begin(&self) -> Result<Search, SearchError> {
        let place = timeout(PATIENCE, self.places.clone().acquire_owned()).await;
        let place = place.ok().and_then(Result::ok);
        Ok(Search {
            turns: self.turns.clone(),
            ends_at: Instant::now() + DEADLINE,
            _place: place.ok_or(SearchError::Busy)?,
        })
    }
}

impl Search {
    /// All rows of `table`, or those behind `cursor`.
    pub(crate) async fn steps(
        &self,
        pool: &AnyPool,
        table: &'static str,
        cursor: Option<Cursor>,
    ) -> Result<Steps<'_>, StoreError> {
        // One look at each end of the index.
        let sql = format!("SELECT (SELECT MIN(seq) FROM {table}), (SELECT MAX(seq) FROM {table})");
        // Safe: made of constants.
        let ends = sqlx::query_as(AssertSqlSafe(sql)).fetch_one(pool);
        let (lowest, highest): (Option<i64>, Option<i64>) = deadline(ends).await?;
        let above = highest.map_or(0, |highest| highest.saturating_add(1));
        Ok(Steps {
            search: self,
            lowest: lowest.unwrap_or(0),
            below: cursor.map_or(above, |Cursor(seq)| seq.min(above)),
            rows: FIRST_ROWS,
        })
    }
}

impl Steps<'_> {
    /// Nothing when all rows were seen, or the time of the search is over.
    pub(crate) async fn next(&mut self) -> Option<Step> {
        if self.below <= self.lowest || Instant::now() >= self.search.ends_at {
            return None;
        }
        // Never closed.
        let turn = self.search.turns.clone().acquire_owned().await.ok();
        let from = self.below.saturating_sub(self.rows).max(self.lowest);
        Some(Step {
            rows: from..self.below,
            begun: Instant::now(),
            _turn: turn,
        })
    }

    /// The rows of this step were read.
    pub(crate) fn done(&mut self, step: Step) {
        let took = step.begun.elapsed();
        self.below = step.rows.start;
        if took < SHORT {
            self.rows = self.rows.saturating_mul(4);
        } else if took > LONG {
            self.rows = (self.rows / 2).max(1);
        }
    }

    /// Where to go on, if there is more.
    pub(crate) fn rest(&self) -> Option<Cursor> {
        (self.below > self.lowest).then_some(Cursor(self.below))
    }
}
