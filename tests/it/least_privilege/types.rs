//! Types of events that the broker may not publish.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use serde_json::json;
use tests::{http, provided::Provided, suite::Suite};

const FORBIDDEN: &str = "urn:problem:forbidden";

async fn log(suite: &Suite, level: &str) -> http::Answer {
    suite
        .log(json!({"name": "event", "data": 1, "level": level}))
        .await
}

/// RabbitMQ closes the channel at each of them, and its verdicts are lost with a channel.
#[tokio::test(flavor = "multi_thread")]
async fn a_type_that_is_refused_is_a_403_and_disturbs_no_other_one() {
    let provided = Provided::new(None, &["--types", "log.INFO,log.WARN,auth"]).await;
    let suite = provided.suite(None).await;
    suite.ready().await;
    for level in ["INFO", "WARN"] {
        assert_eq!(log(&suite, level).await.status, 202);
    }

    let done = AtomicBool::new(false);
    let others = async {
        let mut accepted = 0;
        while !done.load(Ordering::Relaxed) {
            let answer = log(&suite, ["INFO", "WARN"][accepted % 2]).await;
            assert_eq!(answer.status, 202, "{}", answer.text);
            accepted += 1;
            let ready = http::get(&suite.broker.url("/readyz")).await;
            assert_eq!(ready.status, 200, "{}", ready.text);
        }
        accepted
    };
    let refused = async {
        for number in 0..20 {
            let level = format!("REFUSED-{number}");
            let answer = log(&suite, &level).await;
            let message = answer.problem(403);
            assert!(message.contains(&format!("log.{level}")), "{message}");
            assert_eq!(answer.json()["type"], FORBIDDEN);
        }
        done.store(true, Ordering::Relaxed);
    };
    let (accepted, ()) = tokio::join!(others, refused);
    assert!(accepted > 20, "{accepted}");
    // A type that was never published goes by the channel that was closed all the time.
    suite
        .authenticate("nobody@example.com", "wrong")
        .await
        .problem(401);
    suite.stop().await;
}

/// The second time nothing is sent; and a key whose words RabbitMQ cuts off is understood.
#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_is_remembered_for_a_moment_and_no_longer() {
    let provided = Provided::new(None, &["--types", "auth"]).await;
    let suite = provided.suite(None).await;
    suite.ready().await;
    log(&suite, "INFO").await.problem(403);
    let begun = Instant::now();
    for _ in 0..100 {
        assert_eq!(log(&suite, "INFO").await.json()["type"], FORBIDDEN);
    }
    // Each new channel would take 0.1 s at the least.
    assert!(
        begun.elapsed() < Duration::from_secs(5),
        "{:?}",
        begun.elapsed()
    );

    provided.import(&provided.with_types("broker", ".*")).await;
    tests::eventually("the type is taken", Duration::from_secs(20), || async {
        (log(&suite, "INFO").await.status == 202).then_some(())
    })
    .await;
    suite.stop().await;
}
