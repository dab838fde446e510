//! What the figures were measured on.

use std::{fmt, process::Command};

use anyhow::Context as _;

use tests::rabbitmq::Node;

use crate::{Scenario, lab::Plan, peer::Peer};

/// What a reader needs to judge the figures, and to repeat them.
#[derive(Clone, Debug, serde::Serialize)]
pub(crate) struct Versions {
    rabbitmq: String,
    erlang: String,
    rustc: String,
    commit: String,
    peers: Vec<String>,
    cores: usize,
    processor: String,
    /// Of other programs, before anything is started.
    load: String,
    date: String,
}

/// What counts for one scenario.
#[derive(Debug, serde::Serialize)]
pub(crate) struct Footnote {
    #[serde(flatten)]
    versions: Versions,
    /// What the figures are.
    figures: &'static str,
    /// To measure it again.
    command: String,
}

impl Versions {
    /// Before anything is measured or written, which would change the commit and the load.
    pub(crate) async fn read(load: String, node: &Node, peers: &[Peer]) -> anyhow::Result<Self> {
        let (rabbitmq, erlang) = node.virtual_host().await.management.versions().await;
        let mut of_peers = Vec::new();
        for peer in peers {
            of_peers.push(peer.versions().await?);
        }
        Ok(Self {
            rabbitmq,
            erlang,
            rustc: output("rustc", &["--version"])?,
            commit: output("git", &["describe", "--always", "--dirty"])?,
            peers: of_peers,
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            processor: processor(),
            load,
            date: jiff::Timestamp::now().strftime("%Y-%m-%d").to_string(),
        })
    }

    /// For the figures of a scenario.
    pub(crate) fn of(&self, scenario: Scenario, name: &str, plan: Plan) -> Footnote {
        let mut versions = self.clone();
        if !matches!(scenario, Scenario::Publish) {
            versions.peers.clear();
        }
        let mut command = "scripts/bench".to_owned();
        let figures = if matches!(scenario, Scenario::Curves) {
            "One run each"
        } else {
            command += &format!(" --rounds {}", plan.rounds);
            "Medians (least–most)"
        };
        if let Some(seconds) = plan.seconds {
            command += &format!(" --seconds {seconds}");
        }
        command += &format!(" {name}");
        Footnote {
            versions,
            figures,
            command,
        }
    }
}

impl fmt::Display for Footnote {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            figures, command, ..
        } = self;
        let Versions {
            rabbitmq,
            erlang,
            rustc,
            commit,
            peers,
            cores,
            processor,
            load,
            date,
        } = &self.versions;
        write!(
            formatter,
            "{figures}. RabbitMQ {rabbitmq} with Erlang {erlang}, {rustc}, commit {commit}, release builds",
        )?;
        for peer in peers {
            write!(formatter, "; {peer}")?;
        }
        write!(
            formatter,
            ". All processes on one machine of {cores} cores ({processor}), over loopback, with a load of {load} from others before the start; {date}; `{command}`."
        )
    }
}

/// The load average of the last minute, from Linux.
pub(crate) fn load() -> String {
    let averages = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let minute = averages.split(' ').next();
    minute.unwrap_or_default().to_owned()
}

/// The model of the processor, from Linux.
fn processor() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let line = info
        .lines()
        .find_map(|line| line.strip_prefix("model name"));
    let model = line.and_then(|line| line.split_once(':'));
    model.map_or_else(
        || "unknown".to_owned(),
        |(_, model)| model.trim().to_owned(),
    )
}

fn output(program: &str, arguments: &[&str]) -> anyhow::Result<String> {
    let output = Command::new(program).args(arguments).output();
    let text = String::from_utf8(output.with_context(|| program.to_owned())?.stdout)?;
    Ok(text.trim().to_owned())
}
