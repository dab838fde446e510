//! What a table was measured on.

use std::{fmt, process::Command, time::Duration};

use tests::{OrPanic as _, rabbitmq::Node};

/// What a reader needs to judge the figures, and to repeat them.
pub struct Versions {
    pub rabbitmq: String,
    erlang: String,
    rustc: String,
    commit: String,
    cores: usize,
    date: String,
    command: String,
    seed: u64,
    profile: &'static str,
    took: Duration,
}

impl Versions {
    /// Reads them; `took` is told when the run is over.
    pub async fn read(node: &Node, seed: u64, short: bool) -> Self {
        let (rabbitmq, erlang) = node.virtual_host().await.management.versions().await;
        let generation = rabbitmq.split('.').next().unwrap_or_default();
        let short = if short { " CHAOS=--short" } else { "" };
        let is_release =
            std::env::var("SERVICE_PROGRAMS").is_ok_and(|programs| programs.contains("release"));
        Self {
            erlang,
            rustc: output("rustc", &["--version"]),
            commit: output("git", &["describe", "--always", "--dirty"]),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            date: jiff::Timestamp::now().strftime("%Y-%m-%d").to_string(),
            command: format!("make chaos RABBITMQ={generation}{short}"),
            seed,
            profile: if is_release { "release" } else { "dev" },
            took: Duration::ZERO,
            rabbitmq,
        }
    }

    /// The same, of a run that took so long.
    pub fn after(self, took: Duration) -> Self {
        Self { took, ..self }
    }
}

impl fmt::Display for Versions {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "RabbitMQ {}, Erlang {}, {}; commit {}, services built by the {} profile; \
             {} cores, shared by all processes; {}; `{}`, {} min, seed {}.",
            self.rabbitmq,
            self.erlang,
            self.rustc,
            self.commit,
            self.profile,
            self.cores,
            self.date,
            self.command,
            self.took.as_secs().div_ceil(60),
            self.seed,
        )
    }
}

fn output(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    let text = String::from_utf8(output.or_panic(program).stdout).or_panic(program);
    text.trim().to_owned()
}
