//! `listener-service dead-letters …`: what an operator does with dead letters, through a running
//! listener.

mod admin;
mod print;
mod progress;
mod selection;

use std::{
    io::{Write as _, stdout},
    net::SocketAddr,
    path::Path,
};

use anyhow::{Context as _, bail, ensure};
use bytes::Bytes;
use clap::Subcommand;
use serde_json::{Value, json};

use crate::dead_letters::{
    command::{
        admin::{Admin, Found},
        progress::Progress,
        selection::Selection,
    },
    letter::segment,
    replay_job::Line,
    store::StoreError,
};
use crate::shown::shown;

/// Events that could not be delivered: look at them, replay them, discard them
///
/// Asks the listener at LISTENER_ADDR (or `listener-service --addr … dead-letters …`), with the
/// token of API_TOKEN_FILE where one is set.
#[derive(Debug, Subcommand)]
pub enum DeadLettersCommand {
    /// List them, newest first
    List {
        #[command(flatten)]
        selection: Selection,
        /// dead, replayed, discarded or any
        #[arg(long, default_value = "dead")]
        state: String,
        /// How many, at most 500
        #[arg(long, default_value_t = 50)]
        limit: u16,
        /// Where to go on: the next_cursor of the list before
        #[arg(long)]
        cursor: Option<String>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Show one with its reason and its data
    Show {
        /// Its id or its event's, as listed
        id: String,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Write the data of one to standard output, byte for byte
    Data {
        /// Its id or its event's, as listed
        id: String,
    },
    /// Bring them back into the queues of their routes, for a first attempt
    Replay {
        /// Their ids or their events', as listed; without one, those that the filters select
        ids: Vec<String>,
        #[command(flatten)]
        selection: Selection,
        /// Every dead letter
        #[arg(long, conflicts_with = "ids")]
        all: bool,
        /// Replay those that were discarded instead
        #[arg(long, conflicts_with = "ids")]
        discarded: bool,
        /// How many a second, at most 1000
        #[arg(long, default_value_t = 50)]
        rate: u32,
        /// Also what was replayed before, for instance into a queue that was deleted since
        #[arg(long, requires = "ids")]
        again: bool,
        /// Print a line of JSON for each step, instead of a progress bar
        #[arg(long)]
        json: bool,
    },
    /// Mark them as not to be replayed; they stay in the store
    Discard {
        /// Their ids or their events', as listed; without one, those that the filters select
        ids: Vec<String>,
        #[command(flatten)]
        selection: Selection,
        /// Every dead letter
        #[arg(long, conflicts_with = "ids")]
        all: bool,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

impl DeadLettersCommand {
    /// Runs against the listener at `addr`, with the suite's token where there is one.
    ///
    /// # Errors
    /// What went wrong, in words for the operator; also when some were not replayed.
    pub async fn run(self, addr: SocketAddr, token_file: Option<&Path>) -> anyhow::Result<()> {
        let admin = Admin::new(addr, token_file)?;
        match self {
            Self::List {
                selection,
                state,
                limit,
                cursor,
                json,
            } => {
                let mut query = selection.query();
                query.append_pair("state", &state);
                query.append_pair("limit", &limit.to_string());
                query.extend_pairs(cursor.map(|cursor| ("cursor", cursor)));
                let path = format!("dead-letters?{}", query.finish());
                print::list(&admin.get(&path).await?, json)
            }
            Self::Show { id, json } => match admin.one(&letter(&id, "")?).await? {
                Found::One(found) => print::letter(&found, json),
                Found::Several(choices) => print::list(&choices, json),
            },
            Self::Data { id } => match admin.one(&letter(&id, "/data")?).await? {
                Found::One(data) => Ok(stdout().lock().write_all(&data)?),
                Found::Several(_) => bail!("{}", StoreError::Several(Bytes::new())),
            },
            Self::Replay {
                ids,
                selection,
                all,
                discarded,
                rate,
                again,
                json,
            } => {
                selection.check(&ids, all, discarded)?;
                if ids.is_empty() {
                    let mut query = selection.query();
                    query.append_pair("rate", &rate.to_string());
                    query.extend_pairs((all || discarded).then_some(("all", "true")));
                    query.extend_pairs(discarded.then_some(("state", "discarded")));
                    replay_selected(&admin, &query.finish(), json).await
                } else {
                    let verb = if again {
                        "/replay?again=true"
                    } else {
                        "/replay"
                    };
                    one_by_one(&admin, &ids, verb, "replayed", json).await
                }
            }
            Self::Discard {
                ids,
                selection,
                all,
                json,
            } => {
                selection.check(&ids, all, false)?;
                if ids.is_empty() {
                    let mut query = selection.query();
                    query.extend_pairs(all.then_some(("all", "true")));
                    discard_selected(&admin, &query.finish(), json).await
                } else {
                    one_by_one(&admin, &ids, "/discard", "discarded", json).await
                }
            }
        }
    }
}

/// The path of a dead letter, by its own id or its event's.
fn letter(id: &str, rest: &str) -> anyhow::Result<String> {
    let segment = segment(id).ok_or(StoreError::NotFound)?;
    Ok(format!("dead-letters/{segment}{rest}"))
}

async fn one_by_one(
    admin: &Admin,
    ids: &[String],
    verb: &str,
    participle: &str,
    json: bool,
) -> anyhow::Result<()> {
    let mut failed = 0;
    for id in ids {
        let done = async { admin.post(&letter(id, verb)?).await }.await;
        failed += usize::from(done.is_err());
        let mut out = stdout().lock();
        match done {
            Ok(_) if json => writeln!(out, "{}", json!({"event": participle, "id": id}))?,
            Ok(_) => writeln!(out, "{id} {participle}")?,
            Err(error) if json => {
                let reason = format!("{error:#}");
                let line = json!({"event": "failed", "id": id, "reason": reason});
                writeln!(out, "{line}")?;
            }
            Err(error) => writeln!(out, "{} not {participle}: {error:#}", shown(id))?,
        }
    }
    ensure!(failed == 0, "{failed} of {} not {participle}", ids.len());
    Ok(())
}

async fn discard_selected(admin: &Admin, query: &str, json: bool) -> anyhow::Result<()> {
    let answer = admin.post(&format!("dead-letters/discard?{query}")).await?;
    let answer: Value = serde_json::from_slice(&answer)?;
    match &answer["data"] {
        data if json => writeln!(stdout(), "{data}")?,
        data => writeln!(stdout(), "{} discarded", data["discarded"])?,
    }
    Ok(())
}

/// Follows the job to its end.
async fn replay_selected(admin: &Admin, query: &str, json: bool) -> anyhow::Result<()> {
    let mut lines = admin.lines(&format!("dead-letters/replay?{query}")).await?;
    let mut progress = Progress::new(json);
    while let Some(text) = lines.next().await? {
        let line: Line = serde_json::from_slice(&text).context("a line of the listener")?;
        progress.show(&line, &text)?;
        match line {
            Line::Progress(_) | Line::Failed { .. } => {}
            Line::Finished(counts) => {
                ensure!(counts.failed == 0, "{} stay dead", counts.failed);
                return Ok(());
            }
            Line::Stopped { reason, .. } => {
                bail!("stopped: {reason}; what was not replayed stays dead, so run this again");
            }
        }
    }
    bail!("the listener went away; what was not replayed stays dead, so run this again")
}
