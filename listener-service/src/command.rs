//! What the binary does besides serving.

use std::{io, net::SocketAddr};

use clap::Subcommand;
use service_kit::healthcheck;

use crate::{Config, dead_letters::DeadLettersCommand};

/// A subcommand of the binary.
#[derive(Debug, Subcommand)]
#[expect(clippy::large_enum_variant, reason = "there is one, once")]
pub enum Command {
    /// Exit 0 when the service at the same address is ready
    Healthcheck,
    #[command(subcommand)]
    #[expect(missing_docs, reason = "the help is that of the subcommands")]
    DeadLetters(DeadLettersCommand),
}

impl Command {
    /// Runs it against the listener at `addr`.
    ///
    /// # Errors
    /// What went wrong, in words for the operator.
    pub async fn run(self, addr: SocketAddr, config: &Config) -> anyhow::Result<()> {
        match self {
            Self::Healthcheck => healthcheck::run(addr).await,
            Self::DeadLetters(command) => {
                let token_file = config.http.api_token_file.as_deref();
                match command.run(addr, token_file).await {
                    // Who read the beginning had enough, as `head` does.
                    Err(error) if is_broken_pipe(&error) => Ok(()),
                    result => result,
                }
            }
        }
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let error = error.downcast_ref::<io::Error>();
    error.is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}
