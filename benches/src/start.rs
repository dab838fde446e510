//! From the start of each service to its readiness, with RabbitMQ up.

use std::{borrow::Cow, time::Duration};

use anyhow::{Context as _, ensure};
use tests::process::Process;
use tokio::time::{Instant, sleep};

use crate::{
    lab::Lab,
    publish::megabytes,
    report::{Figure, Report},
    usage::peak_memory,
};

const SERVICES: [&str; 4] = [
    "broker-service",
    "listener-service",
    "logger-service",
    "auth-service",
];
/// Between two questions whether it is ready.
const PAUSE: Duration = Duration::from_millis(2);
const DEADLINE: Duration = Duration::from_secs(30);

pub(crate) async fn measure(lab: &Lab) -> anyhow::Result<Report> {
    let text = "Each service alone, as it is by default, in an empty directory and with an empty virtual host: from \
                before its process is made until `/readyz` answers 200. So the listener declares its queues, and logger \
                and auth make their databases, keys and users.";
    let report = Report::new("start", text.to_owned(), Vec::new());
    let services = SERVICES.map(|service| (Cow::from(service), service));
    lab.rounds(report, &services, async |service| start(lab, service).await)
        .await
}

async fn start(lab: &Lab, service: &'static str) -> anyhow::Result<Vec<Figure>> {
    let virtual_host = lab.node.virtual_host().await;
    let dir = tempfile::tempdir().context("a directory")?;
    let environment = [("AMQP_URL", virtual_host.url.as_str())];
    let begun = Instant::now();
    let mut process = Process::start(service, dir.path(), &environment).await;
    while !process.is_ready().await {
        ensure!(begun.elapsed() < DEADLINE, "not ready: {}", process.log());
        sleep(PAUSE).await;
    }
    let took = begun.elapsed();
    let peak = peak_memory(process.pid())?;
    process.kill().await;
    virtual_host.management.delete_virtual_host().await;
    Ok(vec![
        ("ready after, ms".into(), took.as_secs_f64() * 1000.0),
        ("own memory then, MB".into(), megabytes(peak)),
    ])
}
