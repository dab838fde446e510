//! Many writers, a stuck database, a restart: what is answered stays.

use std::collections::HashMap;
use std::sync::Arc;

use futures_util::future::join_all;
use serde_json::json;
use sqlx::AnyPool;
use tests::OrPanic as _;

use super::dead_letters::report;
use super::server::{Delivery, Site};

pub async fn of_many_deliveries_at_once_one_is_stored(site: Site) {
    // As behind a load balancer: redeliveries reach either instance.
    let loggers = [site.start().await, site.start().await];
    let deliveries = (0..100).map(|number| {
        let logger = &loggers[number % 2];
        let data: &[u8] = if number % 3 == 0 { b"other" } else { b"one" };
        async move {
            let delivery = Delivery {
                id: "1",
                event_type: "a.b",
                content_type: "text/plain",
                data,
            };
            (logger.deliver(&delivery).await.status.as_u16(), data)
        }
    });
    let answers = join_all(deliveries).await;
    let mut counts: HashMap<u16, usize> = HashMap::new();
    for (status, _) in &answers {
        *counts.entry(*status).or_default() += 1;
    }
    let (_, stored) = answers
        .iter()
        .find(|(status, _)| *status == 201)
        .expect("one is new");
    let same = answers.iter().filter(|(_, data)| data == stored).count();
    assert_eq!(
        counts,
        HashMap::from([(201, 1), (200, same - 1), (409, 100 - same)])
    );
    let event = loggers[0].get_json("/logs/1").await;
    assert_eq!(event["data"].as_str().map(str::as_bytes), Some(*stored));
    assert_eq!(loggers[1].ids("").await, ["1"]);
}

pub async fn what_is_answered_is_committed(site: Site) {
    let logger = Arc::new(site.start().await);
    // Separate connections see only what is committed.
    let witness = witness(&site).await;
    let writes = (0..200).map(|number| {
        let (logger, witness) = (logger.clone(), witness.clone());
        tokio::spawn(async move {
            let id = number.to_string();
            logger.store(&id, "a.b", &id).await;
            let row = "SELECT COUNT(*) FROM events WHERE id = $1";
            assert_committed(&witness, row, &id).await;
        })
    });
    for written in join_all(writes).await {
        written.or_panic("a write");
    }
    assert_eq!(logger.ids("limit=500").await.len(), 200);
}

pub async fn a_locked_table_is_503_and_then_works_again(site: Site) {
    let logger = site.start().await;
    let mut other = witness(&site)
        .await
        .acquire()
        .await
        .or_panic("a connection");
    let lock = if site.database_url.starts_with("sqlite:") {
        "BEGIN IMMEDIATE"
    } else {
        "BEGIN; LOCK TABLE events IN SHARE MODE"
    };
    sqlx::raw_sql(lock)
        .execute(&mut *other)
        .await
        .or_panic("a lock");
    let delivery = Delivery {
        id: "1",
        event_type: "a.b",
        content_type: "text/plain",
        data: b"x",
    };
    let answer = logger.deliver(&delivery).await;
    answer.problem(503);
    assert_eq!(answer.headers["retry-after"], "1");
    // Readers are not in the way of a writer, nor a writer in theirs.
    assert!(logger.ids("").await.is_empty());

    sqlx::raw_sql("ROLLBACK")
        .execute(&mut *other)
        .await
        .or_panic("a rollback");
    assert_eq!(logger.deliver(&delivery).await.status, 201);
    assert_eq!(logger.ids("").await, ["1"]);
}

pub async fn events_outlive_the_service(site: Site) {
    let first = site.start().await;
    first.store("1", "a.b", "x").await;
    let before = first.get_json("/logs/1").await;
    first.stop().await;
    let second = site.start().await;
    assert_eq!(second.get_json("/logs/1").await, before);
    second.store("2", "a.b", "x").await;
    assert_eq!(second.ids("").await, ["2", "1"]);
    let metrics = second.get("/metrics").await.text;
    assert!(
        metrics.contains(r#"logger_events_total{outcome="new"}"#),
        "{metrics}"
    );
    assert_eq!(json!(second.ids("q=X").await), json!(["2", "1"]));
}

pub async fn a_death_that_is_answered_is_committed(site: Site) {
    let logger = Arc::new(site.start().await);
    let witness = witness(&site).await;
    let reports = (0..50).map(|number| {
        let (logger, witness) = (logger.clone(), witness.clone());
        tokio::spawn(async move {
            let id = logger.bury(&report(&number.to_string())).await;
            let row = "SELECT COUNT(*) FROM dead_letters WHERE id = $1";
            assert_committed(&witness, row, &id).await;
        })
    });
    for reported in join_all(reports).await {
        reported.or_panic("a report");
    }
    assert_eq!(logger.get_json("/dead-letters").await["total"], 50);
}

async fn assert_committed(witness: &AnyPool, row: &'static str, id: &str) {
    let seen = sqlx::query_scalar(row).bind(id).fetch_one(witness).await;
    let seen: i64 = seen.or_panic(id);
    assert_eq!(seen, 1, "{id} was answered and is not committed");
}

pub async fn witness(site: &Site) -> AnyPool {
    sqlx::any::install_default_drivers();
    AnyPool::connect(&site.database_url)
        .await
        .or_panic("a connection")
}
