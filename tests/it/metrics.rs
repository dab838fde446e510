//! What each service counts, as a process of its own: the services of the other tests share what
//! they count with in one process, and so find it even where their own was not there yet.

use std::time::Duration;

use axum::http::StatusCode;
use futures_util::future::join_all;
use serde_json::json;
use tests::{
    eventually, http,
    process::Process,
    proxy::{Mode, Proxy},
    rabbitmq::virtual_host,
    target::Target,
};

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

/// While RabbitMQ's confirms are on their way, all clients give up.
#[tokio::test(flavor = "multi_thread")]
async fn a_publish_whose_client_hung_up_is_counted_as_what_became_of_it() {
    let virtual_host = virtual_host().await;
    let proxy = Proxy::start(virtual_host.server()).await;
    let dir = tempfile::tempdir().unwrap();
    let target = Target::answering(StatusCode::OK).await;
    let routes = dir.path().join("routes.toml");
    let text = format!(
        "[[route]]\nname = \"orders\"\nbindings = [\"order.#\"]\ntarget = \"http://{}/\"\n",
        target.addr
    );
    std::fs::write(&routes, text).unwrap();
    let listener = [
        ("AMQP_URL", virtual_host.url.as_str()),
        ("DEAD_LETTERS", "queue"),
        ("ROUTES_FILE", routes.to_str().unwrap()),
    ];
    let mut listener = Process::start("listener-service", dir.path(), &listener).await;
    let url = virtual_host.url_through(proxy.addr);
    let broker = [("AMQP_URL", url.as_str()), ("PUBLISH_TIMEOUT_MS", "20000")];
    let mut broker = Process::start("broker-service", dir.path(), &broker).await;
    listener.ready().await;
    broker.ready().await;

    let event = |id: u8| json!({"specversion": "1.0", "id": id.to_string(), "type": "order.placed", "source": "/"});
    let batch = json!([event(1), event(2), event(3)]);
    let requests = [
        ("/events/order.placed", "application/json", json!(1)),
        ("/events/nobody.listens", "application/json", json!(1)),
        (
            "/handle",
            "application/json",
            json!({"action": "log", "log": {"name": "n", "data": 1}}),
        ),
        ("/events", "application/cloudevents+json", event(0)),
        ("/events", "application/cloudevents-batch+json", batch),
    ];
    proxy.set(Mode::HalfOpen).await;
    let hung_up = requests.map(|(path, media_type, body)| {
        let request = http::client().post(broker.url(path));
        let request = request.header("content-type", media_type);
        let request = request.timeout(Duration::from_millis(700));
        request.body(body.to_string()).send()
    });
    for answer in join_all(hung_up).await {
        assert!(answer.unwrap_err().is_timeout());
    }
    proxy.set(Mode::Pass).await;
    let publishes = |outcome| format!(r#"broker_publishes_total{{outcome="{outcome}"}}"#);
    counts(&broker, &publishes("accepted"), 5).await;
    counts(&broker, &publishes("unroutable"), 2).await;
    for service in [&mut broker, &mut listener] {
        assert!(service.terminate().await.success());
    }
}
