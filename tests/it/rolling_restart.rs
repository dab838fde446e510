//! A deployment: everything is restarted in turn, under load, and nobody notices.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::http::StatusCode;
use serde_json::json;
use service_kit::server::HttpConfig;
use tests::{
    eventually, http,
    rabbitmq::virtual_host,
    suite::{Options, Service, broker_config, listener_alone},
    target::Target,
};

const CLIENTS: usize = 16;

/// Starts a broker that lets load balancers notice before it stops, as it does by default.
async fn broker(amqp_url: &str, addr: SocketAddr) -> Service {
    let mut config = broker_config(amqp_url, &Options::default());
    config.http.drain_grace = HttpConfig::default().drain_grace;
    let run = |listener, shutdown| broker_service::run(config, listener, shutdown);
    let broker = Service::start_at(addr, run).await;
    broker.ready().await;
    broker
}

/// Posts until told to stop, to each broker in turn, and to the next one where a connection is
/// refused. Returns the ids that were accepted; anything but a 202 is a failure.
async fn client(brokers: [SocketAddr; 2], stop: Arc<AtomicBool>) -> Vec<String> {
    let client = http::client();
    let body = json!({"action": "log", "log": {"name": "event", "data": 1}});
    let mut accepted = Vec::new();
    let mut turn = 0;
    while !stop.load(Ordering::Relaxed) {
        turn += 1;
        let url = format!("http://{}/handle", brokers[turn % 2]);
        match client.post(&url).json(&body).send().await {
            Ok(answer) => {
                let answer = http::read(answer).await;
                assert_eq!(answer.status, StatusCode::ACCEPTED, "{}", answer.text);
                accepted.push(answer.json()["data"]["id"].as_str().unwrap().to_owned());
            }
            Err(error) => assert!(error.is_connect(), "a request failed: {error:?}"),
        }
    }
    accepted
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rolling_restart_fails_no_request_and_delivers_nothing_twice() {
    let virtual_host = virtual_host().await;
    let dir = tempfile::tempdir().unwrap();
    let target = Target::answering(StatusCode::OK).await;
    let routes = format!(
        "[[route]]\nname = \"one\"\nbindings = [\"#\"]\ntarget = \"http://{}/\"\n",
        target.addr
    );
    let mut listeners = Vec::new();
    for _ in 0..2 {
        listeners.push(listener_alone(&virtual_host.url, dir.path(), &routes).await);
    }
    for listener in &listeners {
        listener.ready().await;
    }
    let any_port = ([127, 0, 0, 1], 0).into();
    let mut brokers = vec![
        broker(&virtual_host.url, any_port).await,
        broker(&virtual_host.url, any_port).await,
    ];
    let addresses = [brokers[0].addr, brokers[1].addr];
    let stop = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| tokio::spawn(client(addresses, stop.clone())))
        .collect();

    for _ in 0..2 {
        let before = target.count();
        target.wait_for(before + 100).await;
        let old = brokers.remove(0);
        let addr = old.addr;
        old.stop().await;
        brokers.push(broker(&virtual_host.url, addr).await);

        let old = listeners.remove(0);
        old.stop().await;
        let new = listener_alone(&virtual_host.url, dir.path(), &routes).await;
        new.ready().await;
        listeners.push(new);
    }
    stop.store(true, Ordering::Relaxed);
    let mut accepted = Vec::new();
    for client in clients {
        accepted.extend(client.await.unwrap());
    }
    assert!(accepted.len() > 200, "{}", accepted.len());

    let mut deliveries = eventually("all are delivered", Duration::from_secs(30), || async {
        if target.count() < accepted.len() {
            return None;
        }
        let mut deliveries = HashMap::<String, u32>::new();
        for event in target.received() {
            *deliveries
                .entry(event.header("ce-id").to_owned())
                .or_default() += 1;
        }
        (deliveries.len() >= accepted.len()).then_some(deliveries)
    })
    .await;
    for id in &accepted {
        assert_eq!(deliveries.remove(id), Some(1), "{id}");
    }
    assert!(
        deliveries.is_empty(),
        "{} events that nobody was told of",
        deliveries.len()
    );
    for service in brokers.into_iter().chain(listeners) {
        service.stop().await;
    }
}
