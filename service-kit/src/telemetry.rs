//! Logs on standard output, written by a thread of their own.
//!
//! A blocked standard output (a full pipe, a stopped terminal) costs log lines, never requests:
//! the queue to the writer is bounded and drops what does not fit.

use std::io::IsTerminal;

use anyhow::Context;
use clap::ValueEnum;
use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::EnvFilter;

/// Lines that may wait for a slow standard output before further ones are dropped.
const BUFFERED_LINES_MAX: usize = 16_384;

/// Applied on top of every filter: lapin logs a returned message with its whole body.
const NO_BODIES: &str = "lapin::returned_messages=error";

/// How a service logs; what it logs is in `RUST_LOG` (default `info`).
#[derive(clap::Args, Debug, Clone)]
pub struct TelemetryConfig {
    /// Form of the log lines: `pretty` for people, `json` for collectors
    #[arg(long, env, value_enum, default_value_t)]
    pub log_format: LogFormat,
}

/// Form of the log lines.
#[derive(ValueEnum, Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// One line of text per event.
    #[default]
    Pretty,
    /// One JSON object per event.
    Json,
}

/// Keeps the log writer alive; dropping it writes the lines that are still queued.
#[must_use = "logging stops when this is dropped: bind it to a variable of main"]
pub struct TelemetryGuard {
    _writer: WorkerGuard,
}

/// Installs the process-wide logger. Fails on a malformed `RUST_LOG` or when called twice.
pub fn init(config: &TelemetryConfig) -> anyhow::Result<TelemetryGuard> {
    let filter = match std::env::var("RUST_LOG") {
        Ok(directives) if !directives.is_empty() => {
            EnvFilter::try_new(&directives).context("RUST_LOG is not a list of log directives")?
        }
        _ => EnvFilter::new("info"),
    };
    let filter = filter.add_directive(NO_BODIES.parse().context("our own log directive")?);
    let (writer, guard) = NonBlockingBuilder::default()
        .lossy(true)
        .buffered_lines_limit(BUFFERED_LINES_MAX)
        .finish(std::io::stdout());
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stdout().is_terminal())
        .with_writer(writer);
    let installed = match config.log_format {
        LogFormat::Pretty => subscriber.try_init(),
        LogFormat::Json => subscriber.json().try_init(),
    };
    installed.map_err(|error| anyhow::anyhow!("cannot install the logger: {error}"))?;
    Ok(TelemetryGuard { _writer: guard })
}
