//! Storing a dead letter. Unlike events they are few, so each is a commit of its own.

use jiff::Timestamp;
use sqlx::AssertSqlSafe;
use store::StoreError;

use crate::dead_letter::DeadLetter;
use crate::dead_letters::DeadLetters;
use crate::dialect::placeholders;

const COLUMNS: &str = "id, route, queue, event_id, type, reason, answer, death, status, attempts, \
                       first_failure, last_failure, died_at, message, data_text, data_bytes";
const COLUMN_COUNT: usize = 16;
/// The earliest one that is known: a replay begins its attempts again, and not its story.
const FIRST_FAILURE: &str = "CASE WHEN dead_letters.first_failure IS NULL \
                                  OR excluded.first_failure < dead_letters.first_failure \
                             THEN excluded.first_failure ELSE dead_letters.first_failure END";

/// What became of a dead letter. In every case it is in the store, committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Recorded {
    /// It was not there before.
    New,
    /// It was, and this is another death: it is dead again.
    Again,
    /// Its last death was this one. Nothing has changed.
    Known,
}

impl DeadLetters {
    /// Stores a dead letter, or a further death of one that is there.
    pub(crate) async fn record(&self, dead_letter: &DeadLetter) -> Result<Recorded, StoreError> {
        // One statement: of deliveries of one death at once, one wins and the others see it.
        let sql = format!(
            "INSERT INTO dead_letters ({COLUMNS}, state, deaths) VALUES ({}, 'dead', 1) \
             ON CONFLICT (id) DO UPDATE SET \
                 state = 'dead', deaths = dead_letters.deaths + 1, death = excluded.death, \
                 reason = excluded.reason, answer = excluded.answer, status = excluded.status, \
                 attempts = excluded.attempts, first_failure = {FIRST_FAILURE}, \
                 last_failure = excluded.last_failure, died_at = excluded.died_at, \
                 message = excluded.message \
             WHERE dead_letters.death <> excluded.death \
             RETURNING deaths",
            placeholders(1, COLUMN_COUNT)
        );
        let (text, bytes) = dead_letter.data.columns();
        // Safe: made of constants.
        let query = sqlx::query_scalar(AssertSqlSafe(sql))
            .bind(dead_letter.id.as_str())
            .bind(dead_letter.route.as_str())
            .bind(dead_letter.queue.as_str())
            .bind(dead_letter.event_id.as_str())
            .bind(dead_letter.event_type.as_str())
            .bind(dead_letter.reason.as_str())
            .bind(dead_letter.answer.as_deref())
            .bind(dead_letter.death.as_str())
            .bind(dead_letter.status.map(i64::from))
            .bind(i64::from(dead_letter.attempts))
            .bind(dead_letter.first_failure_us)
            .bind(dead_letter.last_failure_us)
            .bind(Timestamp::now().as_microsecond())
            .bind(dead_letter.message.as_str())
            .bind(text)
            .bind(bytes);
        // All rows, though there is one at most: the commit, which may fail, comes after the last.
        let deaths: Vec<i64> = self
            .database
            .write(query.fetch_all(self.database.pool()?))
            .await?;
        Ok(match deaths.first() {
            Some(1) => Recorded::New,
            Some(_) => Recorded::Again,
            None => Recorded::Known,
        })
    }
}
