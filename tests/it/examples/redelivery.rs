//! `examples/redelivery`: what a consumer took and did not finish comes again, under the same id.

use std::{collections::BTreeSet, future, os::unix::process::ExitStatusExt as _};

use axum::{http::StatusCode, response::IntoResponse as _};
use tests::{process::Process, rabbitmq::virtual_host, target::Target};

use super::{listener, program, routes};

const SIGKILL: i32 = 9;

#[tokio::test(flavor = "multi_thread")]
async fn jobs_of_a_consumer_that_died_go_to_the_listener() {
    let virtual_host = virtual_host().await;
    let target = Target::answering(StatusCode::OK).await;
    let listener = listener(&virtual_host, "redelivery/routes.toml", &[target.addr]).await;
    let mut dies = program(&virtual_host, "redelivery/dies.py").await;
    dies.line("taking jobs").await;
    program(&virtual_host, "redelivery/jobs.py")
        .await
        .succeed()
        .await;
    dies.line("took").await;
    assert_eq!(dies.end().await.signal(), Some(SIGKILL));
    let received = target.wait_for(4).await;
    let bodies: BTreeSet<_> = received.iter().map(|job| job.body.clone()).collect();
    let jobs = [
        "persistent job 1",
        "persistent job 2",
        "transient job 1",
        "transient job 2",
    ];
    assert!(bodies.iter().eq(jobs.iter()), "{bodies:?}");
    listener.stop().await;
    assert_eq!(virtual_host.left("jobs").await, 0);
    assert_eq!(target.count(), 4);
}

/// The listener that had them first is gone.
#[tokio::test(flavor = "multi_thread")]
async fn a_redelivered_job_keeps_its_id() {
    let virtual_host = virtual_host().await;
    let target = Target::start_slow(|_, before| async move {
        if before < 4 {
            future::pending::<()>().await;
        }
        StatusCode::OK.into_response()
    })
    .await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("routes.toml");
    std::fs::write(&file, routes("redelivery/routes.toml", &[target.addr])).unwrap();
    let environment = [
        ("AMQP_URL", virtual_host.url.as_str()),
        ("ROUTES_FILE", file.to_str().unwrap()),
        ("DEAD_LETTERS", "queue"),
    ];
    let mut listener = Process::start("listener-service", dir.path(), &environment).await;
    listener.ready().await;
    program(&virtual_host, "redelivery/jobs.py")
        .await
        .succeed()
        .await;
    target.wait_for(4).await;
    listener.kill().await;
    listener.start_again();
    let received = target.wait_for(8).await;
    let told = |jobs: &[tests::target::Received]| {
        let jobs = jobs.iter();
        let told = jobs.map(|job| (job.body.clone(), job.header("ce-id").to_owned()));
        told.collect::<BTreeSet<_>>()
    };
    assert_eq!(told(&received[..4]).len(), 4);
    assert_eq!(told(&received[..4]), told(&received[4..]));
    listener.terminate().await;
    assert_eq!(virtual_host.left("jobs").await, 0);
    assert_eq!(target.count(), 8);
}
