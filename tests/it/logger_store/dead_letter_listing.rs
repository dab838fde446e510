//! `GET /dead-letters`: order, filters, pages.

use reqwest::Method;
use serde_json::{Value, json};

use super::dead_letters::{report, report_with};
use super::server::{Logger, Site};

impl Logger {
    /// The event ids of a listing, in its order.
    pub async fn dead(&self, query: &str) -> Vec<String> {
        event_ids(&self.get_json(&format!("/dead-letters?{query}")).await)
    }
}

pub async fn pages_cover_a_listing_of_dead_letters(site: Site) {
    let logger = site.start().await;
    let mut expected = Vec::new();
    for number in 0..12 {
        let id = number.to_string();
        logger.bury(&report(&id)).await;
        expected.insert(0, id);
    }
    let mut ids = Vec::new();
    let mut cursor = String::new();
    for page in 0..3 {
        let listing = logger
            .get_json(&format!("/dead-letters?limit=5&cursor={cursor}"))
            .await;
        ids.extend(event_ids(&listing));
        // What dies between two pages is newer than both, or keeps its place.
        logger.bury(&report(&format!("late {page}"))).await;
        let again = json!({"death": format!("again {page}")});
        logger.bury(&report_with("0", again)).await;
        assert_eq!(listing["total"], 12 + page);
        cursor = listing["next_cursor"].as_str().unwrap_or_default().into();
    }
    assert_eq!(ids, expected);
    assert_eq!(cursor, "");
}

pub async fn filters_select_dead_letters(site: Site) {
    let logger = site.start().await;
    let event = |id: &str, event_type: &str| json!({"id": id, "type": event_type, "source": "/shop", "extensions": {}});
    for (id, members) in [
        ("1", json!({"event": event("1", "order.placed")})),
        (
            "2",
            json!({"event": event("2", "order.paid"), "status": 500, "answer": "50% Off_a\\b"}),
        ),
        (
            "3",
            json!({"event": event("3", "orders"), "route": "crm", "reason": "Gone"}),
        ),
        (
            "4",
            json!({"event": event("4", "a"), "status": null, "answer": null, "route": "CRM"}),
        ),
    ] {
        logger.bury(&report_with(id, members)).await;
    }
    for (query, ids) in [
        ("", &["4", "3", "2", "1"][..]),
        ("route=crm", &["3"]),
        ("type=order.placed", &["1"]),
        ("type=order.*", &["2", "1"]),
        ("type=*", &["4", "3", "2", "1"]),
        ("event=2", &["2"]),
        ("status=422", &["3", "1"]),
        ("status=500&route=mailer", &["2"]),
        ("status=500&route=crm", &[]),
        ("q=gone", &["3"]),
        ("q=OFF", &["2"]),
        ("q=customer&type=orders", &["3"]),
        ("q=%25", &["2"]),
        ("q=_", &["2"]),
        ("q=%5C", &["2"]),
        ("q=5*f", &[]),
        ("q='%20OR%201=1", &[]),
        ("route=&q=&state=", &["4", "3", "2", "1"]),
        ("state=replayed", &[]),
        ("state=any&status=500", &["2"]),
    ] {
        let listing = logger.get_json(&format!("/dead-letters?{query}")).await;
        assert_eq!(event_ids(&listing), ids, "{query}");
        assert_eq!(listing["total"], ids.len(), "{query}");
    }
}

pub async fn states_and_times_of_death_select(site: Site) {
    let logger = site.start().await;
    for id in ["1", "2", "3"] {
        logger.bury(&report(id)).await;
    }
    let listing = logger.get_json("/dead-letters").await;
    let second = &listing["dead_letters"][1];
    let (id, time) = (&second["id"], &second["died_at"]);
    let (id, time) = (id.as_str().unwrap(), time.as_str().unwrap());
    assert_eq!(logger.dead(&format!("since={time}")).await, ["3", "2"]);
    assert_eq!(logger.dead(&format!("until={time}")).await, ["1"]);

    let path = format!("/dead-letters/{id}/discarded");
    assert_eq!(logger.send(Method::POST, &path, "").await.status, 200);
    assert_eq!(logger.dead("").await, ["3", "1"]);
    assert_eq!(logger.dead("state=discarded").await, ["2"]);
    assert_eq!(logger.dead("state=any").await, ["3", "2", "1"]);
}

pub async fn bad_queries_for_dead_letters_are_refused(site: Site) {
    let logger = site.start().await;
    for id in ["1", "2"] {
        logger.bury(&report(id)).await;
    }
    logger.store("1", "a.b", "x").await;
    logger.store("2", "a.b", "x").await;
    let cursor = |listing: Value| listing["next_cursor"].as_str().unwrap().to_owned();
    let own = cursor(logger.get_json("/dead-letters?limit=1").await);
    let of_events = cursor(logger.get_json("/logs?limit=1").await);
    for (query, named) in [
        ("limit=0", "limit"),
        ("limit=501", "limit"),
        ("state=alive", "state"),
        ("status=abc", "status"),
        ("status=-1", "status"),
        ("since=yesterday", "since"),
        ("until=2026-01-02", "until"),
        ("q=%00", "q"),
        ("route=%00", "route"),
        ("colour=red", "colour"),
        ("all=true", "all"),
        ("cursor=x", "cursor"),
        (&format!("cursor={of_events}"), "cursor"),
        (&format!("cursor={own}&state=any"), "cursor"),
        (&format!("cursor={own}&route=mailer"), "cursor"),
    ] {
        let answer = logger.get(&format!("/dead-letters?{query}")).await;
        let message = answer.problem(400);
        assert!(message.contains(named), "{query}: {message}");
    }
    assert_eq!(logger.dead(&format!("cursor={own}")).await, ["1"]);
}

fn event_ids(listing: &Value) -> Vec<String> {
    let dead_letters = listing["dead_letters"].as_array().unwrap();
    dead_letters
        .iter()
        .map(|dead_letter| dead_letter["event_id"].as_str().unwrap().to_owned())
        .collect()
}
