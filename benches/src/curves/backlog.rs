//! A backlog of 1,000,000 events, drained while publishing goes on.

use std::time::Duration;

use anyhow::ensure;
use tokio::time::{Instant, interval};

use crate::{
    curves::{Curve, Point},
    event, forward,
    generator::Pace,
    lab::Lab,
    null_target::NullTarget,
    publish,
    stage::Stage,
    usage::{Meter, memory},
};

/// Events that wait for each second that is to be measured; 1,000,000 by default.
const PER_SECOND: u64 = 20_000;
const SECONDS: u16 = 50;
/// Meanwhile so many come in a second, as they did in the hour that it took to grow by default.
const PUBLISHED_PER_SECOND: u32 = 300;
const CONNECTIONS: usize = 8;
/// The backlog is gone when fewer wait.
const FEW: u64 = 100;
const LOOK: Duration = Duration::from_secs(1);
/// Until then it must be.
const DEADLINE: Duration = Duration::from_secs(900);

pub(super) async fn measure(lab: &Lab) -> anyhow::Result<Curve> {
    let stage = Stage::make(&lab.node).await?;
    let backlog = PER_SECOND * lab.plan.length(SECONDS).as_secs();
    lab.progress
        .set_message(format!("backlog: {backlog} events are published"));
    forward::fill(stage.amqp_url(), &stage.queue, backlog).await?;
    lab.rest().await?;
    lab.progress.set_message("backlog: it is drained");
    let mut broker = stage.broker(&[]).await;
    let target = NullTarget::start()?;
    let mut listener = stage
        .listener(&format!("http://{}/", target.addr), "")
        .await?;
    let mut load = publish::load(
        lab,
        broker.addr,
        CONNECTIONS,
        event::request(event::BYTES),
        SECONDS,
    );
    load.pace = Pace::Open {
        per_second: PUBLISHED_PER_SECOND,
    };
    load.warm_up = Duration::ZERO;
    load.length = DEADLINE;
    let meter = Meter::new([("its", broker.pid())]);
    let publishing = load.run(meter);
    let draining = async {
        let begun = Instant::now();
        let mut points = Vec::new();
        let mut look = interval(LOOK);
        loop {
            look.tick().await;
            let (waiting, delivered) = (stage.queue.ready().await?, target.requests());
            points.push(Point {
                at: format!("{:.0}", begun.elapsed().as_secs_f64()),
                x: begun.elapsed().as_secs_f64(),
                figures: vec![
                    ("events that wait".into(), waiting as f64),
                    ("events delivered".into(), delivered as f64),
                    (
                        "memory of the listener, MB".into(),
                        megabytes(listener.pid())?,
                    ),
                    ("memory of the broker, MB".into(), megabytes(broker.pid())?),
                    ("memory of RabbitMQ, MB".into(), megabytes(lab.node.pid())?),
                ],
            });
            ensure!(begun.elapsed() < DEADLINE, "{waiting} events still wait");
            if waiting < FEW && delivered >= backlog {
                return Ok(points);
            }
        }
    };
    let points = tokio::select! {
        points = draining => points?,
        ended = publishing => anyhow::bail!("publishing ended early: {:?}", ended?.refusal),
    };
    listener.kill().await;
    broker.kill().await;
    stage.strike().await;
    Ok(Curve {
        name: "backlog",
        text: format!(
            "{backlog} events of {} bytes wait in one quorum queue, the backlog of an hour at {} a second; then the listener \
             starts, while the broker goes on to publish {PUBLISHED_PER_SECOND} a second. Until fewer than {FEW} wait.",
            event::BYTES,
            backlog / 3600,
        ),
        axis: "seconds",
        points,
        is_linear: true,
        rows: 12,
    })
}

fn megabytes(pid: u32) -> anyhow::Result<f64> {
    Ok(memory(pid)? as f64 / 1e6)
}
