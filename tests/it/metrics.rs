//! What each service counts, as a process of its own: the services of the other tests share what
//! they count with in one process, and so find it even where their own was not there yet.

use std::time::Duration;

use axum::http::StatusCode;
use serde_json::json;
use tests::{eventually, http, process::Process, rabbitmq::virtual_host, target::Target};

/// Waits until a service counts as many under a series.
async fn counts(service: &Process, series: &str, value: usize) {
    let url = service.url("/metrics");
    eventually(series, Duration::from_secs(30), || async {
        (http::metric(&url, series).await == Some(value)).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_event_is_counted_by_each_service_that_it_passes() {
    const EVENTS: usize = 7;
    let virtual_host = virtual_host().await;
    let dir = tempfile::tempdir().unwrap();
    let refusing = Target::answering(StatusCode::CONFLICT).await;
    let routes = dir.path().join("routes.toml");
    let text = format!(
        "[[route]]\nname = \"logger\"\nbindings = [\"log.#\"]\ntarget = \"${{LOGGER_URL}}/log\"\n\n\
         [[route]]\nname = \"refusing\"\nbindings = [\"log.#\"]\ntarget = \"http://{}/\"\n",
        refusing.addr
    );
    std::fs::write(&routes, text).unwrap();
    let amqp = ("AMQP_URL", virtual_host.url.as_str());
    let mut logger = Process::start("logger-service", dir.path(), &[]).await;
    let logger_url = logger.url("");
    let environment = [
        amqp,
        ("LOGGER_URL", logger_url.as_str()),
        ("ROUTES_FILE", routes.to_str().unwrap()),
    ];
    let mut listener = Process::start("listener-service", dir.path(), &environment).await;
    let mut broker = Process::start("broker-service", dir.path(), &[amqp]).await;
    for service in [&logger, &listener, &broker] {
        service.ready().await;
    }
    counts(&listener, r#"subscription_paused{route="refusing"}"#, 0).await;

    for number in 0..EVENTS {
        let body = json!({"action": "log", "log": {"name": "counted", "data": number}});
        let answer = http::post(&broker.url("/handle"), &body).await;
        assert_eq!(answer.status, 202, "{}", answer.text);
    }
    counts(
        &broker,
        r#"broker_publishes_total{outcome="accepted"}"#,
        EVENTS,
    )
    .await;
    let subscription = |route, outcome| {
        format!(r#"subscription_events_total{{route="{route}",outcome="{outcome}"}}"#)
    };
    counts(&listener, &subscription("logger", "delivered"), EVENTS).await;
    counts(&listener, &subscription("refusing", "dead"), EVENTS).await;
    let dead = r#"listener_dead_letters_total{route="refusing"}"#;
    counts(&listener, dead, EVENTS).await;
    counts(&logger, r#"logger_events_total{outcome="new"}"#, EVENTS).await;
    counts(
        &logger,
        r#"logger_dead_letters_total{outcome="new"}"#,
        EVENTS,
    )
    .await;
    for service in [&mut broker, &mut listener, &mut logger] {
        assert!(service.terminate().await.success());
    }
}
