//! The size of an event, from 256 bytes to 1 MiB.

use crate::{
    curves::{Curve, Point, figure, pick},
    event,
    lab::Lab,
    publish,
    stage::Stage,
};

const SIZES: [(&str, usize); 7] = [
    ("256 B", 256),
    ("1 KiB", 1 << 10),
    ("4 KiB", 4 << 10),
    ("16 KiB", 16 << 10),
    ("64 KiB", 64 << 10),
    ("256 KiB", 256 << 10),
    ("1 MiB", 1 << 20),
];
const CONNECTIONS: usize = 64;
const SECONDS: u16 = 4;
/// Room for the largest event in its envelope; by default a request may have 1 MiB in all.
const BODY_BYTES_MAX: &str = "2097152";

/// By the names that they are measured under, and those that they are shown by.
const FIGURES: [(&str, &str); 4] = [
    ("events/s", "events/s"),
    ("p99, ms", "p99, ms"),
    ("own CPU, µs/event", "CPU of the broker, µs/event"),
    ("own peak memory, MB", "peak memory of the broker, MB"),
];

pub(super) async fn measure(lab: &Lab) -> anyhow::Result<Curve> {
    let stage = Stage::make(&lab.node).await?;
    let mut points = Vec::new();
    lab.progress.inc_length(SIZES.len() as u64);
    for (name, bytes) in SIZES {
        lab.progress.set_message(format!("size: {name}"));
        lab.rest().await?;
        let mut broker = stage.broker(&[("MAX_BODY_BYTES", BODY_BYTES_MAX)]).await;
        let body = event::request(bytes);
        let load = publish::load(lab, broker.addr, CONNECTIONS, body, SECONDS);
        let figures = publish::http(lab, &stage, load, broker.pid()).await?;
        broker.kill().await;
        points.push(Point {
            at: name.to_owned(),
            x: bytes as f64,
            figures: [
                vec![(
                    "MB/s".into(),
                    figure(&figures, "events/s")? * bytes as f64 / 1e6,
                )],
                pick(&figures, &FIGURES)?,
            ]
            .concat(),
        });
        lab.progress.inc(1);
    }
    stage.strike().await;
    Ok(Curve {
        name: "size",
        text: format!(
            "`POST /handle` on {CONNECTIONS} connections, a broker of its own for each size, with \
             `MAX_BODY_BYTES` at 2 MiB."
        ),
        axis: "size of an event's data",
        rows: points.len(),
        points,
        is_linear: false,
    })
}
