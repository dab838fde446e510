//! `examples/publish-subscribe`: every instance of the listener has a copy, as every subscriber has.

use std::{path::Path, time::Duration};

use axum::http::StatusCode;
use tests::{
    eventually,
    rabbitmq::{VirtualHost, virtual_host},
    suite::{Service, listener_alone},
    target::Target,
};

use super::{program, routes};

const DEADLINE: Duration = Duration::from_secs(20);

async fn instance(virtual_host: &VirtualHost, dir: &Path, target: &Target) -> Service {
    let logs = format!("http://{}", target.addr);
    let routes = routes("publish-subscribe/routes.toml", &[]).replace("${LOGS_URL}", &logs);
    listener_alone(&virtual_host.url, dir, &routes).await
}

async fn exclusive_queues(virtual_host: &VirtualHost) -> usize {
    let queues = virtual_host.management.queues().await;
    queues
        .iter()
        .filter(|queue| queue.starts_with("amq.gen-"))
        .count()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_instance_and_every_subscriber_has_a_copy() {
    let virtual_host = virtual_host().await;
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let one = Target::answering(StatusCode::OK).await;
    let other = Target::answering(StatusCode::OK).await;
    let first = instance(&virtual_host, dirs[0].path(), &one).await;
    // The exchange is theirs, and not there yet.
    eventually("an attempt without the exchange", DEADLINE, || async {
        let reason = first.not_ready().await;
        reason.contains("exchange logs").then_some(())
    })
    .await;
    let subscriber = program(&virtual_host, "publish-subscribe/receive_logs.py").await;
    subscriber.line("waiting for logs").await;
    let second = instance(&virtual_host, dirs[1].path(), &other).await;
    first.ready().await;
    second.ready().await;
    // One of the subscriber and one of each instance; that attempt has left none.
    eventually("three queues", DEADLINE, || async {
        (exclusive_queues(&virtual_host).await == 3).then_some(())
    })
    .await;
    assert_eq!(virtual_host.management.bindings("logs").await, 3);

    let emit = "publish-subscribe/emit_log.py disk-full disk-empty";
    program(&virtual_host, emit).await.succeed().await;
    subscriber.line("disk-full").await;
    subscriber.line("disk-empty").await;
    for target in [&one, &other] {
        let mut bodies: Vec<_> = target.wait_for(2).await;
        bodies.sort_by_key(|received| received.body.clone());
        assert_eq!(bodies[0].body, "disk-empty");
        assert_eq!(bodies[1].body, "disk-full");
    }

    // The queue of an instance goes with it.
    first.stop().await;
    eventually("one queue less", DEADLINE, || async {
        (exclusive_queues(&virtual_host).await == 2).then_some(())
    })
    .await;
    assert_eq!((one.count(), other.count()), (2, 2));
    second.stop().await;
}
