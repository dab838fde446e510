//! Changing what has become of dead letters. Each change is one statement with its condition.

use sqlx::AssertSqlSafe;
use store::{StoreError, deadline};

use crate::dead_letters::{DeadLetters, Filter, State};

/// What became of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Marked {
    /// The dead letter is in this state, committed.
    Done,
    /// Its condition does not hold.
    Conflict,
    /// There is no such dead letter.
    Absent,
}

impl DeadLetters {
    /// Marks a dead letter as replayed, unless it died again since `death`.
    pub(crate) async fn replayed(&self, id: &str, death: &str) -> Result<Marked, StoreError> {
        let sql = "UPDATE dead_letters SET state = 'replayed' WHERE id = $1 AND death = $2";
        let query = sqlx::query(sql).bind(id).bind(death);
        let changed = self
            .database
            .write(query.execute(self.database.pool()?))
            .await?;
        self.verdict(id, changed.rows_affected()).await
    }

    /// Discards a dead letter, unless it was replayed.
    pub(crate) async fn discarded(&self, id: &str) -> Result<Marked, StoreError> {
        let sql =
            "UPDATE dead_letters SET state = 'discarded' WHERE id = $1 AND state <> 'replayed'";
        let query = sqlx::query(sql).bind(id);
        let changed = self
            .database
            .write(query.execute(self.database.pool()?))
            .await?;
        self.verdict(id, changed.rows_affected()).await
    }

    /// Discards every dead one that passes the filter, and tells how many these were.
    pub(crate) async fn discard(&self, filter: &Filter) -> Result<u64, StoreError> {
        let conditions = filter.conditions(Some(State::Dead), self.dialect);
        let sql = format!(
            "UPDATE dead_letters SET state = 'discarded' WHERE {}",
            conditions.sql
        );
        // Safe: the conditions hold placeholders, not values.
        let query = conditions.bind(sqlx::query(AssertSqlSafe(sql)));
        let changed = self
            .database
            .write(query.execute(self.database.pool()?))
            .await?;
        Ok(changed.rows_affected())
    }

    /// Rows are never removed, so one that was not changed and is there did not fulfil the
    /// condition.
    async fn verdict(&self, id: &str, changed: u64) -> Result<Marked, StoreError> {
        if changed > 0 {
            return Ok(Marked::Done);
        }
        let query = sqlx::query("SELECT 1 FROM dead_letters WHERE id = $1").bind(id);
        let row = deadline(query.fetch_optional(self.database.pool()?)).await?;
        Ok(if row.is_some() {
            Marked::Conflict
        } else {
            Marked::Absent
        })
    }
}
