//! The routes of a listener, from 1 to 64, each of which gets every event.

use std::fmt::Write as _;

use messaging::topology::route_queue;

use crate::{
    curves::{Curve, Point, pick},
    event, forward,
    lab::Lab,
    queue::Queue,
    stage::Stage,
};

const ROUTES: [u64; 7] = [1, 2, 4, 8, 16, 32, 64];
/// Deliveries of all routes together, for each second that is to be measured.
const PER_SECOND: u64 = 16_000;
const SECONDS: u16 = 4;

/// By the names that they are measured under, and those that they are shown by.
const FIGURES: [(&str, &str); 3] = [
    ("events/s", "deliveries/s"),
    ("own CPU, µs/event", "CPU of the listener, µs/delivery"),
    ("own peak memory, MB", "peak memory of the listener, MB"),
];

pub(super) async fn measure(lab: &Lab) -> anyhow::Result<Curve> {
    let mut points = Vec::new();
    lab.progress.inc_length(ROUTES.len() as u64);
    for routes in ROUTES {
        lab.progress.set_message(format!("routes: {routes}"));
        points.push(point(lab, routes).await?);
        lab.progress.inc(1);
    }
    Ok(Curve {
        name: "routes",
        text: format!(
            "Events of {} bytes wait in the quorum queues of all routes, each of which is bound to all of them; then \
             one listener-service starts, with all routes as they are by default, and delivers to one target that \
             answers at once. The events are fewer the more routes there are, the deliveries always as many.",
            event::BYTES
        ),
        axis: "routes",
        rows: points.len(),
        points,
        is_linear: false,
    })
}

async fn point(lab: &Lab, routes: u64) -> anyhow::Result<Point> {
    let stage = Stage::make(&lab.node).await?;
    // Only the routes of this point get the events.
    stage.queue.delete().await?;
    let text = |target: &str| {
        (0..routes).fold(String::new(), |mut text, route| {
            let _ = write!(
                text,
                "[[route]]\nname = \"{}\"\nbindings = [\"log.#\"]\ntarget = \"{target}\"\n\n",
                name(route)
            );
            text
        })
    };
    let mut listener = stage.listener_of(&text("http://127.0.0.1:1")).await?;
    listener.ready().await;
    listener.kill().await;
    let deliveries = PER_SECOND * lab.plan.length(SECONDS).as_secs();
    let events = deliveries / routes;
    let last = Queue::open(stage.amqp_url(), route_queue(&name(routes - 1))).await?;
    forward::fill(stage.amqp_url(), &last, events).await?;
    lab.rest().await?;

    let start = async |target: &str| stage.listener_of(&text(target)).await;
    let figures = forward::deliver(lab, events * routes, start).await?;
    stage.strike().await;
    Ok(Point {
        at: routes.to_string(),
        x: routes as f64,
        figures: pick(&figures, &FIGURES)?,
    })
}

fn name(route: u64) -> String {
    format!("route-{route}")
}
