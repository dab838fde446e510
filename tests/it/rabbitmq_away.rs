//! RabbitMQ that is not there yet, goes away, and comes back.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use reqwest::header;
use serde_json::json;
use tests::{
    eventually, http,
    rabbitmq::{Node, virtual_host},
    suite::{Options, Suite},
};

#[tokio::test(flavor = "multi_thread")]
async fn services_start_without_rabbitmq_and_say_so() {
    // Nobody listens there: the port was given out and taken back.
    let free = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let url = format!("amqp://app:s3cret@{free}/%2F");
    let suite = Suite::start_with(&url, Options::default()).await;
    suite.logger.ready().await;
    suite.auth.ready().await;
    for service in [&suite.broker, &suite.listener] {
        let reason = eventually("the reason", Duration::from_secs(10), || async {
            let reason = service.not_ready().await;
            reason.contains("refused").then_some(reason)
        })
        .await;
        assert!(
            reason.contains(&format!("amqp://app:***@{free}")),
            "{reason}"
        );
        assert!(!reason.contains("s3cret"), "{reason}");
        assert_eq!(http::get(&service.url("/healthz")).await.status, 200);
    }
    let answer = suite.log(json!({"name": "event", "data": 1})).await;
    answer.problem(503);
    assert!(answer.headers.contains_key(header::RETRY_AFTER));
    suite
        .authenticate("a@example.com", "password")
        .await
        .problem(503);
    suite.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_or_virtual_host_is_told() {
    let virtual_host = virtual_host().await;
    for (url, said) in [
        (
            virtual_host.url.replace("guest:guest", "guest:wr0ng"),
            "ACCESS_REFUSED",
        ),
        (format!("{}-none", virtual_host.url), "NOT_ALLOWED"),
    ] {
        let broker = tests::suite::broker(&url, &Options::default()).await;
        let reason = eventually(said, Duration::from_secs(10), || async {
            let reason = broker.not_ready().await;
            reason.contains(said).then_some(reason)
        })
        .await;
        assert!(!reason.contains("wr0ng"), "{reason}");
        broker.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn publishing_and_consuming_resume_after_rabbitmq_was_away() {
    let mut node = Node::start().await;
    let virtual_host = node.virtual_host().await;
    let suite = Suite::start(&virtual_host.url).await;
    let before = suite.log(json!({"name": "before", "data": 1})).await;
    suite
        .logged(before.json()["data"]["id"].as_str().unwrap())
        .await;

    node.stop().await;
    for service in [&suite.broker, &suite.listener] {
        assert!(
            service
                .not_ready()
                .await
                .contains("no connection to RabbitMQ")
        );
    }
    suite
        .log(json!({"name": "while away", "data": 1}))
        .await
        .problem(503);

    node.start_again().await;
    // Ready again within 10 s of healing.
    for service in [&suite.broker, &suite.listener] {
        let url = service.url("/readyz");
        eventually(&url, Duration::from_secs(10), || async {
            (http::get(&url).await.status == 200).then_some(())
        })
        .await;
    }
    let after = suite.log(json!({"name": "after", "data": 1})).await;
    assert_eq!(after.status, 202, "{}", after.text);
    suite
        .logged(after.json()["data"]["id"].as_str().unwrap())
        .await;
    assert_eq!(
        suite
            .authenticate("nobody@example.com", "password")
            .await
            .status,
        401
    );
    suite.stop().await;
    node.stop().await;
}

/// The listener stops while it works, and another one takes over: nothing lost, nothing twice.
#[tokio::test(flavor = "multi_thread")]
async fn a_listener_that_stops_leaves_its_events_to_the_next_one() {
    let virtual_host = virtual_host().await;
    let suite = Suite::start(&virtual_host.url).await;
    let mut ids = Vec::new();
    for number in 0..200 {
        let answer = suite.log(json!({"name": "event", "data": number})).await;
        ids.push(answer.json()["data"]["id"].as_str().unwrap().to_owned());
    }
    let Suite { listener, .. } = &suite;
    assert_eq!(
        http::get(&listener.url("/routes")).await.json()["routes"][0]["consuming"],
        true
    );
    let dir = tempfile::tempdir().unwrap();
    let second = tests::suite::listener(
        &virtual_host.url,
        dir.path(),
        &suite.logger,
        &suite.auth,
        &Options::default(),
    )
    .await;
    let Suite {
        broker,
        listener,
        logger,
        auth,
        ..
    } = suite;
    listener.stop().await;
    second.ready().await;
    for id in &ids {
        let url = logger.url(&format!("/logs/{id}"));
        eventually(&url, Duration::from_secs(20), || async {
            (http::get(&url).await.status == 200).then_some(())
        })
        .await;
    }
    for service in [broker, second, auth, logger] {
        service.stop().await;
    }
}

/// 64 clients post 10,000 events while RabbitMQ is restarted: every 202 is at the logger, once,
/// and nothing is there that nobody posted.
#[tokio::test(flavor = "multi_thread")]
async fn every_accepted_event_survives_a_restart_under_load() {
    const CLIENTS: usize = 64;
    const EVENTS: usize = 10_000;
    let mut node = Node::start().await;
    let virtual_host = node.virtual_host().await;
    let suite = Suite::start(&virtual_host.url).await;

    let next = Arc::new(AtomicUsize::new(0));
    let restarted = Arc::new(AtomicBool::new(false));
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        let (next, restarted) = (next.clone(), restarted.clone());
        let url = suite.broker.url("/handle");
        clients.push(tokio::spawn(async move {
            let client = http::client();
            let mut accepted = Vec::new();
            let mut refused = 0_usize;
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                // The last tenth waits for the restart, so that it is always within the load.
                if number >= EVENTS * 9 / 10 {
                    eventually("the restart", Duration::from_secs(120), || async {
                        restarted.load(Ordering::Relaxed).then_some(())
                    })
                    .await;
                }
                if number >= EVENTS {
                    return (accepted, refused);
                }
                let body = json!({"action": "log", "log": {"name": "load", "data": number}});
                // As a client would: what was not accepted is posted again, as a new event.
                loop {
                    let answer = client.post(&url).json(&body).send().await.unwrap();
                    let answer = http::read(answer).await;
                    if answer.status == 202 {
                        accepted.push((
                            answer.json()["data"]["id"].as_str().unwrap().to_owned(),
                            number,
                        ));
                        break;
                    }
                    answer.problem(503);
                    refused += 1;
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }));
    }
    eventually("a fifth of the load", Duration::from_secs(120), || async {
        (next.load(Ordering::Relaxed) > EVENTS / 5).then_some(())
    })
    .await;
    node.stop().await;
    node.start_again().await;
    restarted.store(true, Ordering::Relaxed);

    let mut accepted = HashMap::new();
    let mut refused = 0;
    for client in clients {
        let (ids, refusals) = client.await.unwrap();
        accepted.extend(ids);
        refused += refusals;
    }
    assert_eq!(accepted.len(), EVENTS, "an id was given out twice");
    assert!(
        refused > 0,
        "the restart was not noticed, so nothing was tried"
    );

    let stored = stored_once_drained(&suite, &accepted).await;
    let unasked = stored.len() - accepted.len();
    // An event whose 202 was lost with the connection is stored under an id that no client knows.
    assert!(unasked <= CLIENTS, "{unasked} events nobody was told of");
    suite.stop().await;
    node.stop().await;
}

/// All events at the logger by id, once every accepted one is there.
async fn stored_once_drained(
    suite: &Suite,
    accepted: &HashMap<String, usize>,
) -> HashMap<String, u64> {
    eventually(
        "every accepted event is stored",
        Duration::from_secs(120),
        || async {
            let stored = all_stored(suite).await;
            accepted
                .keys()
                .all(|id| stored.contains_key(id))
                .then_some(stored)
        },
    )
    .await
}

async fn all_stored(suite: &Suite) -> HashMap<String, u64> {
    let mut stored = HashMap::new();
    let mut cursor = String::new();
    loop {
        let page = http::get(&suite.logger.url(&format!("/logs?limit=500{cursor}")))
            .await
            .json();
        for event in page["events"].as_array().unwrap() {
            let id = event["id"].as_str().unwrap().to_owned();
            let number = event["data"]["data"].as_u64().unwrap();
            assert!(stored.insert(id, number).is_none(), "stored twice: {event}");
        }
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return stored,
        }
    }
}
