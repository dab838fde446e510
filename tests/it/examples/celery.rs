//! `examples/celery`: services with Celery share a fanout, and one that knows only HTTP takes part.

use std::time::Duration;

use axum::http::StatusCode;
use serde_json::json;
use tests::{
    eventually, http,
    process::Process,
    program::Program,
    rabbitmq::{VirtualHost, signal, virtual_host},
    suite::{self, Options},
    target::Target,
};

use super::{program, routes};

async fn worker(virtual_host: &VirtualHost) -> Program {
    let app = ["-m", "celery", "--workdir", "examples/celery", "--app"];
    let worker = [
        "warehouse",
        "worker",
        "--loglevel",
        "info",
        "--pool",
        "solo",
    ];
    let arguments = [app.as_slice(), worker.as_slice()].concat();
    let broker = [("BROKER_URL", virtual_host.url.as_str())];
    let worker = Program::python(&arguments, &broker).await;
    worker.line(" ready.").await;
    worker
}

/// Emits an event and returns the id of its task.
async fn emit(virtual_host: &VirtualHost, arguments: &str) -> String {
    let emit = program(virtual_host, &format!("celery/emit.py {arguments}")).await;
    let lines = emit.succeed().await;
    let (_said, id) = lines[0].rsplit_once(' ').unwrap();
    id.to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn events_of_celery_services_reach_a_target_by_their_type() {
    let virtual_host = virtual_host().await;
    let target = Target::answering(StatusCode::OK).await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("routes.toml");
    std::fs::write(&file, routes("celery/routes.toml", &[target.addr])).unwrap();
    let environment = [
        ("AMQP_URL", virtual_host.url.as_str()),
        ("ROUTES_FILE", file.to_str().unwrap()),
        ("DEAD_LETTERS", "queue"),
    ];
    let mut listener = Process::start("listener-service", dir.path(), &environment).await;
    listener.ready().await;
    let worker = worker(&virtual_host).await;

    let placed = emit(&virtual_host, "order_placed 4711").await;
    let cancelled = emit(&virtual_host, "--pika order_cancelled 4712").await;
    let returned = emit(&virtual_host, "order_returned 4713").await;
    // The last one is ignored, so that no request tells of it.
    let queue = "search-index-events";
    target.wait_for(2).await;
    let ignored = || {
        let log = listener.log();
        let mut lines = log.lines();
        lines.any(|line| line.contains("IGNORED") && line.contains(&returned))
    };
    eventually(
        "the last one is ignored",
        Duration::from_secs(20),
        || async { ignored().then_some(()) },
    )
    .await;
    let mut received = target.received();
    received.sort_by_key(|event| event.header("ce-type").to_owned());
    let told = |event: &tests::target::Received| {
        let header = |name| event.header(name).to_owned();
        (header("ce-type"), header("ce-id"))
    };
    assert_eq!(
        received.iter().map(told).collect::<Vec<_>>(),
        [
            ("order_cancelled".to_owned(), cancelled.clone()),
            ("order_placed".to_owned(), placed.clone())
        ]
    );

    // Everybody else of the fanout has their copies, and logs the same of them.
    for (verdict, kind, id, order) in [
        ("PROCESSED", "order_placed", &placed, 4711),
        ("IGNORED", "order_cancelled", &cancelled, 4712),
        ("IGNORED", "order_returned", &returned, 4713),
    ] {
        let received = format!("{verdict}: Received [{kind}:{id}]");
        let line = worker.line(&received).await;
        let object = format!("object (Order:{order}) and user 17");
        assert!(line.contains(&object), "{line}");
    }
    listener.terminate().await;
    assert_eq!(virtual_host.left(queue).await, 0);
    let log = listener.log();
    for (verdict, kind, id, order) in [
        ("PROCESSED", "order_placed", placed, "4711"),
        ("PROCESSED", "order_cancelled", cancelled, "4712"),
        ("IGNORED", "order_returned", returned, "4713"),
    ] {
        let line = log
            .lines()
            .find(|line| line.contains(verdict) && line.contains(&id))
            .unwrap_or_else(|| panic!("no line {verdict} of {id} in {log}"));
        for word in [kind, "Order", order, "17"] {
            assert!(line.contains(word), "no {word} in {line}");
        }
    }
}

/// What a worker needs is in the body; of the message it reads the content type alone.
#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_is_posted_runs_a_task() {
    let virtual_host = virtual_host().await;
    let worker = worker(&virtual_host).await;
    program(&virtual_host, "celery/bind.py")
        .await
        .succeed()
        .await;
    let broker = suite::broker(&virtual_host.url, &Options::default()).await;
    broker.ready().await;
    let event = json!({
        "task_id": "t-1",
        "resource_type": "Order",
        "resource_id": "4711",
        "user_id": "17",
        "meta": {},
    });
    let task = json!({
        "task": "microservice.event",
        "id": "t-1",
        "args": ["order_placed"],
        "kwargs": event,
    });
    let answer = http::post(&broker.url("/events/microservice.event"), &task).await;
    assert_eq!(answer.status, 202, "{}", answer.text);
    worker.line("PROCESSED: Received [order_placed:t-1]").await;
    worker.line("reserving goods for order 4711").await;
    // It acknowledges a task after its work, and finishes what it has when it is told to stop.
    signal(worker.pid(), "TERM");
    worker.succeed().await;
    assert_eq!(virtual_host.left("warehouse-events").await, 0);
    broker.stop().await;
}
