//! `listener-service dead-letters …`: what an operator does with dead letters, through a running
//! listener.

mod admin;
mod print;
mod progress;

use std::{
    io::{Write as _, stdout},
    net::SocketAddr,
    path::Path,
};

use anyhow::{Context as _, bail, ensure};
use clap::{Args, Subcommand};
use serde_json::Value;
use url::form_urlencoded;

use crate::dead_letters::{
    command::{admin::Admin, progress::Progress},
    replay_job::Line,
};

/// Events that could not be delivered: look at them, replay them, discard them
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
        /// Its id, as listed
        id: String,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Write the data of one to standard output, byte for byte
    Data {
        /// Its id, as listed
        id: String,
    },
    /// Bring them back into the queues of their routes, for a first attempt
    Replay {
        /// Their ids, as listed; without one, those that the filters select
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
        /// Print a line of JSON for each step, instead of a progress bar
        #[arg(long)]
        json: bool,
    },
    /// Mark them as not to be replayed; they stay in the store
    Discard {
        /// Their ids, as listed; without one, those that the filters select
        ids: Vec<String>,
        #[command(flatten)]
        selection: Selection,
        /// Every dead letter
        #[arg(long, conflicts_with = "ids")]
        all: bool,
    },
}

/// Which dead letters are meant; all given filters must hold.
#[derive(Args, Debug)]
pub struct Selection {
    /// Of this route
    #[arg(long)]
    route: Option<String>,
    /// Of this event type; `order.*` for all that begins with `order.`
    #[arg(long = "type")]
    event_type: Option<String>,
    /// Of the event with this id
    #[arg(long)]
    event: Option<String>,
    /// Whose target answered this HTTP status
    #[arg(long)]
    status: Option<u16>,
    /// With this text in the reason or in the target's answer
    #[arg(long)]
    text: Option<String>,
    /// That died at this time or later (RFC 3339)
    #[arg(long)]
    since: Option<String>,
    /// That died before this time (RFC 3339)
    #[arg(long)]
    until: Option<String>,
}

impl Selection {
    fn query(&self) -> form_urlencoded::Serializer<'static, String> {
        let status = self.status.map(|status| status.to_string());
        let mut query = form_urlencoded::Serializer::new(String::new());
        for (name, value) in [
            ("route", &self.route),
            ("type", &self.event_type),
            ("event", &self.event),
            ("status", &status),
            ("q", &self.text),
            ("since", &self.since),
            ("until", &self.until),
        ] {
            if let Some(value) = value {
                query.append_pair(name, value);
            }
        }
        query
    }

    /// Ids and filters both would leave open which of the two is meant.
    fn check(&self, ids: &[String], all: bool) -> anyhow::Result<()> {
        let filters = !self.query().finish().is_empty();
        ensure!(ids.is_empty() || !filters, "give ids or filters, not both");
        ensure!(
            !ids.is_empty() || filters || all,
            "give ids, a filter, or --all for every dead letter"
        );
        Ok(())
    }
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
            Self::Show { id, json } => {
                print::letter(&admin.get(&format!("dead-letters/{id}")).await?, json)
            }
            Self::Data { id } => {
                let data = admin.get(&format!("dead-letters/{id}/data")).await?;
                Ok(stdout().lock().write_all(&data)?)
            }
            Self::Replay {
                ids,
                selection,
                all,
                discarded,
                rate,
                json,
            } => {
                selection.check(&ids, all || discarded)?;
                if ids.is_empty() {
                    let mut query = selection.query();
                    query.append_pair("rate", &rate.to_string());
                    query.extend_pairs((all || discarded).then_some(("all", "true")));
                    query.extend_pairs(discarded.then_some(("state", "discarded")));
                    replay_selected(&admin, &query.finish(), json).await
                } else {
                    one_by_one(&admin, &ids, "replay", "replayed").await
                }
            }
            Self::Discard {
                ids,
                selection,
                all,
            } => {
                selection.check(&ids, all)?;
                if ids.is_empty() {
                    let mut query = selection.query();
                    query.extend_pairs(all.then_some(("all", "true")));
                    discard_selected(&admin, &query.finish()).await
                } else {
                    one_by_one(&admin, &ids, "discard", "discarded").await
                }
            }
        }
    }
}

async fn one_by_one(
    admin: &Admin,
    ids: &[String],
    verb: &str,
    participle: &str,
) -> anyhow::Result<()> {
    let mut failed = 0;
    for id in ids {
        match admin.post(&format!("dead-letters/{id}/{verb}")).await {
            Ok(_answer) => writeln!(stdout(), "{id} {participle}")?,
            Err(error) => {
                failed += 1;
                writeln!(stdout(), "{id} not {participle}: {error:#}")?;
            }
        }
    }
    ensure!(failed == 0, "{failed} of {} not {participle}", ids.len());
    Ok(())
}

async fn discard_selected(admin: &Admin, query: &str) -> anyhow::Result<()> {
    let answer = admin.post(&format!("dead-letters/discard?{query}")).await?;
    let answer: Value = serde_json::from_slice(&answer)?;
    writeln!(stdout(), "{} discarded", answer["data"]["discarded"])?;
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
