//! Other people's stacks that do the same: `benches/peers`, found and prepared by
//! `scripts/bench-peers`.

use std::{env, net::SocketAddr, path::Path, process::Stdio};

use ::tests::{port, program::Program};
use anyhow::{Context as _, bail};
use tokio::process::Command;

/// The lines of `scripts/bench-peers`: a name, and the command that starts it.
const VARIABLE: &str = "BENCH_PEERS";

/// A program that answers `POST /handle` as the broker does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Peer {
    pub(crate) name: String,
    command: Vec<String>,
}

impl Peer {
    /// Those that are there; none without Node and Python.
    pub(crate) fn all() -> anyhow::Result<Vec<Self>> {
        let lines = env::var(VARIABLE).unwrap_or_default();
        lines.lines().map(Self::read).collect()
    }

    fn read(line: &str) -> anyhow::Result<Self> {
        let mut words = line.split_whitespace().map(str::to_owned);
        let name = words.next().context("an empty line among the peers")?;
        let command: Vec<_> = words.collect();
        if command.is_empty() {
            bail!("the peer {name} has no command");
        }
        Ok(Self { name, command })
    }

    /// Starts it, and waits until it can publish.
    pub(crate) async fn start(&self, amqp_url: &str) -> (SocketAddr, Program) {
        let addr = port::reserve();
        let mut command = self.command();
        command
            .env("PORT", addr.port().to_string())
            .env("AMQP_URL", amqp_url);
        let program = Program::start(&self.name, command);
        program.line("ready").await;
        (addr, program)
    }

    /// The versions that it prints.
    pub(crate) async fn versions(&self) -> anyhow::Result<String> {
        let mut command = self.command();
        let output = command.arg("--versions").stdin(Stdio::null()).output();
        let output = output.await.with_context(|| self.name.clone())?;
        let text = String::from_utf8_lossy(&output.stdout);
        Ok(text.trim().replace('\n', ", "))
    }

    fn command(&self) -> Command {
        let (program, arguments) = self.command.split_first().unwrap_or((&self.name, &[]));
        let mut command = Command::new(program);
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        command.args(arguments).current_dir(root);
        command
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_a_name_and_a_command() {
        let peer = Peer::read("fastify node main.js").unwrap();
        assert_eq!(peer.name, "fastify");
        assert_eq!(peer.command, ["node", "main.js"]);
        assert!(Peer::read("fastify").is_err());
        assert!(Peer::read("").is_err());
    }
}
