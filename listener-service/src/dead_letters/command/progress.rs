//! The progress of a replay: a bar on a terminal, JSON lines for programs.

use std::{
    fmt,
    io::{Write as _, stdout},
    time::Duration,
};

use indicatif::{ProgressBar, ProgressState, ProgressStyle};

use crate::{dead_letters::replay_job::Line, shown::shown};

const TEMPLATE: &str = "{wide_bar} {pos}/{len}  {rate}  {eta} left{msg}";

pub(super) enum Progress {
    Json,
    /// Drawn on standard error, if that is a terminal.
    Bar(ProgressBar),
}

impl Progress {
    pub(super) fn new(json: bool) -> Self {
        if json {
            return Self::Json;
        }
        let style = ProgressStyle::with_template(TEMPLATE);
        let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
        let bar = ProgressBar::new(0);
        bar.set_style(style.with_key("rate", rate));
        bar.enable_steady_tick(Duration::from_millis(200));
        Self::Bar(bar)
    }

    /// Shows a line; `text` is its original text.
    pub(super) fn show(&mut self, line: &Line, text: &[u8]) -> std::io::Result<()> {
        let Self::Bar(bar) = self else {
            let mut out = stdout().lock();
            out.write_all(text)?;
            return out.write_all(b"\n");
        };
        match line {
            Line::Progress(counts) => {
                bar.set_length(counts.total);
                bar.set_position(counts.replayed + counts.failed);
                if counts.failed > 0 {
                    bar.set_message(format!("  {} failed", counts.failed));
                }
                Ok(())
            }
            Line::Failed { id, reason } => {
                bar.suspend(|| writeln!(stdout(), "{id} not replayed: {}", shown(reason)))
            }
            Line::Finished(counts) | Line::Stopped { counts, .. } => {
                bar.finish_and_clear();
                let (replayed, failed) = (counts.replayed, counts.failed);
                writeln!(
                    stdout(),
                    "{replayed} replayed, {failed} failed, of {}",
                    counts.total
                )
            }
        }
    }
}

fn rate(state: &ProgressState, out: &mut dyn fmt::Write) {
    let _ = write!(out, "{:.0}/s", state.per_sec()); // a text takes what is written
}
