//! Reading events: one by its id, or a page of a listing, newest first.

use sqlx::any::AnyRow;
use sqlx::{AssertSqlSafe, Row};
use store::{StoreError, deadline};

use crate::event::{Data, Event};
use crate::table::dialect::Dialect;
use crate::table::filter::{Filter, TypePattern};
use crate::table::{COLUMNS, Cursor, Table, placeholders};

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
        let conditions = Conditions::new(filter, cursor, self.dialect);
        let sql = format!(
            "SELECT seq, CAST(COALESCE(octet_length(data_text), octet_length(data_bytes)) AS BIGINT) \
         FROM events WHERE {} ORDER BY seq DESC LIMIT {}",
            conditions.sql,
            limit + 1
        );
        // Safe: the conditions hold placeholders, not values.
        let mut query = sqlx::query_as(AssertSqlSafe(sql));
        for value in conditions.values {
            query = match value {
                Value::Text(text) => query.bind(text),
                Value::Number(number) => query.bind(number),
            };
        }
        let candidates: Vec<(i64, i64)> = deadline(query.fetch_all(pool)).await?;
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

/// A WHERE clause, and the values of its placeholders in order.
struct Conditions {
    sql: String,
    values: Vec<Value>,
}

enum Value {
    Text(String),
    Number(i64),
}

impl Conditions {
    fn new(filter: &Filter, cursor: Option<Cursor>, dialect: Dialect) -> Self {
        let mut conditions = Self {
            sql: "1 = 1".to_owned(),
            values: Vec::new(),
        };
        match &filter.event_type {
            Some(TypePattern::Exact(exact)) => conditions.text("type = $", exact),
            // Not LIKE: SQLite's does not tell upper from lower case.
            Some(TypePattern::Prefix(prefix)) => {
                conditions.text("substr(type, 1, length($)) = $", prefix);
            }
            None => {}
        }
        if let Some(source) = &filter.source {
            conditions.text("source = $", source);
        }
        if let Some(name) = &filter.name {
            conditions.text("name = $", name);
        }
        if let Some(text) = &filter.text {
            let condition = format!(r"{} LIKE $ ESCAPE '\'", dialect.folded_text());
            conditions.text(&condition, &contains(text));
        }
        if let Some(since) = filter.since {
            conditions.number("received_at >= $", since.as_microsecond());
        }
        if let Some(until) = filter.until {
            conditions.number("received_at < $", until.as_microsecond());
        }
        if let Some(Cursor(seq)) = cursor {
            conditions.number("seq < $", seq);
        }
        conditions
    }

    fn text(&mut self, condition: &str, value: &str) {
        self.and(condition, Value::Text(value.to_owned()));
    }

    fn number(&mut self, condition: &str, value: i64) {
        self.and(condition, Value::Number(value));
    }

    /// Adds a condition in which `$` stands for the value.
    fn and(&mut self, condition: &str, value: Value) {
        self.values.push(value);
        let placeholder = format!("${}", self.values.len());
        self.sql.push_str(" AND ");
        self.sql.push_str(&condition.replace('$', &placeholder));
    }
}

/// A LIKE pattern for texts that contain `text`, whose own wildcards are escaped.
fn contains(text: &str) -> String {
    let mut pattern = "%".to_owned();
    for letter in text.chars() {
        if matches!(letter, '%' | '_' | '\\') {
            pattern.push('\\');
        }
        pattern.push(letter.to_ascii_lowercase());
    }
    pattern.push('%');
    pattern
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

    #[test]
    fn wildcards_are_escaped() {
        assert_eq!(contains(r"50%_\ÉA"), r"%50\%\_\\Éa%");
    }

    #[test]
    fn every_condition_has_a_placeholder_of_its_own() {
        let filter = Filter {
            event_type: Some(TypePattern::Prefix("a".to_owned())),
            name: Some("b".to_owned()),
            ..Filter::default()
        };
        let conditions = Conditions::new(&filter, Some(Cursor(7)), Dialect::Sqlite);
        assert_eq!(
            conditions.sql,
            "1 = 1 AND substr(type, 1, length($1)) = $1 AND name = $2 AND seq < $3"
        );
        assert_eq!(conditions.values.len(), 3);
    }
}
