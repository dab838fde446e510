//! The same services as they are built otherwise: what a profile or an allocator costs or saves.

use std::{
    borrow::Cow,
    env,
    path::{Path, PathBuf},
};

use ::tests::process::Process;
use anyhow::{Context as _, ensure};

use crate::{
    event, forward,
    lab::Lab,
    publish::{self, megabytes},
    report::{Figure, Ratio, Report},
    stage::Stage,
};

/// The lines of `scripts/bench-builds`: the build that is shipped, and then the others.
const VARIABLE: &str = "BENCH_BUILDS";
const SECONDS: u16 = 4;
/// Of what the scenarios `publish` and `forward` find.
const FIGURES: [&str; 4] = [
    "events/s",
    "p99, ms",
    "own CPU, µs/event",
    "own peak memory, MB",
];
const COMPARED: [&str; 4] = [
    "broker events/s",
    "broker CPU, µs/event",
    "listener events/s",
    "listener CPU, µs/event",
];

/// Programs of the services, and what they are started with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Build {
    name: String,
    programs: PathBuf,
    environment: Vec<(String, String)>,
}

impl Build {
    fn all() -> anyhow::Result<Vec<Self>> {
        let lines = env::var(VARIABLE).unwrap_or_default();
        lines.lines().map(Self::read).collect()
    }

    /// A name, a directory, and variables that are set to something.
    fn read(line: &str) -> anyhow::Result<Self> {
        let mut words = line.split_whitespace();
        let name = words.next().context("an empty line among the builds")?;
        let programs = words
            .next()
            .with_context(|| format!("the build {name} has no directory"))?;
        let environment = words.map(|word| {
            let pair = word.split_once('=');
            let (variable, value) = pair.with_context(|| format!("{word} sets no variable"))?;
            Ok((variable.to_owned(), value.to_owned()))
        });
        Ok(Self {
            name: name.to_owned(),
            programs: programs.into(),
            environment: environment.collect::<anyhow::Result<_>>()?,
        })
    }

    /// Starts a service of this build.
    pub(crate) fn start(
        &self,
        service: &'static str,
        dir: &Path,
        environment: &[(&str, &str)],
    ) -> Process {
        let own = self.environment.iter();
        let own = own.map(|(name, value)| (name.as_str(), value.as_str()));
        let environment: Vec<_> = environment.iter().copied().chain(own).collect();
        Process::start_built(&self.programs, service, dir, &environment)
    }

    fn size(&self, service: &str) -> anyhow::Result<f64> {
        let program = self.programs.join(service);
        let about = std::fs::metadata(&program).with_context(|| program.display().to_string())?;
        Ok(megabytes(about.len()))
    }
}

pub(crate) async fn measure(lab: &Lab) -> anyhow::Result<Report> {
    let builds = Build::all()?;
    let Some((shipped, others)) = builds.split_first() else {
        anyhow::bail!("{VARIABLE} names no builds: scripts/bench makes and names them");
    };
    let ratios = others.iter().flat_map(|build| {
        COMPARED.map(|figure| Ratio {
            figure,
            of: build.name.clone().into(),
            to: shipped.name.clone().into(),
        })
    });
    let events = events(lab);
    let text = format!(
        "Broker and listener of each build in turn, as in the tables of what comes into a queue and out of it: \
         {} s of `POST /handle` on {} connections, and {events} events that the listener posts to a target.",
        lab.plan.length(SECONDS).as_secs(),
        publish::CONNECTIONS,
    );
    let report = Report::new("builds", text, ratios.collect());
    let contenders: Vec<_> = builds
        .iter()
        .map(|build| (Cow::from(build.name.clone()), build.clone()))
        .collect();
    lab.rounds(report, &contenders, async |build| {
        let stage = Stage::make(&lab.node).await?.with(build.clone());
        let figures = run(lab, &stage, build).await;
        stage.strike().await;
        figures
    })
    .await
}

fn events(lab: &Lab) -> u64 {
    forward::EVENTS_PER_SECOND * lab.plan.length(SECONDS).as_secs()
}

async fn run(lab: &Lab, stage: &Stage, build: &Build) -> anyhow::Result<Vec<Figure>> {
    let mut broker = stage.broker(&[]).await;
    let body = event::request(event::BYTES);
    let load = publish::load(lab, broker.addr, publish::CONNECTIONS, body, SECONDS);
    let of_broker = publish::http(lab, stage, load, broker.pid()).await;
    broker.kill().await;

    let events = events(lab);
    forward::fill(stage.amqp_url(), &stage.queue, events).await?;
    lab.rest().await?;
    let start = async |target: &str| stage.listener(target, "").await;
    let of_listener = forward::deliver(lab, events, start).await?;
    let left = stage.queue.purge().await?;
    ensure!(
        left == 0,
        "of {events} events {left} were left in the queue"
    );

    let mut figures = Vec::new();
    for (name, found) in [("broker", of_broker?), ("listener", of_listener)] {
        let found = found
            .into_iter()
            .filter(|(figure, _value)| FIGURES.contains(&figure.as_ref()));
        figures.extend(found.map(|(figure, value)| {
            let figure = figure.strip_prefix("own ").unwrap_or(&figure);
            (format!("{name} {figure}").into(), value)
        }));
        let size = build.size(&format!("{name}-service"))?;
        figures.push((format!("{name} program, MB").into(), size));
    }
    Ok(figures)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_a_name_a_directory_and_variables() {
        let build = Build::read("jemalloc /builds/libc LD_PRELOAD=libjemalloc.so.2").unwrap();
        assert_eq!(build.name, "jemalloc");
        assert_eq!(build.programs, Path::new("/builds/libc"));
        let preload = ("LD_PRELOAD".to_owned(), "libjemalloc.so.2".to_owned());
        assert_eq!(build.environment, [preload]);
        assert!(
            Build::read("fat /builds/fat")
                .unwrap()
                .environment
                .is_empty()
        );
        for line in ["", "fat", "fat /builds/fat LD_PRELOAD"] {
            assert!(Build::read(line).is_err(), "{line}");
        }
    }
}
