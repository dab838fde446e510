//! Replaying many at once.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::Value;
use tests::{
    eventually, http,
    rabbitmq::{Node, signal},
    suite::listener,
};

use super::{PATIENCE, Refused, only_one};

/// Runs a job to its end and returns its lines.
async fn replay(refused: &Refused, query: &str) -> Vec<Value> {
    let answer = refused.ask(Method::POST, &format!("/replay?{query}")).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    let lines = answer.text.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_filter_replays_its_own_at_a_bounded_rate_and_tells_how_far_it_is() {
    const EVENTS: u64 = 20;
    const RATE: u64 = 10;
    let refused = Refused::start().await;
    for number in 0..EVENTS {
        refused.post("INFO", &number.to_string()).await;
        refused.post("WARN", &number.to_string()).await;
    }
    refused.listed("", 2 * EVENTS).await;
    let before = refused.target.count();
    refused.accept();

    let start = Instant::now();
    let lines = replay(&refused, &format!("route=one&rate={RATE}")).await;
    // The first one needs no wait.
    assert!(start.elapsed() >= Duration::from_millis((EVENTS - 1) * 1000 / RATE));
    let (last, progress) = lines.split_last().unwrap();
    assert_eq!(last["event"], "finished");
    assert_eq!(
        (&last["replayed"], &last["failed"], &last["total"]),
        (&EVENTS.into(), &0.into(), &EVENTS.into())
    );
    let counts: Vec<_> = progress
        .iter()
        .map(|line| line["replayed"].as_u64().unwrap())
        .collect();
    assert!(counts.is_sorted() && counts.len() > 3, "{counts:?}");

    let received = refused.target.wait_for(before + 20).await;
    assert!(
        received[before..]
            .iter()
            .all(|event| event.header("ce-type") == "log.INFO")
    );
    refused.listed("route=one", 0).await;
    refused.listed("route=two", EVENTS).await;
    refused.stop().await;
}

/// Were the page read again from its beginning, such a job would never end.
#[tokio::test(flavor = "multi_thread")]
async fn what_dies_again_is_dead_again_and_the_job_ends() {
    const EVENTS: u64 = 30;
    let refused = Refused::start().await;
    for number in 0..EVENTS {
        refused.post("INFO", &number.to_string()).await;
    }
    refused.listed("", EVENTS).await;
    let lines = replay(&refused, "all=true&rate=1000").await;
    assert_eq!(lines.last().unwrap()["replayed"], EVENTS);

    let url = refused.suite.listener.url("/dead-letters?limit=500");
    let letters = eventually("all are dead again", PATIENCE, || async {
        let listing = http::get(&url).await.json();
        let letters = listing["dead_letters"].as_array().unwrap().clone();
        let again = letters
            .iter()
            .filter(|letter| letter["deaths"] == 2)
            .count();
        (again as u64 == EVENTS).then_some(letters)
    })
    .await;
    assert_eq!(letters.len() as u64, EVENTS);
    assert_eq!(refused.target.count() as u64, 2 * EVENTS);
    refused.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_stops_when_nobody_reads_its_lines() {
    const EVENTS: u64 = 20;
    let refused = Refused::start().await;
    for number in 0..EVENTS {
        refused.post("INFO", &number.to_string()).await;
    }
    refused.listed("", EVENTS).await;
    refused.accept();
    let url = refused
        .suite
        .listener
        .url("/dead-letters/replay?all=true&rate=4");
    let mut answer = http::client().post(url).send().await.unwrap();
    answer.chunk().await.unwrap();
    drop(answer);
    let replayed = eventually("the job stops", PATIENCE, || async {
        let received = refused.target.received();
        let idle = received.last().unwrap().at.elapsed();
        (idle > Duration::from_secs(2)).then(|| received.len() as u64 - EVENTS)
    })
    .await;
    assert!(replayed < EVENTS, "{replayed}");
    refused.listed("state=replayed", replayed).await;
    refused.listed("", EVENTS - replayed).await;
    refused.stop().await;
}

/// The last ones of a job fail after nothing more is started, and count all the same.
#[tokio::test(flavor = "multi_thread")]
async fn a_job_whose_last_replays_did_not_come_to_an_end_has_stopped() {
    const EVENTS: u64 = 3;
    let mut node = Node::start().await;
    let virtual_host = node.virtual_host().await;
    let refused = Refused::start_in(virtual_host).await;
    for number in 0..EVENTS {
        refused.post("INFO", &number.to_string()).await;
    }
    refused.listed("", EVENTS).await;
    refused.accept();
    signal(node.pid(), "STOP");
    let url = refused.suite.listener.url("/dead-letters/replay?all=true");
    // Each is tried for half a minute.
    let job = http::client().post(url).timeout(Duration::from_secs(120));
    let lines = job.send().await.unwrap().text().await.unwrap();
    signal(node.pid(), "CONT");
    let last: Value = serde_json::from_str(lines.lines().last().unwrap()).unwrap();
    assert_eq!(last["event"], "stopped", "{lines}");
    assert_eq!(last["replayed"], 0, "{lines}");
    assert!(last["reason"].is_string(), "{lines}");
    refused.stop().await;
    node.stop().await;
}

/// A route that no listener has any more.
#[tokio::test(flavor = "multi_thread")]
async fn a_queue_that_is_gone_fails_its_own_letters_only() {
    let mut refused = Refused::start().await;
    refused.post("INFO", "a").await;
    let event = refused.post("WARN", "b").await;
    refused.listed("", 2).await;
    refused.suite.listener.stop().await;
    let queue = "events.topic.exchange.queue.two";
    refused.virtual_host.management.delete_queue(queue).await;
    let options = only_one(&refused.target);
    let (logger, auth) = (&refused.suite.logger, &refused.suite.auth);
    let url = &refused.virtual_host.url;
    refused.suite.listener = listener(url, refused.suite.dir.path(), logger, auth, &options).await;
    refused.suite.listener.ready().await;
    refused.accept();

    let lines = replay(&refused, "all=true").await;
    let failed = lines.iter().find(|line| line["event"] == "failed").unwrap();
    assert!(
        failed["reason"].as_str().unwrap().contains(queue),
        "{failed}"
    );
    let last = lines.last().unwrap();
    assert_eq!(
        (&last["event"], &last["replayed"], &last["failed"]),
        (&"finished".into(), &1.into(), &1.into())
    );
    let letters = refused.listed("", 1).await;
    assert_eq!(letters[0]["event_id"], event);
    let one = letters[0]["id"].as_str().unwrap();
    let answer = refused.ask(Method::POST, &format!("/{one}/replay")).await;
    assert!(answer.problem(409).contains(queue));
    refused.stop().await;
}
