//! Reading events: one by its id, or a page of a listing, newest first.

use jiff::Timestamp;
use sqlx::any::AnyRow;
use sqlx::{AssertSqlSafe, FromRow as _, Row as _};
use store::{StoreError, deadline};

use crate::decoded::Decoded;
use crate::dialect::{Dialect, placeholders};
use crate::event::{Data, Event};
use crate::listing::{Conditions, Cursor, SearchError};
use crate::table::filter::Filter;
use crate::table::{COLUMNS, Table};

/// The rows of a page of a listing, newest first.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) seqs: Vec<i64>,
    /// About what they take in memory.
    pub(crate) bytes: usize,
    /// Where the next page begins, if there is more. The page is short, or even empty, where it took
    /// too long to find more.
    pub(crate) next: Option<Cursor>,
}

impl Table {
    /// The event with this id.
    pub(crate) async fn by_id(&self, id: &str) -> Result<Option<Event>, StoreError> {
        // Safe: made of constants.
        let sql = AssertSqlSafe(format!("SELECT {COLUMNS} FROM events WHERE id = $1"));
        let query = sqlx::query(sql).bind(id);
        let row = deadline(query.fetch_optional(self.database.reads()?)).await?;
        row.map(|row| event(&row))
            .transpose()
            .map_err(StoreError::from)
    }

    /// Finds up to `limit` events that arrived before `cursor`, and have about `bytes_max` bytes. The
    /// sizes come first: whole rows of a page that ends early would be read only to be dropped.
    pub(crate) async fn find(
        &self,
        filter: &Filter,
        cursor: Option<Cursor>,
        limit: usize,
        bytes_max: usize,
    ) -> Result<Found, SearchError> {
        let pool = self.database.reads()?;
        let search = self.searches.begin().await?;
        let mut steps = search.steps(pool, "events", cursor).await?;
        let mut candidates: Vec<(i64, i64)> = Vec::new();
        while candidates.len() <= limit
            && let Some(step) = steps.next().await
        {
            let mut conditions = conditions(filter, self.dialect);
            conditions.among(&step.rows);
            let sql = format!(
                "SELECT seq, CAST(COALESCE(octet_length(data_text), octet_length(data_bytes)) \
                 + COALESCE(octet_length(decoded), 0) + octet_length(attributes) AS BIGINT) \
                 FROM events WHERE {} ORDER BY seq DESC LIMIT {}",
                conditions.sql,
                limit + 1 - candidates.len()
            );
            // Safe: the conditions hold placeholders, not values.
            let query = conditions.bind(sqlx::query(AssertSqlSafe(sql)));
            let rows = deadline(query.fetch_all(pool)).await?;
            steps.done(step);
            for row in &rows {
                candidates.push(<(i64, i64)>::from_row(row).map_err(StoreError::from)?);
            }
        }
        let (seqs, bytes) = fill(&candidates, limit, bytes_max);
        let next = if seqs.len() < candidates.len() {
            seqs.last().map(|seq| Cursor(*seq))
        } else {
            steps.rest()
        };
        Ok(Found { seqs, bytes, next })
    }

    /// The events of these rows, newest first.
    pub(crate) async fn read(&self, seqs: &[i64]) -> Result<Vec<Event>, StoreError> {
        if seqs.is_empty() {
            return Ok(Vec::new());
        }
        let sql = format!(
            "SELECT {COLUMNS} FROM events WHERE seq IN ({}) ORDER BY seq DESC",
            placeholders(1, seqs.len())
        );
        // Safe: only the number of placeholders varies.
        let mut query = sqlx::query(AssertSqlSafe(sql));
        for seq in seqs {
            query = query.bind(*seq);
        }
        let rows = deadline(query.fetch_all(self.database.reads()?)).await?;
        let events = rows.iter().map(event).collect::<Result<_, _>>();
        events.map_err(StoreError::from)
    }
}

/// The rows that fit on a page, at least one, and their bytes.
fn fill(candidates: &[(i64, i64)], limit: usize, bytes_max: usize) -> (Vec<i64>, usize) {
    let mut bytes: usize = 0;
    let mut seqs = Vec::new();
    for (seq, size) in candidates.iter().take(limit) {
        let size = usize::try_from(*size).unwrap_or(0);
        if bytes + size > bytes_max && !seqs.is_empty() {
            break;
        }
        bytes += size;
        seqs.push(*seq);
    }
    (seqs, bytes)
}

fn conditions(filter: &Filter, dialect: Dialect) -> Conditions {
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
        let fill = |sizes: &[i64], limit| fill(&rows(sizes), limit, 100);
        assert_eq!(fill(&[], 2), (vec![], 0));
        assert_eq!(fill(&[1, 1, 1], 2), (vec![1, 2], 2));
        assert_eq!(fill(&[50, 50, 1], 3), (vec![1, 2], 100));
        assert_eq!(fill(&[200, 1], 3), (vec![1], 200));
        assert_eq!(fill(&[1, 200, 1], 3), (vec![1], 1));
    }
}
