//! What the binary does besides serving.

use std::{io, net::SocketAddr, process::ExitCode};

use clap::Subcommand;
use service_kit::healthcheck;

use crate::{Config, check::CheckCommand, dead_letters::DeadLettersCommand};

/// A subcommand of the binary.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Exit 0 when the service at the same address is ready
    Healthcheck,
    #[command(subcommand)]
    #[expect(missing_docs, reason = "the help is that of the subcommands")]
    DeadLetters(DeadLettersCommand),
    #[expect(missing_docs, reason = "the help is that of the command")]
    Check(CheckCommand),
}

impl Command {
    /// Runs it, against the listener at `addr` where it needs one.
    ///
    /// # Errors
    /// What went wrong, in words for the operator.
    pub async fn run(self, addr: SocketAddr, config: &Config) -> anyhow::Result<ExitCode> {
        let done = match self {
            Self::Healthcheck => healthcheck::run(addr).await.map(|()| ExitCode::SUCCESS),
            Self::DeadLetters(command) => {
                let token_file = config.http.api_token_file.as_deref();
                let done = command.run(addr, token_file).await;
                done.map(|()| ExitCode::SUCCESS)
            }
            Self::Check(command) => command.run(config),
        };
        match done {
            // Who read the beginning had enough, as `head` does.
            Err(error) if is_broken_pipe(&error) => Ok(ExitCode::SUCCESS),
            done => done,
        }
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let error = error.downcast_ref::<io::Error>();
    error.is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}
