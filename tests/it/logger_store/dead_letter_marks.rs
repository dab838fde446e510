//! What happens to dead letters: replayed, discarded one by one, discarded by filter.

use reqwest::Method;
use serde_json::{Value, json};
use tests::http::Answer;

use super::dead_letters::{report, report_with};
use super::server::{Logger, Site};

impl Logger {
    async fn replayed(&self, id: &str, death: &str) -> Answer {
        let path = format!("/dead-letters/{id}/replayed");
        let body = json!({"death": death}).to_string();
        self.send(Method::POST, &path, body).await
    }

    async fn discarded(&self, id: &str) -> Answer {
        let path = format!("/dead-letters/{id}/discarded");
        self.send(Method::POST, &path, "").await
    }

    async fn discard(&self, query: &str) -> Answer {
        let path = format!("/dead-letters/discard{query}");
        self.send(Method::POST, &path, "").await
    }

    async fn state(&self, id: &str) -> Value {
        self.get_json(&format!("/dead-letters/{id}")).await["state"].clone()
    }
}

pub async fn a_replay_is_marked_unless_the_event_died_again(site: Site) {
    let logger = site.start().await;
    let id = logger.bury(&report("1")).await;
    let answer = logger.replayed(&id, "first").await;
    let marked = json!({"error": false, "message": "marked as replayed", "data": {"id": id}});
    assert_eq!((answer.status.as_u16(), answer.json()), (200, marked));
    assert_eq!(logger.state(&id).await, "replayed");
    assert_eq!(logger.replayed(&id, "first").await.status, 200);
    logger.discarded(&id).await.problem(409);

    // It dies again before a late mark of the first replay.
    logger
        .bury(&report_with("1", json!({"death": "second"})))
        .await;
    logger.replayed(&id, "first").await.problem(409);
    assert_eq!(logger.state(&id).await, "dead");
    assert_eq!(logger.replayed(&id, "second").await.status, 200);
}

pub async fn what_is_discarded_may_be_replayed_all_the_same(site: Site) {
    let logger = site.start().await;
    let id = logger.bury(&report("1")).await;
    for _ in 0..2 {
        let answer = logger.discarded(&id).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        assert_eq!(answer.json()["data"], json!({"id": id}));
        assert_eq!(logger.state(&id).await, "discarded");
    }
    assert_eq!(logger.replayed(&id, "first").await.status, 200);
    assert_eq!(logger.state(&id).await, "replayed");
}

pub async fn what_is_not_there_is_404(site: Site) {
    let logger = site.start().await;
    logger.bury(&report("1")).await;
    for id in ["00000000-0000-5000-8000-000000000000", "none", "%00", "%FF"] {
        logger
            .get(&format!("/dead-letters/{id}"))
            .await
            .problem(404);
        let data = logger.get(&format!("/dead-letters/{id}/data")).await;
        data.problem(404);
        logger.replayed(id, "first").await.problem(404);
        logger.discarded(id).await.problem(404);
    }
    let id = logger.bury(&report("2")).await;
    for body in ["", "{}", r#"{"death":""}"#, r#"{"death":"a","b":1}"#] {
        let path = format!("/dead-letters/{id}/replayed");
        logger.send(Method::POST, &path, body).await.problem(400);
    }
}

pub async fn a_filter_discards_what_is_dead_and_matches(site: Site) {
    let logger = site.start().await;
    for id in ["1", "2"] {
        logger.bury(&report(id)).await;
    }
    let other = logger
        .bury(&report_with("3", json!({"route": "crm"})))
        .await;
    let replayed = logger.bury(&report("4")).await;
    assert_eq!(logger.replayed(&replayed, "first").await.status, 200);

    let answer = logger.discard("?route=mailer&q=CUSTOMER").await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert_eq!(answer.json()["error"], false);
    assert_eq!(answer.json()["data"], json!({"discarded": 2}));
    assert_eq!(logger.dead("state=discarded").await, ["2", "1"]);
    assert_eq!(logger.state(&replayed).await, "replayed");
    assert_eq!(logger.state(&other).await, "dead");
    let again = logger.discard("?route=mailer").await;
    assert_eq!(again.json()["data"], json!({"discarded": 0}));
}

pub async fn all_are_discarded_only_by_that_word(site: Site) {
    let logger = site.start().await;
    for id in ["1", "2"] {
        logger.bury(&report(id)).await;
    }
    for (query, named) in [
        ("", "all=true"),
        ("?route=", "all=true"),
        ("?all=false", "all"),
        ("?all=1&route=mailer", "all"),
        ("?state=dead", "state"),
        ("?all=true&limit=1", "limit"),
        ("?all=true&cursor=x", "cursor"),
        ("?rout=mailer", "rout"),
        ("?route=mailer&status=x", "status"),
    ] {
        let message = logger.discard(query).await.problem(400);
        assert!(message.contains(named), "{query}: {message}");
    }
    assert_eq!(logger.dead("").await, ["2", "1"]);
    let answer = logger.discard("?all=true").await;
    assert_eq!(answer.json()["data"], json!({"discarded": 2}));
    assert!(logger.dead("").await.is_empty());
}
