//! More requests than the broker is made for.

use std::{collections::HashSet, time::Duration};

use axum::http::StatusCode;
use serde_json::json;
use tests::{
    eventually, http,
    rabbitmq::virtual_host,
    suite::{Options, Service, broker_config, listener_alone},
    target::Target,
};

/// Ten times as many clients as there are places, while both processors are busy: the excess is
/// shed, what is accepted is delivered, and no connection to RabbitMQ misses its heartbeats.
#[tokio::test(flavor = "multi_thread")]
async fn the_excess_is_shed_and_the_rest_is_served() {
    const PLACES: usize = 8;
    const REQUESTS: usize = 50;
    let virtual_host = virtual_host().await;
    let dir = tempfile::tempdir().unwrap();
    let target = Target::answering(StatusCode::OK).await;
    let routes = format!(
        "[[route]]\nname = \"one\"\nbindings = [\"#\"]\ntarget = \"http://{}/\"\n",
        target.addr
    );
    let listener = listener_alone(&virtual_host.url, dir.path(), &routes).await;
    listener.ready().await;
    let mut config = broker_config(&virtual_host.url, &Options::default());
    config.http.max_in_flight = PLACES;
    let run = |listener, shutdown| broker_service::run(config, listener, shutdown);
    let broker = Service::start(run).await;
    broker.ready().await;

    let mut clients = Vec::new();
    for _ in 0..10 * PLACES {
        let url = broker.url("/handle");
        clients.push(tokio::spawn(async move {
            let client = http::client();
            let body = json!({"action": "log", "log": {"name": "event", "data": 1}});
            let mut accepted = HashSet::new();
            let mut shed = 0;
            for _ in 0..REQUESTS {
                let answer = client.post(&url).json(&body).send().await.unwrap();
                let answer = http::read(answer).await;
                if answer.status == 202 {
                    accepted.insert(answer.json()["data"]["id"].as_str().unwrap().to_owned());
                } else {
                    answer.problem(503);
                    assert!(answer.headers.contains_key("retry-after"));
                    shed += 1;
                }
            }
            (accepted, shed)
        }));
    }
    // Health has places of its own.
    assert_eq!(http::get(&broker.url("/readyz")).await.status, 200);
    let mut accepted = HashSet::new();
    let mut shed = 0;
    for client in clients {
        let (ids, refusals) = client.await.unwrap();
        accepted.extend(ids);
        shed += refusals;
    }
    assert!(shed > 0, "nothing was too much");
    assert_eq!(accepted.len() + shed, 10 * PLACES * REQUESTS);
    eventually("all are delivered", Duration::from_secs(60), || async {
        (target.count() >= accepted.len()).then_some(())
    })
    .await;
    // Not one of them twice, as a lost connection would have it.
    let received = target.received();
    let delivered: HashSet<_> = received.iter().map(|event| event.header("ce-id")).collect();
    assert_eq!(received.len(), delivered.len());
    assert!(accepted.iter().all(|id| delivered.contains(id.as_str())));
    for service in [&broker, &listener] {
        assert_eq!(http::get(&service.url("/readyz")).await.status, 200);
    }
    broker.stop().await;
    listener.stop().await;
}
