//! From a client into the queue: the broker, its peers, and the ceiling without HTTP.

use std::{borrow::Cow, net::SocketAddr};

use anyhow::{Context as _, bail};
use bytes::Bytes;
use tests::program::Program;
use tokio::process::Command;

use crate::{
    ceiling::Kind,
    event,
    generator::{Load, Pace},
    lab::Lab,
    peer::Peer,
    report::{Figure, Ratio, Report},
    stage::Stage,
    tally::Outcome,
    usage::{Meter, peak_memory},
};

const SECONDS: u16 = 8;
pub(crate) const CONNECTIONS: usize = 64;
const BROKER: &str = "broker-service";
const CEILING: &str = "publisher, 64 outstanding";

#[derive(Clone, Debug)]
enum Contender {
    Ceiling(Kind, usize),
    Broker,
    Peer(Peer),
}

pub(crate) async fn measure(lab: &Lab) -> anyhow::Result<Report> {
    let stage = Stage::make(&lab.node).await?;
    let contenders = contenders(&lab.peers);
    let report = Report::new("publish", text(lab), ratios(&lab.peers));
    let mut report = lab
        .rounds(report, &contenders, async |contender| {
            // A run that failed may have left something.
            stage.queue.purge().await?;
            match contender {
                Contender::Ceiling(kind, outstanding) => {
                    ceiling(lab, &stage, *kind, *outstanding).await
                }
                Contender::Broker => {
                    let mut broker = stage.broker(&[]).await;
                    let load = load(
                        lab,
                        broker.addr,
                        CONNECTIONS,
                        event::request(event::BYTES),
                        SECONDS,
                    );
                    let figures = http(lab, &stage, load, broker.pid()).await;
                    broker.kill().await;
                    figures
                }
                Contender::Peer(peer) => {
                    let (addr, program) = peer.start(stage.amqp_url()).await;
                    let load = load(
                        lab,
                        addr,
                        CONNECTIONS,
                        event::request(event::BYTES),
                        SECONDS,
                    );
                    let figures = http(lab, &stage, load, program.pid()).await;
                    program.kill().await;
                    figures
                }
            }
        })
        .await?;
    stage.strike().await;
    for missing in ["fastify", "fastapi"] {
        if !lab.peers.iter().any(|peer| peer.name == missing) {
            report.complaints.push(format!(
                "The peer {missing} was left out: scripts/bench-peers did not name it."
            ));
        }
    }
    Ok(report)
}

fn contenders(peers: &[Peer]) -> Vec<(Cow<'static, str>, Contender)> {
    let ours = [
        (CEILING.into(), Contender::Ceiling(Kind::Publisher, 64)),
        (
            "publisher, 512 outstanding".into(),
            Contender::Ceiling(Kind::Publisher, 512),
        ),
        (
            "lapin, 512 outstanding".into(),
            Contender::Ceiling(Kind::Lapin, 512),
        ),
        (BROKER.into(), Contender::Broker),
    ];
    let peers = peers.iter().cloned();
    let peers = peers.map(|peer| (peer.name.clone().into(), Contender::Peer(peer)));
    ours.into_iter().chain(peers).collect()
}

fn ratios(peers: &[Peer]) -> Vec<Ratio> {
    let ratio = |figure, to: &str| Ratio {
        figure,
        of: BROKER.into(),
        to: to.to_owned().into(),
    };
    let mut ratios = vec![ratio("events/s", CEILING)];
    for peer in peers {
        ratios.push(ratio("events/s", &peer.name));
        ratios.push(ratio("p99, ms", &peer.name));
        ratios.push(ratio("own CPU, µs/event", &peer.name));
    }
    ratios
}

fn text(lab: &Lab) -> String {
    format!(
        "Events of {} bytes of data into one quorum queue, each confirmed: by `POST /handle` with the action \
         `log` on {CONNECTIONS} connections, each of which sends when it was answered; and without HTTP, by the \
         messaging library's publisher (mandatory, with a verdict for each) and by lapin alone (neither). \
         {} s each after {} s that do not count. Each run begins once RabbitMQ has come to rest; after it the queue held as many events as were accepted. \
         Latencies are those of a closed loop; the corrected ones add the requests that were not made while one \
         was late.",
        event::BYTES,
        lab.plan.length(SECONDS).as_secs(),
        lab.plan.warm_up(SECONDS).as_secs(),
    )
}

/// Requests with `body`, each after the answer to the one before.
pub(crate) fn load(
    lab: &Lab,
    addr: SocketAddr,
    connections: usize,
    body: Bytes,
    seconds: u16,
) -> Load {
    Load {
        addr,
        connections,
        pace: Pace::Closed,
        body,
        warm_up: lab.plan.warm_up(seconds),
        length: lab.plan.length(seconds),
    }
}

/// Puts a load on the process `pid`, and checks what the queue holds then.
pub(crate) async fn http(
    lab: &Lab,
    stage: &Stage,
    load: Load,
    pid: u32,
) -> anyhow::Result<Vec<Figure>> {
    let meter = Meter::new([
        ("own", pid),
        ("RabbitMQ", lab.node.pid()),
        ("generator", std::process::id()),
    ]);
    let outcome = load.run(meter).await?;
    let peak = peak_memory(pid)?;
    figures(stage, &outcome, peak).await
}

async fn ceiling(
    lab: &Lab,
    stage: &Stage,
    kind: Kind,
    outstanding: usize,
) -> anyhow::Result<Vec<Figure>> {
    let millis = |time: std::time::Duration| time.as_millis().to_string();
    let mut command = Command::new(std::env::current_exe()?);
    command
        .args([
            "ceiling",
            kind.name(),
            "--outstanding",
            &outstanding.to_string(),
        ])
        .args(["--rabbitmq-pid", &lab.node.pid().to_string()])
        .args(["--warm-up-ms", &millis(lab.plan.warm_up(SECONDS))])
        .args(["--length-ms", &millis(lab.plan.length(SECONDS))])
        .env("AMQP_URL", stage.amqp_url());
    let lines = Program::start("ceiling", command).succeed().await;
    let line = lines.iter().find(|line| line.starts_with('['));
    let line = line.with_context(|| format!("the ceiling printed {lines:?}"))?;
    let measured: (Outcome, u64) = serde_json::from_str(line).with_context(|| line.clone())?;
    let (outcome, peak) = measured;
    figures(stage, &outcome, peak).await
}

/// Checks an outcome against the queue's content, and against forbidden answers.
async fn figures(stage: &Stage, outcome: &Outcome, peak: u64) -> anyhow::Result<Vec<Figure>> {
    if let Some(refusal) = &outcome.refusal {
        bail!(
            "{} requests were not accepted, the first one: {refusal}",
            outcome.refused
        );
    }
    stage.check_held(outcome.accepted).await?;
    let mut figures: Vec<Figure> = vec![
        ("events/s".into(), outcome.events as f64 / outcome.seconds),
        ("p50, ms".into(), outcome.latency.p50),
        ("p99, ms".into(), outcome.latency.p99),
        ("p99.9, ms".into(), outcome.latency.p999),
    ];
    if let Some(corrected) = outcome.corrected {
        figures.push(("p99 corrected, ms".into(), corrected.p99));
        figures.push(("p99.9 corrected, ms".into(), corrected.p999));
    }
    figures.push(("own peak memory, MB".into(), megabytes(peak)));
    figures.extend(outcome.cpu_figures());
    Ok(figures)
}

pub(crate) fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}
