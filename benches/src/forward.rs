//! From the queue to a target: the listener, with a target that answers at once.

use std::time::Duration;

use anyhow::ensure;
use messaging::{AmqpUrl, Connection, Message, Publisher, topology::Topology};
use tests::{eventually, process::Process};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep},
};

use crate::{
    event,
    lab::Lab,
    null_target::NullTarget,
    publish::megabytes,
    queue::Queue,
    report::{Figure, Report},
    stage::Stage,
    usage::{Meter, peak_memory},
};

const SECONDS: u16 = 8;
/// Events that wait in the queue for each second that is to be measured.
pub(crate) const EVENTS_PER_SECOND: u64 = 25_000;
/// Publishes at one time that fill the queue.
const PUBLISHES: u64 = 500;
const DEADLINE: Duration = Duration::from_secs(30);
/// Events delivered before the measuring begins, by which connections and code are warm.
const WARM_UP: u64 = 2_000;
/// Between two looks at how many were delivered.
const PAUSE: Duration = Duration::from_millis(5);
/// Without any delivery.
const STANDSTILL: Duration = Duration::from_secs(10);

/// Name and fields of the route; the first one has none.
const ROUTES: [(&str, &str); 2] = [
    ("as it is by default", ""),
    (
        "concurrency 128, prefetch 512",
        "concurrency = 128\nprefetch = 512",
    ),
];

pub(crate) async fn measure(lab: &Lab) -> anyhow::Result<Report> {
    let stage = Stage::make(&lab.node).await?;
    let events = EVENTS_PER_SECOND * lab.plan.length(SECONDS).as_secs();
    let text = format!(
        "{events} events of {} bytes of data wait in a quorum queue; then listener-service starts, which posts each \
         to a target that answers 200 at once, and acknowledges it. Measured from delivery {WARM_UP} to the last \
         one. Each was delivered once, and the queue is empty in the end.",
        event::BYTES,
    );
    let contenders = ROUTES.map(|(name, options)| (name.into(), options));
    let report = Report::new("forward", text, Vec::new());
    let report = lab
        .rounds(report, &contenders, async |options| {
            stage.queue.purge().await?;
            fill(stage.amqp_url(), &stage.queue, events).await?;
            lab.rest().await?;
            forward(lab, &stage, options, events).await
        })
        .await?;
    stage.strike().await;
    Ok(report)
}

async fn forward(
    lab: &Lab,
    stage: &Stage,
    options: &str,
    events: u64,
) -> anyhow::Result<Vec<Figure>> {
    let start = async |target: &str| stage.listener(target, options).await;
    let figures = deliver(lab, events, start).await?;
    let left = stage.queue.purge().await?;
    ensure!(
        left == 0,
        "of {events} events {left} were left in the queue"
    );
    Ok(figures)
}

/// Starts a listener by `start`, which is given the target, and meters it from the warm-up to the last
/// of so many deliveries. It is stopped then.
pub(crate) async fn deliver(
    lab: &Lab,
    events: u64,
    start: impl AsyncFn(&str) -> anyhow::Result<Process>,
) -> anyhow::Result<Vec<Figure>> {
    let target = NullTarget::start()?;
    let mut listener = start(&format!("http://{}/", target.addr)).await?;
    let meter = Meter::new([
        ("own", listener.pid()),
        ("RabbitMQ", lab.node.pid()),
        ("target", std::process::id()),
    ]);
    let (first, begun) = delivered(&target, WARM_UP).await?;
    let before = meter.read()?;
    let (last, ended) = delivered(&target, events).await?;
    let cpu = meter.since(&before)?;
    let peak = peak_memory(listener.pid())?;
    // It acknowledges its deliveries before it ends.
    listener.terminate().await;
    let requests = target.requests();
    ensure!(
        requests == events,
        "of {events} events {requests} came to the target"
    );
    let measured = (last - first) as f64;
    let mut figures: Vec<Figure> =
        vec![("events/s".into(), measured / (ended - begun).as_secs_f64())];
    figures.push(("own peak memory, MB".into(), megabytes(peak)));
    figures.extend(cpu.into_iter().map(|(process, time)| {
        let name = format!("{process} CPU, µs/event");
        (name.into(), time.as_secs_f64() * 1e6 / measured)
    }));
    Ok(figures)
}

/// Waits for this many deliveries, and returns their number and the time.
async fn delivered(target: &NullTarget, least: u64) -> anyhow::Result<(u64, Instant)> {
    let mut moved = (0, Instant::now());
    loop {
        let now = (target.requests(), Instant::now());
        if now.0 >= least {
            return Ok(now);
        }
        if now.0 > moved.0 {
            moved = now;
        }
        ensure!(
            moved.1.elapsed() < STANDSTILL,
            "after {} of {least} events no more are delivered",
            now.0
        );
        sleep(PAUSE).await;
    }
}

/// Publishes this many events, and waits until `queue` has them.
pub(crate) async fn fill(amqp_url: &str, queue: &Queue, events: u64) -> anyhow::Result<()> {
    let url: AmqpUrl = amqp_url.parse()?;
    let connection = Connection::open("bench", &url);
    let publisher = Publisher::start(&connection, Topology::events());
    let mut tasks = JoinSet::new();
    for task in 0..PUBLISHES {
        let publisher = publisher.clone();
        let share = events / PUBLISHES + u64::from(task < events % PUBLISHES);
        tasks.spawn(async move {
            let data = event::data(event::BYTES);
            for _ in 0..share {
                let message = Message::of(event::event(&data), &event::KEY);
                publisher.publish(message, DEADLINE).await?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    connection.close().await;
    eventually("the queue holds them", DEADLINE, || async {
        let ready = queue.ready().await.ok()?;
        (ready == events).then_some(())
    })
    .await;
    Ok(())
}
