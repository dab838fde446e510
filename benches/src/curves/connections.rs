//! The connections that requests come on, from 1 to 1,000.

use crate::{
    curves::{Curve, Point, pick},
    event,
    lab::Lab,
    publish,
    stage::Stage,
};

const CONNECTIONS: [usize; 7] = [1, 4, 16, 64, 256, 512, 1_000];
const SECONDS: u16 = 4;
/// As many requests at one time as the largest number of connections; by default 512.
const IN_FLIGHT_MAX: &str = "1024";

/// By the names that they are measured under, and those that they are shown by.
const FIGURES: [(&str, &str); 5] = [
    ("events/s", "events/s"),
    ("p50, ms", "p50, ms"),
    ("p99, ms", "p99, ms"),
    ("own CPU, µs/event", "CPU of the broker, µs/event"),
    ("own peak memory, MB", "peak memory of the broker, MB"),
];

pub(super) async fn measure(lab: &Lab) -> anyhow::Result<Curve> {
    let stage = Stage::make(&lab.node).await?;
    let mut points = Vec::new();
    lab.progress.inc_length(CONNECTIONS.len() as u64);
    for connections in CONNECTIONS {
        lab.progress
            .set_message(format!("connections: {connections}"));
        lab.rest().await?;
        let mut broker = stage.broker(&[("MAX_IN_FLIGHT", IN_FLIGHT_MAX)]).await;
        let body = event::request(event::BYTES);
        let load = publish::load(lab, broker.addr, connections, body, SECONDS);
        let figures = publish::http(lab, &stage, load, broker.pid()).await?;
        broker.kill().await;
        points.push(Point {
            at: connections.to_string(),
            x: connections as f64,
            figures: pick(&figures, &FIGURES)?,
        });
        lab.progress.inc(1);
    }
    stage.strike().await;
    Ok(Curve {
        name: "connections",
        text: format!(
            "`POST /handle` with {} bytes of data, a broker of its own for each number of connections, with \
             `MAX_IN_FLIGHT` at {IN_FLIGHT_MAX}.",
            event::BYTES
        ),
        axis: "connections",
        rows: points.len(),
        points,
        is_linear: false,
    })
}
