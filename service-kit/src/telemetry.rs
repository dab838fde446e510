//! Logs on standard output.

use std::io::{self, IsTerminal};

use anyhow::Context;
use clap::ValueEnum;
use tracing_subscriber::EnvFilter;

use crate::log_writer::LogWriter;

/// How a service logs. `RUST_LOG` selects what it logs (default `info`).
#[derive(clap::Args, Debug, Clone)]
pub struct TelemetryConfig {
    /// Format of log lines: `pretty` for people, `json` for collectors
    #[arg(long, env, value_enum, default_value_t)]
    pub log_format: LogFormat,
}

/// Format of log lines.
#[derive(ValueEnum, Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// One line of text per event
    #[default]
    Pretty,
    /// One JSON object per event
    Json,
}

/// Writes the last log lines when it is dropped, at the end of `main`.
#[must_use = "bind it to a variable of main, or the last log lines are lost"]
pub struct TelemetryGuard {
    writer: LogWriter,
}

/// Installs the process-wide logger. Fails on a malformed `RUST_LOG` or when called twice.
pub fn init(config: &TelemetryConfig) -> anyhow::Result<TelemetryGuard> {
    let filter = match std::env::var("RUST_LOG") {
        Ok(directives) if !directives.is_empty() => {
            EnvFilter::try_new(&directives).context("RUST_LOG is not a list of log directives")?
        }
        // lapin returns its errors to its callers, and also logs each of them three times.
        _ => EnvFilter::new("info,lapin=off"),
    };
    let writer = LogWriter::new(io::stdout()).context("cannot start the log writer")?;
    let lines = writer.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(io::stdout().is_terminal())
        .with_writer(move || lines.clone());
    let installed = match config.log_format {
        LogFormat::Pretty => subscriber.try_init(),
        LogFormat::Json => subscriber.json().try_init(),
    };
    installed.map_err(|error| anyhow::anyhow!("cannot install the logger: {error}"))?;
    Ok(TelemetryGuard { writer })
}

impl Drop for TelemetryGuard {
    fn drop(&mut self) {
        self.writer.drain();
    }
}
