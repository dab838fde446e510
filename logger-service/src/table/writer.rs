//! The one task that writes. It gathers the events of concurrent requests into one commit, which
//! is what a synchronous disk can do a few hundred times a second; each request is answered after
//! the commit that holds its event.

use std::slice;

use tokio::sync::{mpsc, oneshot};

use crate::event::Event;
use crate::table::Table;
use crate::table::insert::Stored;

/// Events waiting for the writer; more than the requests a server works on at once by default.
const QUEUE_MAX: usize = 1024;
/// Rows of one commit. A statement is prepared for each number of rows, within sqlx's cache.
const BATCH_ROWS_MAX: usize = 64;
/// A batch takes no further event once it holds this much data.
const BATCH_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Why an event is not known to be stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum InsertError {
    /// Too many events are waiting.
    #[error("the writer's queue is full")]
    Busy,
    /// The database is away or failed. The event may be stored all the same.
    #[error("the database is unavailable")]
    Unavailable,
    /// The database is well and refuses this event.
    #[error("the database refuses this event")]
    Refused,
}

type Verdict = Result<Stored, InsertError>;

struct Job {
    event: Event,
    reply: oneshot::Sender<Verdict>,
}

/// Hands events to the writing task.
#[derive(Clone)]
pub(crate) struct Writer(mpsc::Sender<Job>);

impl Writer {
    /// Returns once the event is committed, or it is known that it is not.
    pub(crate) async fn insert(&self, event: Event) -> Verdict {
        let (reply, verdict) = oneshot::channel();
        let sent = self.0.try_send(Job { event, reply });
        sent.map_err(|_| InsertError::Busy)?;
        // The task drops a job unanswered only when it ends.
        verdict.await.unwrap_or(Err(InsertError::Unavailable))
    }
}

/// A writer and its task, which ends when all clones of the writer are dropped.
pub(crate) fn writer(table: Table) -> (Writer, impl Future<Output = ()>) {
    let (sender, jobs) = mpsc::channel(QUEUE_MAX);
    (Writer(sender), run(table, jobs))
}

async fn run(table: Table, mut jobs: mpsc::Receiver<Job>) {
    while let Some(first) = jobs.recv().await {
        let batch = gather(first, &mut jobs);
        let verdicts = store_all(&table, &batch).await;
        count(&verdicts);
        for (job, verdict) in batch.into_iter().zip(verdicts) {
            // The request may have been given up meanwhile.
            let _ = job.reply.send(verdict);
        }
    }
}

/// Takes what is waiting, up to the bounds of a batch. Nothing waits for a batch to fill: under
/// load the next one fills while this one is committed.
fn gather(first: Job, jobs: &mut mpsc::Receiver<Job>) -> Vec<Job> {
    let mut bytes = first.event.len();
    let mut batch = vec![first];
    while batch.len() < BATCH_ROWS_MAX && bytes < BATCH_BYTES_MAX {
        let Ok(job) = jobs.try_recv() else { break };
        bytes += job.event.len();
        batch.push(job);
    }
    // Nobody waits for these any more, and their sender will repeat them.
    batch.retain(|job| !job.reply.is_closed());
    batch
}

/// One verdict per job. If the database refuses the batch, the jobs are tried one by one, so that
/// a bad event fails alone.
async fn store_all(table: &Table, batch: &[Job]) -> Vec<Verdict> {
    if batch.is_empty() {
        return Vec::new();
    }
    match store(table, batch).await {
        Ok(stored) => stored.into_iter().map(Ok).collect(),
        Err(InsertError::Refused) if batch.len() > 1 => {
            let mut verdicts = Vec::with_capacity(batch.len());
            for job in batch {
                let stored = store(table, slice::from_ref(job)).await;
                verdicts.push(stored.map(|stored| stored[0]));
                if matches!(verdicts.last(), Some(Err(InsertError::Unavailable))) {
                    break;
                }
            }
            verdicts.resize(batch.len(), Err(InsertError::Unavailable));
            verdicts
        }
        Err(error) => vec![Err(error); batch.len()],
    }
}

async fn store(table: &Table, batch: &[Job]) -> Result<Vec<Stored>, InsertError> {
    let events: Vec<&Event> = batch.iter().map(|job| &job.event).collect();
    table.insert(&events).await.map_err(|error| {
        tracing::warn!(events = batch.len(), "cannot store events: {error}");
        if table.database.is_refusal(&error) {
            InsertError::Refused
        } else {
            InsertError::Unavailable
        }
    })
}

/// Counts a batch by what became of its events.
fn count(verdicts: &[Verdict]) {
    for outcome in ["new", "duplicate", "conflict", "refused", "unavailable"] {
        let events = verdicts.iter().filter(|verdict| name(verdict) == outcome);
        let events = u64::try_from(events.count()).unwrap_or(u64::MAX);
        if events > 0 {
            metrics::counter!("logger_events_total", "outcome" => outcome).increment(events);
        }
    }
}

fn name(verdict: &Verdict) -> &'static str {
    match verdict {
        Ok(Stored::New) => "new",
        Ok(Stored::Duplicate) => "duplicate",
        Ok(Stored::Conflict) => "conflict",
        Err(InsertError::Refused) => "refused",
        Err(InsertError::Busy | InsertError::Unavailable) => "unavailable",
    }
}

#[cfg(test)]
mod tests {
    use store::DatabaseUrl;
    use tempfile::TempDir;
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::event::Data;

    async fn table() -> (Table, TempDir) {
        let directory = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}/logger.db", directory.path().display());
        let table = Table::open(&DatabaseUrl::from(url.as_str())).unwrap();
        table
            .database
            .prepare(&CancellationToken::new(), |_| async { Ok(()) })
            .await;
        (table, directory)
    }

    fn job(id: &str) -> (Job, oneshot::Receiver<Verdict>) {
        let event = Event {
            id: id.to_owned(),
            event_type: "a".to_owned(),
            source: "b".to_owned(),
            name: None,
            subject: None,
            time_us: None,
            received_at_us: 0,
            content_type: None,
            content_encoding: None,
            decoded: None,
            data: Data::Text(id.to_owned()),
            attributes: "{}".to_owned(),
        };
        let (reply, verdict) = oneshot::channel();
        (Job { event, reply }, verdict)
    }

    #[tokio::test]
    async fn a_bad_row_fails_alone() {
        let (table, _directory) = table().await;
        let trigger = "CREATE TRIGGER refuse BEFORE INSERT ON events WHEN NEW.id = 'bad' \
                       BEGIN SELECT RAISE(ABORT, 'refused'); END";
        sqlx::raw_sql(trigger)
            .execute(table.database.pool().unwrap())
            .await
            .unwrap();
        let (batch, _verdicts): (Vec<_>, Vec<_>) =
            ["a", "bad", "b", "a"].map(job).into_iter().unzip();
        assert_eq!(
            store_all(&table, &batch).await,
            [
                Ok(Stored::New),
                Err(InsertError::Refused),
                Ok(Stored::New),
                Ok(Stored::Duplicate)
            ]
        );
    }

    #[tokio::test]
    async fn a_missing_table_is_no_fault_of_the_event() {
        let (table, _directory) = table().await;
        let pool = table.database.pool().unwrap();
        sqlx::raw_sql("DROP TABLE events")
            .execute(pool)
            .await
            .unwrap();
        let (job, _verdict) = job("a");
        assert_eq!(
            store_all(&table, &[job]).await,
            [Err(InsertError::Unavailable)]
        );
    }

    #[tokio::test]
    async fn a_full_queue_is_told_at_once() {
        let (table, _directory) = table().await;
        let (writer, writing) = writer(table);
        let mut waiting = Vec::new();
        for number in 0..QUEUE_MAX {
            let (job, verdict) = job(&number.to_string());
            writer.0.try_send(job).unwrap();
            waiting.push(verdict);
        }
        let (job, _verdict) = job("one too many");
        assert_eq!(writer.insert(job.event).await, Err(InsertError::Busy));
        drop(writer);
        writing.await;
        for verdict in waiting {
            assert_eq!(verdict.await.unwrap(), Ok(Stored::New));
        }
    }

    #[tokio::test]
    async fn a_batch_is_bounded_and_leaves_out_who_has_gone() {
        let (sender, mut jobs) = mpsc::channel(QUEUE_MAX);
        let (gone, _) = job("gone");
        let mut waiting = Vec::new();
        for number in 0..100 {
            let (job, verdict) = job(&number.to_string());
            sender.try_send(job).unwrap();
            waiting.push(verdict);
        }
        assert_eq!(gather(gone, &mut jobs).len(), BATCH_ROWS_MAX - 1);
        let (mut large, _verdict) = job("large");
        large.event.data = Data::Bytes(vec![0; BATCH_BYTES_MAX]);
        assert_eq!(gather(large, &mut jobs).len(), 1);
    }
}
