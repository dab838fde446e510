//! The listener is killed in the middle of a replay.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::{http::StatusCode, response::IntoResponse as _};
use serde_json::Value;
use tests::{
    eventually, http,
    process::Process,
    proxy::{Cut, Mode, Proxy},
    rabbitmq::virtual_host,
    suite::{Options, broker, logger},
    target::Target,
};

use super::{post, route};

const EVENTS: usize = 300;
const KILLS: usize = 3;
/// Replays under way at one time.
const UNDER_WAY: usize = 16;

async fn total(logger: &str, state: &str) -> usize {
    let url = format!("{logger}/dead-letters?state={state}&limit=1");
    let total = http::get(&url).await.json()["total"].as_u64();
    total.unwrap().try_into().unwrap()
}

/// Replays everything, until `enough` are replayed or the job ends. Returns whether it ended. The
/// connection stays as it is until the answer is dropped, with the kill.
async fn replay(listener: &Process, enough: u64) -> bool {
    let url = listener.url("/dead-letters/replay?all=true&rate=100");
    let mut answer = http::client().post(url).send().await.unwrap();
    let mut text = String::new();
    while let Some(chunk) = answer.chunk().await.unwrap() {
        text += std::str::from_utf8(&chunk).unwrap();
        let last = text.lines().rfind(|line| line.ends_with('}')).unwrap();
        let line: Value = serde_json::from_str(last).unwrap();
        if line["event"] == "finished" {
            return true;
        }
        if line["replayed"].as_u64().unwrap() >= enough {
            return false;
        }
    }
    panic!("the job stopped: {text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_that_is_killed_loses_nothing() {
    let virtual_host = virtual_host().await;
    let dir = tempfile::tempdir().unwrap();
    let accepts = Arc::new(AtomicBool::new(false));
    let accepting = accepts.clone();
    let target = Target::start(move |_, _| match accepting.load(Ordering::Relaxed) {
        true => StatusCode::OK.into_response(),
        false => StatusCode::BAD_REQUEST.into_response(),
    })
    .await;
    let logger = logger(dir.path()).await;
    let logger_url = logger.url("");
    std::fs::write(dir.path().join("routes.toml"), route("one", "#", &target)).unwrap();
    let proxy = Proxy::start(virtual_host.server()).await;
    let amqp_url = virtual_host.url_through(proxy.addr);
    let environment = [
        ("AMQP_URL", amqp_url.as_str()),
        ("LOGGER_URL", &logger_url),
        ("ROUTES_FILE", "routes.toml"),
    ];
    let mut listener = Process::start("listener-service", dir.path(), &environment).await;
    listener.ready().await;
    let broker = broker(&virtual_host.url, &Options::default()).await;
    broker.ready().await;
    for number in 0..EVENTS {
        post(&broker, "INFO", &number.to_string()).await;
    }
    let all_dead = || async { (total(&logger_url, "dead").await == EVENTS).then_some(()) };
    eventually("all are dead", Duration::from_secs(60), all_dead).await;
    let refused = target.count();
    accepts.store(true, Ordering::Relaxed);

    // Killed before RabbitMQ has any of it: nothing may be marked that is not confirmed.
    proxy.set(Mode::HalfOpen).await;
    replay(&listener, 0).await;
    tokio::time::sleep(Duration::from_secs(1)).await; // for what must not happen
    listener.kill().await;
    assert_eq!(total(&logger_url, "replayed").await, 0);
    proxy.cut(Cut::Reset);
    proxy.set(Mode::Pass).await;
    listener.start_again();
    listener.ready().await;

    for _ in 0..KILLS {
        assert!(
            !replay(&listener, 40).await,
            "the job ended before it was killed"
        );
        listener.kill().await;
        listener.start_again();
        listener.ready().await;
    }
    assert!(replay(&listener, u64::MAX).await);
    assert_eq!(total(&logger_url, "dead").await, 0);
    assert_eq!(total(&logger_url, "replayed").await, EVENTS);
    let delivered = || async {
        let mut deliveries = HashMap::<String, usize>::new();
        for event in &target.received()[refused..] {
            *deliveries
                .entry(event.header("ce-id").to_owned())
                .or_default() += 1;
        }
        (deliveries.len() == EVENTS).then_some(deliveries)
    };
    let deliveries = eventually("all are delivered", Duration::from_secs(60), delivered).await;
    // What the killed listener had in hand comes again, and what it had sent and not marked.
    let repeated = deliveries.values().sum::<usize>() - EVENTS;
    assert!(repeated <= KILLS * (UNDER_WAY + 32), "{repeated}");
    listener.terminate().await;
    broker.stop().await;
    logger.stop().await;
}
