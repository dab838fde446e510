//! Reading dead letters: a page of a listing, newest first, or one by its id.

use serde::Serialize;
use sqlx::any::AnyRow;
use sqlx::{AssertSqlSafe, Row as _};
use store::{StoreError, deadline};

use crate::answer::rfc3339;
use crate::dead_letters::{DeadLetters, Filter, State};
use crate::event::Data;
use crate::listing::{Cursor, Search, SearchError};

/// What a listing shows of a row. All of it is short, so a page needs no bound but its length.
const COLUMNS: &str = "seq, id, route, queue, state, event_id, type, reason, status, attempts, \
                       first_failure, last_failure, answer, died_at, deaths, death, \
                       CAST(COALESCE(octet_length(data_text), octet_length(data_bytes)) AS BIGINT) \
                       AS size";

/// A dead letter without its data, as clients see it.
#[derive(Debug, Serialize)]
pub(crate) struct Summary {
    #[serde(skip)]
    seq: i64,
    id: String,
    route: String,
    queue: String,
    state: String,
    event_id: String,
    #[serde(rename = "type")]
    event_type: String,
    reason: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<i64>,
    attempts: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    first_failure: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_failure: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    answer: Option<String>,
    died_at: String,
    deaths: i64,
    death: String,
    data_bytes: i64,
}

/// A part of a listing, newest first.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) summaries: Vec<Summary>,
    /// Rows of the whole listing.
    pub(crate) total: i64,
    /// Where the next page begins, if there is more.
    pub(crate) next: Option<Cursor>,
}

/// One dead letter.
pub(crate) struct Whole {
    pub(crate) summary: Summary,
    /// A [`Message`](crate::dead_letter::Message) as JSON.
    pub(crate) message: String,
    pub(crate) data: Data,
}

impl DeadLetters {
    /// Up to `limit` dead letters that lie behind `cursor`. Without a state, of any.
    pub(crate) async fn page(
        &self,
        filter: &Filter,
        state: Option<State>,
        cursor: Option<Cursor>,
        limit: usize,
    ) -> Result<Page, SearchError> {
        let pool = self.database.reads()?;
        let search = self.searches.begin().await?;
        let total = self.count(&search, filter, state).await?;
        let mut steps = search.steps(pool, "dead_letters", cursor).await?;
        let mut summaries = Vec::new();
        while summaries.len() <= limit
            && let Some(step) = steps.next().await
        {
            let mut conditions = filter.conditions(state, self.dialect);
            conditions.among(&step.rows);
            // Safe: the conditions hold placeholders, not values.
            let sql = AssertSqlSafe(format!(
                "SELECT {COLUMNS} FROM dead_letters WHERE {} ORDER BY seq DESC LIMIT {}",
                conditions.sql,
                limit + 1 - summaries.len()
            ));
            let query = conditions.bind(sqlx::query(sql));
            let rows = deadline(query.fetch_all(pool)).await?;
            steps.done(step);
            for row in &rows {
                summaries.push(summary(row).map_err(StoreError::from)?);
            }
        }
        let next = if summaries.len() > limit {
            summaries.truncate(limit);
            summaries.last().map(|last| Cursor(last.seq))
        } else {
            steps.rest()
        };
        Ok(Page {
            summaries,
            total,
            next,
        })
    }

    async fn count(
        &self,
        search: &Search,
        filter: &Filter,
        state: Option<State>,
    ) -> Result<i64, StoreError> {
        let pool = self.database.reads()?;
        let mut steps = search.steps(pool, "dead_letters", None).await?;
        let mut total = 0;
        while let Some(step) = steps.next().await {
            let mut conditions = filter.conditions(state, self.dialect);
            conditions.among(&step.rows);
            // Safe: the conditions hold placeholders, not values.
            let sql = AssertSqlSafe(format!(
                "SELECT COUNT(*) FROM dead_letters WHERE {}",
                conditions.sql
            ));
            let query = conditions.bind(sqlx::query(sql));
            let row = deadline(query.fetch_one(pool)).await?;
            steps.done(step);
            total += row.try_get::<i64, _>(0)?;
        }
        match steps.rest() {
            None => Ok(total),
            Some(_) => Err(StoreError::Timeout),
        }
    }

    /// Ids of the dead letters of one event, newest first, up to `limit`.
    pub(crate) async fn of_event(
        &self,
        event_id: &str,
        limit: u8,
    ) -> Result<Vec<String>, StoreError> {
        // Safe: made of constants and a number.
        let sql = AssertSqlSafe(format!(
            "SELECT id FROM dead_letters WHERE event_id = $1 ORDER BY seq DESC LIMIT {limit}"
        ));
        let query = sqlx::query_scalar(sql).bind(event_id);
        deadline(query.fetch_all(self.database.reads()?)).await
    }

    /// Bytes of the data of the dead letter with this id.
    pub(crate) async fn size(&self, id: &str) -> Result<Option<usize>, StoreError> {
        let sql = "SELECT CAST(COALESCE(octet_length(data_text), octet_length(data_bytes)) AS BIGINT) \
                   FROM dead_letters WHERE id = $1";
        let query = sqlx::query_scalar(sql).bind(id);
        let size: Option<i64> = deadline(query.fetch_optional(self.database.reads()?)).await?;
        Ok(size.map(|size| usize::try_from(size).unwrap_or(0)))
    }

    /// The dead letter with this id.
    pub(crate) async fn by_id(&self, id: &str) -> Result<Option<Whole>, StoreError> {
        // Safe: made of constants.
        let sql = AssertSqlSafe(format!(
            "SELECT {COLUMNS}, message, data_text, data_bytes FROM dead_letters WHERE id = $1"
        ));
        let query = sqlx::query(sql).bind(id);
        let row = deadline(query.fetch_optional(self.database.reads()?)).await?;
        let whole = |row: AnyRow| {
            Ok::<_, sqlx::Error>(Whole {
                summary: summary(&row)?,
                message: row.try_get("message")?,
                data: Data::from_columns(row.try_get("data_text")?, row.try_get("data_bytes")?),
            })
        };
        Ok(row.map(whole).transpose()?)
    }
}

fn summary(row: &AnyRow) -> Result<Summary, sqlx::Error> {
    let time = |column| Ok::<_, sqlx::Error>(row.try_get::<Option<i64>, _>(column)?.map(rfc3339));
    Ok(Summary {
        seq: row.try_get("seq")?,
        id: row.try_get("id")?,
        route: row.try_get("route")?,
        queue: row.try_get("queue")?,
        state: row.try_get("state")?,
        event_id: row.try_get("event_id")?,
        event_type: row.try_get("type")?,
        reason: row.try_get("reason")?,
        status: row.try_get("status")?,
        attempts: row.try_get("attempts")?,
        first_failure: time("first_failure")?,
        last_failure: time("last_failure")?,
        answer: row.try_get("answer")?,
        died_at: rfc3339(row.try_get("died_at")?),
        deaths: row.try_get("deaths")?,
        death: row.try_get("death")?,
        data_bytes: row.try_get("size")?,
    })
}
