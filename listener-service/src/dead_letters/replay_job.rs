//! Replaying many dead letters, at a bounded rate, with lines that tell how far it is.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::{
    sync::mpsc,
    task::JoinSet,
    time::{Instant, Interval, MissedTickBehavior, interval},
};
use tracing::info;

use crate::dead_letters::{
    filter::Filter,
    patience::patiently,
    replay::{ReplayError, Replayer},
    store::StoreError,
};

/// Replays under way at one time.
const CONCURRENCY: usize = 16;
const PAGE: usize = 100;
/// Between two lines that only count.
const PROGRESS: Duration = Duration::from_millis(200);

/// A line of the answer to `POST /dead-letters/replay`.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "event")]
pub(super) enum Line {
    /// How far it is.
    Progress(Counts),
    /// One that was not replayed, and stays dead.
    Failed { id: String, reason: String },
    /// The last line of a job that came to its end.
    Finished(Counts),
    /// The last line of a job that did not.
    Stopped {
        #[serde(flatten)]
        counts: Counts,
        reason: String,
    },
}

#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub(super) struct Counts {
    pub(super) replayed: u64,
    pub(super) failed: u64,
    /// Dead letters that the filter found when the job began.
    pub(super) total: u64,
}

/// A job under way. It ends when `lines` are no longer read: what was started is finished then,
/// and all else stays dead.
pub(super) struct ReplayJob {
    replayer: Replayer,
    filter: Filter,
    lines: mpsc::Sender<Line>,
    ticks: Interval,
    under_way: JoinSet<(String, Result<(), ReplayError>)>,
    counts: Counts,
    told: Instant,
}

/// Why a job ends early.
enum Stop {
    /// Nobody reads the lines any more.
    Unread,
    /// The reason to tell.
    Because(String),
}

impl ReplayJob {
    pub(super) fn new(replayer: Replayer, filter: Filter, lines: mpsc::Sender<Line>) -> Self {
        let mut ticks = interval(Duration::from_secs(1) / filter.rate);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            replayer,
            filter,
            lines,
            ticks,
            under_way: JoinSet::new(),
            counts: Counts::default(),
            told: Instant::now(),
        }
    }

    pub(super) async fn run(mut self) {
        let mut stop = self.pages().await.err();
        // One of these that was not counted is one that the job did not come to the end of.
        while let Some(done) = self.under_way.join_next().await {
            let counted = self.count(done).await;
            stop = stop.or(counted.err());
        }
        let counts = self.counts;
        let Counts {
            replayed,
            failed,
            total,
        } = counts;
        let (last, end) = match stop {
            None => (Some(Line::Finished(counts)), "finished"),
            Some(Stop::Because(reason)) => (Some(Line::Stopped { counts, reason }), "stopped"),
            Some(Stop::Unread) => (None, "its client has gone"),
        };
        info!(replayed, failed, total, end, "a replay of many has ended");
        if let Some(last) = last {
            let _ = self.lines.send(last).await;
        }
    }

    /// Every dead letter is seen once: a page goes on where the one before it ended, and one that
    /// dies again keeps its place. So a job ends, whatever becomes of what it replays.
    async fn pages(&mut self) -> Result<(), Stop> {
        let mut cursor: Option<String> = None;
        loop {
            let query = self.filter.page(cursor.as_deref(), PAGE);
            let read = || self.replayer.store.page(&query);
            let page = patiently(&self.replayer.shutdown, StoreError::is_passing, read).await;
            let page = page.map_err(|error| Stop::Because(error.to_string()))?;
            if cursor.is_none() {
                self.counts.total = page.total;
                self.send(Line::Progress(self.counts)).await?;
            }
            for letter in page.dead_letters {
                self.start(letter.id).await?;
            }
            cursor = match page.next_cursor {
                Some(next) => Some(next),
                None => return Ok(()),
            };
        }
    }

    async fn start(&mut self, id: String) -> Result<(), Stop> {
        while self.under_way.len() >= CONCURRENCY {
            if let Some(done) = self.under_way.join_next().await {
                self.count(done).await?;
            }
        }
        while let Some(done) = self.under_way.try_join_next() {
            self.count(done).await?;
        }
        tokio::select! {
            _ = self.ticks.tick() => {}
            () = self.lines.closed() => return Err(Stop::Unread),
            () = self.replayer.shutdown.cancelled() => {
                return Err(Stop::Because("the listener stops".to_owned()));
            }
        }
        let replayer = self.replayer.clone();
        self.under_way.spawn(async move {
            let replay = || replayer.replay(&id, false);
            let replayed = patiently(&replayer.shutdown, ReplayError::is_passing, replay).await;
            (id, replayed)
        });
        Ok(())
    }

    async fn count(
        &mut self,
        done: Result<(String, Result<(), ReplayError>), tokio::task::JoinError>,
    ) -> Result<(), Stop> {
        let (id, replayed) = done.map_err(|error| Stop::Because(error.to_string()))?;
        match replayed {
            // Somebody else replayed it meanwhile.
            Ok(()) | Err(ReplayError::Replayed) => self.counts.replayed += 1,
            // It speaks of everything, not of this one, which stays dead like all that follow.
            Err(error) if error.is_passing() => return Err(Stop::Because(error.to_string())),
            Err(error) => {
                self.counts.failed += 1;
                let reason = error.to_string();
                self.send(Line::Failed { id, reason }).await?;
            }
        }
        if self.told.elapsed() >= PROGRESS {
            self.told = Instant::now();
            self.send(Line::Progress(self.counts)).await?;
        }
        Ok(())
    }

    async fn send(&self, line: Line) -> Result<(), Stop> {
        self.lines.send(line).await.map_err(|_unread| Stop::Unread)
    }
}
