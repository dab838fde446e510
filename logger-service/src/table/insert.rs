//! Storing many events in one statement, which is one transaction and one commit.

use std::collections::{HashMap, HashSet};

use sqlx::{AnyPool, AssertSqlSafe};
use store::{Database, StoreError, deadline};

use crate::dialect::placeholders;
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
        let mut new = insert_unknown(&self.database, events).await?;
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
}

/// Inserts the events whose ids are not in the table, and returns those ids.
async fn insert_unknown(
    database: &Database,
    events: &[&Event],
) -> Result<HashSet<String>, StoreError> {
    let rows: Vec<_> = (0..events.len())
        .map(|row| format!("({})", placeholders(1 + row * COLUMN_COUNT, COLUMN_COUNT)))
        .collect();
    let sql = format!(
        "INSERT INTO events ({COLUMNS}) VALUES {} ON CONFLICT (id) DO NOTHING RETURNING id",
        rows.join(", ")
    );
    // Safe: only the number of placeholders varies.
    let mut query = sqlx::query_scalar(AssertSqlSafe(sql));
    for event in events {
        let (text, bytes) = event.data.columns();
        query = query
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
            .bind(event.attributes.as_str());
    }
    let ids: Vec<String> = database.write(query.fetch_all(database.pool()?)).await?;
    Ok(ids.into_iter().collect())
}

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
