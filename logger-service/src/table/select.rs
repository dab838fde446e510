//! Reading events: one by its id, or a page of a listing, newest first.

use jiff::Timestamp;
use sqlx::any::AnyRow;
use sqlx::{AssertSqlSafe, FromRow as _, Row as _};
use store::{StoreError, deadline};

use crate::decoded::Decoded;
use crate::dialect::{Dialect, placeholders};
use crate::event::{Data, Event};
use crate::listing::{Conditions, Cursor};
use crate::table::filter::Filter;
use crate::table::{COLUMNS, Table};

/// A page ends early once it holds this much data, so that its size is bounded like its length.
const PAGE_BYTES_MAX: i64 = 4 * 1024 * 1024;

/// A part of a listing, newest first.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) events: Vec<Event>,
    /// Where the next page begins, if there is more.
    pub(crate) next: Option<Cursor>,
}

impl Table {
    /// The event with this id.
    pub(crate) async fn by_id(&self, id: &str) -> Result<Option<Event>, StoreError> {
        // Safe: made of constants.
        let sql = AssertSqlSafe(format!("SELECT {COLUMNS} FROM events WHERE id = $1"));
        let query = sqlx::query(sql).bind(id);
        let row = deadline(query.fetch_optional(self.database.pool()?)).await?;
        row.map(|row| event(&row))
            .transpose()
            .map_err(StoreError::from)
    }

    /// Up to `limit` events that arrived before `cursor`.
    pub(crate) async fn page(
        &self,
        filter: &Filter,
        cursor: Option<Cursor>,
        limit: usize,
    ) -> Result<Page, StoreError> {
        let pool = self.database.pool()?;
        // The sizes first: whole rows of a page that ends early would be read only to be dropped.
        let conditions = conditions(filter, cursor, self.dialect);
        let sql = format!(
            "SELECT seq, CAST(COALESCE(octet_length(data_text), octet_length(data_bytes)) \
         + COALESCE(octet_length(decoded), 0) AS BIGINT) \
         FROM events WHERE {} ORDER BY seq DESC LIMIT {}",
            conditions.sql,
            limit + 1
        );
        // Safe: the conditions hold placeholders, not values.
        let query = conditions.bind(sqlx::query(AssertSqlSafe(sql)));
        let rows = deadline(query.fetch_all(pool)).await?;
        let candidates: Vec<(i64, i64)> = rows
            .iter()
            .map(<(i64, i64)>::from_row)
            .collect::<Result<_, sqlx::Error>>()?;
        let seqs = fill(&candidates, limit);
        if seqs.is_empty() {
            return Ok(Page {
                events: Vec::new(),
                next: None,
            });
        }
        let sql = format!(
            "SELECT {COLUMNS} FROM events WHERE seq IN ({}) ORDER BY seq DESC",
            placeholders(1, seqs.len())
        );
        // Safe: only the number of placeholders varies.
        let mut query = sqlx::query(AssertSqlSafe(sql));
        for seq in &seqs {
            query = query.bind(*seq);
        }
        let rows = deadline(query.fetch_all(pool)).await?;
        let events = rows.iter().map(event).collect::<Result<_, _>>()?;
        let more = seqs.len() < candidates.len();
        let next = seqs.last().filter(|_| more).map(|seq| Cursor(*seq));
        Ok(Page { events, next })
    }
}

/// The rows that fit on a page, at least one.
fn fill(candidates: &[(i64, i64)], limit: usize) -> Vec<i64> {
    let mut bytes = 0;
    let mut seqs = Vec::new();
    for (seq, size) in candidates.iter().take(limit) {
        bytes += size;
        if bytes > PAGE_BYTES_MAX && !seqs.is_empty() {
            break;
        }
        seqs.push(*seq);
    }
    seqs
}

fn conditions(filter: &Filter, cursor: Option<Cursor>, dialect: Dialect) -> Conditions {
    let mut conditions = Conditions::none();
    conditions.event_type(filter.event_type.as_ref());
    conditions.text("source = $", filter.source.as_deref());
    conditions.text("name = $", filter.name.as_deref());
    let searched = ["data_text", "decoded"].map(|column| dialect.folded(column));
    conditions.contains(&searched, filter.text.as_deref());
    let since = filter.since.map(Timestamp::as_microsecond);
    conditions.number("received_at >= $", since);
    let until = filter.until.map(Timestamp::as_microsecond);
    conditions.number("received_at < $", until);
    conditions.before(cursor);
    conditions
}

/// Reads the columns of [`COLUMNS`], by position.
fn event(row: &AnyRow) -> Result<Event, sqlx::Error> {
    Ok(Event {
        id: row.try_get(0)?,
        event_type: row.try_get(1)?,
        source: row.try_get(2)?,
        name: row.try_get(3)?,
        subject: row.try_get(4)?,
        time_us: row.try_get(5)?,
        received_at_us: row.try_get(6)?,
        content_type: row.try_get(7)?,
        data: Data::from_columns(row.try_get(8)?, row.try_get(9)?),
        attributes: row.try_get(10)?,
        content_encoding: row.try_get(11)?,
        decoded: Decoded::from_columns(row.try_get(12)?, row.try_get(13)?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_ends_at_its_limit_or_its_size_but_is_never_empty() {
        let rows = |sizes: &[i64]| -> Vec<_> { (1..).zip(sizes.iter().copied()).collect() };
        let half = PAGE_BYTES_MAX / 2;
        assert!(fill(&rows(&[]), 2).is_empty());
        assert_eq!(fill(&rows(&[1, 1, 1]), 2), [1, 2]);
        assert_eq!(fill(&rows(&[half, half, 1]), 3), [1, 2]);
        assert_eq!(fill(&rows(&[2 * PAGE_BYTES_MAX, 1]), 3), [1]);
        assert_eq!(fill(&rows(&[1, 2 * PAGE_BYTES_MAX, 1]), 3), [1]);
    }
}
