//! PostgreSQL is away: at the start, and in the middle.

use std::time::Duration;

use reqwest::StatusCode;
use tests::eventually;
use tests::postgres::Server;

use super::dead_letters::report;
use super::server::{Delivery, Site};

const DELIVERY: Delivery<'static> = Delivery {
    id: "away",
    event_type: "a.b",
    content_type: "text/plain",
    data: b"x",
};

#[tokio::test]
async fn a_server_that_comes_later_is_waited_for() {
    let postgres = Server::start().await;
    let site = Site::at(postgres.create_database().await);
    postgres.stop().await;
    let logger = site.launch().await;
    let reason = eventually("a reason", Duration::from_secs(5), async || {
        let reason = logger.get("/readyz").await.problem(503);
        reason.contains("cannot connect").then_some(reason)
    })
    .await;
    assert!(reason.contains("database"), "{reason}");
    assert_eq!(logger.get("/healthz").await.status, StatusCode::OK);
    let answer = logger.deliver(&DELIVERY).await;
    answer.problem(503);
    assert_eq!(answer.headers["retry-after"], "1");
    logger.get("/logs").await.problem(503);

    postgres.start_again().await;
    logger.ready().await;
    assert_eq!(logger.deliver(&DELIVERY).await.status, 201);
}

#[tokio::test]
async fn a_crash_loses_nothing_that_was_answered() {
    let postgres = Server::start().await;
    let site = Site::at(postgres.create_database().await);
    let logger = site.start().await;
    for number in 0..20 {
        logger.store(&number.to_string(), "a.b", "x").await;
    }
    postgres.stop().await;
    logger.deliver(&DELIVERY).await.problem(503);
    logger.get("/logs").await.problem(503);
    let reason = logger.get("/readyz").await.problem(503);
    assert!(reason.contains("database"), "{reason}");

    postgres.start_again().await;
    logger.ready().await;
    assert_eq!(logger.ids("").await.len(), 20);
    // Nothing of the refused one was left behind, so it is new.
    assert_eq!(logger.deliver(&DELIVERY).await.status, 201);
    assert_eq!(logger.deliver(&DELIVERY).await.status, 200);
}

#[tokio::test]
async fn no_dead_letter_is_taken_meanwhile() {
    let postgres = Server::start().await;
    let logger = Site::at(postgres.create_database().await).start().await;
    postgres.stop().await;
    let answer = logger.report(&report("1")).await;
    answer.problem(503);
    assert_eq!(answer.headers["retry-after"], "1");
    logger.get("/dead-letters").await.problem(503);
    postgres.start_again().await;
    logger.ready().await;
    logger.bury(&report("1")).await;
    assert_eq!(logger.report(&report("1")).await.status, 200);
}
