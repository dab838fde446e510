//! Storing many events in one statement, which is one transaction and one commit.

use std::collections::{HashMap, HashSet};

use sqlx::any::AnyArguments;
use sqlx::query::Query;
use sqlx::{Any, AnyPool, AssertSqlSafe, Row as _};
use store::{StoreError, deadline};

use crate::decoded::Decoded;
use crate::dialect::{Dialect, placeholders};
use crate::event::{Data, Event};
use crate::table::{COLUMN_COUNT, COLUMNS, Table};

/// What became of an event. In every case one event with its id is in the store, committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stored {
    /// It was not there before.
    New,
    /// It was, with the same type and data.
    Duplicate,
    /// Another event with this id was there, and stays.
    Conflict,
}

impl Table {
    /// Stores `events` and tells what became of each, in order. Of equal ids the first one is stored.
    pub(super) async fn insert(&self, events: &[&Event]) -> Result<Vec<Stored>, StoreError> {
        let pool = self.database.pool()?;
        // The usual case: all are new. A statement that returns no rows is the cheapest one, and it
        // stores all of them or none.
        match self.insert_new(events).await {
            Ok(()) => return Ok(vec![Stored::New; events.len()]),
            Err(error) if is_taken(&error) => {}
            Err(error) => return Err(error),
        }
        let mut new = self.insert_unknown(events).await?;
        // Removing makes a second event with the same id in this batch one that was there before.
        let fresh: Vec<bool> = events.iter().map(|event| new.remove(&event.id)).collect();
        let known = events.iter().zip(&fresh).filter(|(_, fresh)| !**fresh);
        let known: Vec<&str> = known.map(|(event, _)| event.id.as_str()).collect();
        let existing = existing(pool, &known).await?;
        let verdict = |(event, fresh): (&&Event, &bool)| {
            if *fresh {
                return Ok(Stored::New);
            }
            // Whoever removed the row meanwhile, trying again will tell.
            let (event_type, data) = existing.get(&event.id).ok_or(sqlx::Error::RowNotFound)?;
            let same = *event_type == event.event_type && *data == event.data;
            Ok(if same {
                Stored::Duplicate
            } else {
                Stored::Conflict
            })
        };
        events.iter().zip(&fresh).map(verdict).collect()
    }

    /// Inserts all events, or none where an id is taken.
    async fn insert_new(&self, events: &[&Event]) -> Result<(), StoreError> {
        let sql = insert_sql(self.dialect, events.len(), "");
        // Safe: only the number of placeholders varies.
        let mut query = sqlx::query(AssertSqlSafe(sql));
        for event in events {
            query = bind(query, event);
        }
        let inserted = query.execute(self.database.pool()?);
        self.database.write(inserted).await.map(drop)
    }

    /// Inserts the events whose ids are not in the table, and returns those ids.
    async fn insert_unknown(&self, events: &[&Event]) -> Result<HashSet<String>, StoreError> {
        let on_conflict = " ON CONFLICT (id) DO NOTHING RETURNING id";
        let sql = insert_sql(self.dialect, events.len(), on_conflict);
        // Safe: only the number of placeholders varies.
        let mut query = sqlx::query(AssertSqlSafe(sql));
        for event in events {
            query = bind(query, event);
        }
        let inserted = query.fetch_all(self.database.pool()?);
        let rows = self.database.write(inserted).await?;
        rows.iter()
            .map(|row| row.try_get(0).map_err(StoreError::from))
            .collect()
    }
}

/// Whether an id is in the table, or twice among the events.
fn is_taken(error: &StoreError) -> bool {
    let StoreError::Sql(sqlx::Error::Database(error)) = error else {
        return false;
    };
    error.is_unique_violation()
}

fn insert_sql(dialect: Dialect, rows: usize, on_conflict: &str) -> String {
    let rows = dialect.rows(rows, COLUMN_COUNT);
    format!("INSERT INTO events ({COLUMNS}) VALUES {rows}{on_conflict}")
}

/// In the order of [`COLUMNS`].
fn bind<'q>(query: AnyQuery<'q>, event: &Event) -> AnyQuery<'q> {
    let (text, bytes) = event.data.columns();
    let (decoded, undecoded) = Decoded::columns(event.decoded.as_ref());
    query
        .bind(event.id.as_str())
        .bind(event.event_type.as_str())
        .bind(event.source.as_str())
        .bind(event.name.as_deref())
        .bind(event.subject.as_deref())
        .bind(event.time_us)
        .bind(event.received_at_us)
        .bind(event.content_type.as_deref())
        .bind(text)
        .bind(bytes)
        .bind(event.attributes.as_str())
        .bind(event.content_encoding.as_deref())
        .bind(decoded)
        .bind(undecoded)
}

type AnyQuery<'q> = Query<'q, Any, AnyArguments>;

type ExistingRow = (String, String, Option<String>, Option<Vec<u8>>);

/// Type and data of the rows with these ids.
async fn existing(
    pool: &AnyPool,
    ids: &[&str],
) -> Result<HashMap<String, (String, Data)>, StoreError> {
    if ids.is_empty() {
        return Ok(HashMap::new());
    }
    let sql = format!(
        "SELECT id, type, data_text, data_bytes FROM events WHERE id IN ({})",
        placeholders(1, ids.len())
    );
    // Safe: only the number of placeholders varies.
    let mut query = sqlx::query_as(AssertSqlSafe(sql));
    for id in ids {
        query = query.bind(*id);
    }
    let rows: Vec<ExistingRow> = deadline(query.fetch_all(pool)).await?;
    let rows = rows
        .into_iter()
        .map(|(id, event_type, text, bytes)| (id, (event_type, Data::from_columns(text, bytes))));
    Ok(rows.collect())
}
