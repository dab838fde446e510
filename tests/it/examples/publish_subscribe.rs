//! `examples/publish-subscribe`: every instance of the listener has a copy, as every subscriber has.

use axum::http::StatusCode;
use tests::{
    rabbitmq::{VirtualHost, virtual_host},
    suite::{Service, listener_alone},
    target::Target,
};

use super::{program, routes};

async fn instance(virtual_host: &VirtualHost, target: &Target) -> Service {
    let dir = tempfile::tempdir().unwrap();
    let logs = format!("http://{}", target.addr);
    let routes = routes("publish-subscribe/routes.toml", &[]).replace("${LOGS_URL}", &logs);
    let listener = listener_alone(&virtual_host.url, dir.path(), &routes).await;
    listener.ready().await;
    listener
}

#[tokio::test(flavor = "multi_thread")]
async fn every_instance_and_every_subscriber_has_a_copy() {
    let virtual_host = virtual_host().await;
    // The exchange is theirs, not durable, and must be there first.
    let subscriber = program(&virtual_host, "publish-subscribe/receive_logs.py").await;
    subscriber.line("waiting for logs").await;
    let one = Target::answering(StatusCode::OK).await;
    let other = Target::answering(StatusCode::OK).await;
    let first = instance(&virtual_host, &one).await;
    let second = instance(&virtual_host, &other).await;
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
    tests::eventually(
        "one queue less",
        std::time::Duration::from_secs(20),
        || async { (virtual_host.management.bindings("logs").await == 2).then_some(()) },
    )
    .await;
    assert_eq!((one.count(), other.count()), (2, 2));
    second.stop().await;
}
