//! `GET /logs`: order, filters, pages.

use serde_json::{Value, json};
use tests::http::Answer;

use super::server::{Delivery, Logger, Site};

pub async fn pages_cover_a_listing_that_grows(site: Site) {
    let logger = site.start().await;
    let mut expected = Vec::new();
    for number in 0..12 {
        let id = number.to_string();
        logger.store(&id, "a.b", "x").await;
        expected.insert(0, id);
    }
    assert_eq!(logger.ids("").await, expected);

    let mut ids = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = logger
            .get_json(&format!("/logs?limit=5&cursor={cursor}"))
            .await;
        ids.extend(ids_of(&page));
        // What arrives between two pages is newer than both.
        logger
            .store(&format!("late {}", ids.len()), "a.b", "x")
            .await;
        let Some(next) = page["next_cursor"].as_str() else {
            break;
        };
        assert!(ids.len() <= 10, "{ids:?}");
        cursor = next.to_owned();
    }
    assert_eq!(ids, expected);
    // A page that ends exactly at the end has no next one.
    assert_eq!(
        logger.get_json("/logs?limit=15").await["next_cursor"],
        Value::Null
    );
}

pub async fn filters_select(site: Site) {
    let logger = site.start().await;
    for (id, event_type, source, name) in [
        ("1", "order.placed", "/shop", "alpha"),
        ("2", "order.paid", "/shop", "beta"),
        ("3", "Order.placed", "/shop", "Alpha"),
        ("4", "orders", "/bank", "alpha"),
    ] {
        let headers = [
            ("ce-specversion", "1.0"),
            ("ce-id", id),
            ("ce-type", event_type),
            ("ce-source", source),
            ("content-type", "application/json"),
        ];
        let answer = logger
            .post(&headers, json!({"name": name}).to_string())
            .await;
        assert_eq!(answer.status, 201, "{}", answer.text);
    }
    for (query, ids) in [
        ("type=order.placed", &["1"][..]),
        ("type=order.*", &["2", "1"]),
        ("type=order*", &["4", "2", "1"]),
        ("type=*", &["4", "3", "2", "1"]),
        ("type=order", &[]),
        ("type=order_placed", &[]),
        ("type=%25", &[]),
        ("source=/bank", &["4"]),
        ("name=alpha", &["4", "1"]),
        ("name=alpha&source=/shop", &["1"]),
        ("name=%27%20OR%201=1", &[]),
        ("type=&name=&q=", &["4", "3", "2", "1"]),
    ] {
        assert_eq!(logger.ids(query).await, ids, "{query}");
    }
}

pub async fn a_search_takes_wildcards_literally(site: Site) {
    let logger = site.start().await;
    let texts = [
        "100% Sure",
        "100 percent",
        "a_b",
        "a\\b",
        "É",
        "é",
        "it's \"quoted\"",
    ];
    for (number, text) in texts.iter().enumerate() {
        logger.store(&number.to_string(), "a.b", text).await;
    }
    let bytes = Delivery {
        id: "bytes",
        event_type: "a.b",
        content_type: "text/plain",
        data: b"sure\xff",
    };
    assert_eq!(logger.deliver(&bytes).await.status, 201);
    for (query, ids) in [
        ("%25", &["0"][..]),
        ("100%25", &["0"]),
        ("SURE", &["0"]),
        ("a_b", &["2"]),
        ("_", &["2"]),
        ("a%5Cb", &["3"]),
        ("%5C", &["3"]),
        // Letters outside ASCII are compared as they are, on both databases.
        ("%C3%89", &["4"]),
        ("%C3%A9", &["5"]),
        ("'s%20%22Q", &["6"]),
        ("1*0", &[]),
    ] {
        assert_eq!(logger.ids(&format!("q={query}")).await, ids, "{query}");
    }
}

pub async fn times_select_by_arrival(site: Site) {
    let logger = site.start().await;
    for id in ["1", "2", "3"] {
        logger.store(id, "a.b", "x").await;
    }
    let received_at = logger.get_json("/logs/2").await["received_at"].clone();
    let time = received_at.as_str().unwrap();
    assert_eq!(logger.ids(&format!("since={time}")).await, ["3", "2"]);
    assert_eq!(logger.ids(&format!("until={time}")).await, ["1"]);
    assert!(
        logger
            .ids(&format!("since={time}&until={time}"))
            .await
            .is_empty()
    );
    assert_eq!(
        logger.ids("since=2020-01-01T00:00:00%2B02:00").await.len(),
        3
    );
}

pub async fn a_page_is_bounded_by_its_size(site: Site) {
    let logger = site.start().await;
    let megabyte = "x".repeat(1024 * 1024);
    for number in 0..6 {
        logger.store(&number.to_string(), "a.b", &megabyte).await;
    }
    let first = logger.get_json("/logs?limit=500").await;
    assert_eq!(ids_of(&first), ["5", "4", "3"]);
    let cursor = first["next_cursor"].as_str().unwrap();
    let second = logger
        .get_json(&format!("/logs?limit=500&cursor={cursor}"))
        .await;
    assert_eq!(ids_of(&second), ["2", "1", "0"]);
    assert_eq!(second["next_cursor"], Value::Null);
}

pub async fn bad_queries_are_refused(site: Site) {
    let logger = site.start().await;
    for id in ["1", "2"] {
        logger.store(id, "a.b", "x").await;
    }
    let page = logger.get_json("/logs?limit=1&type=a.b").await;
    let cursor = page["next_cursor"].as_str().unwrap();
    let long = "x".repeat(1025);
    for (query, named) in [
        ("limit=-1", "limit"),
        ("limit=0", "limit"),
        ("limit=501", "limit"),
        ("limit=1000000000", "limit"),
        ("limit=99999999999999999999999", "limit"),
        ("limit=ten", "limit"),
        ("since=yesterday", "since"),
        ("since=2026-01-02", "since"),
        ("until=2026-13-02T00:00:00Z", "until"),
        ("until=2026-01-02T00:00:00", "until"),
        ("colour=red", "colour"),
        ("type=a&type=b", "type"),
        ("q=%00", "q"),
        ("source=%00", "source"),
        (&format!("name={long}"), "name"),
        ("cursor=x", "cursor"),
        ("cursor=AAAAAAAAAAEAAAAAAAAAAA", "cursor"),
        (&format!("type=a.b&cursor={}", &cursor[1..]), "cursor"),
        (&format!("type=a.*&cursor={cursor}"), "cursor"),
    ] {
        let message = logger.get(&format!("/logs?{query}")).await.problem(400);
        assert!(message.contains(named), "{query}: {message}");
    }
    assert_eq!(
        logger.ids(&format!("type=a.b&cursor={cursor}")).await,
        ["1"]
    );
    refuses_bad_ids(&logger).await;
}

async fn refuses_bad_ids(logger: &Logger) {
    let problem = |answer: Answer, status| answer.problem(status);
    problem(logger.get("/logs/unknown").await, 404);
    problem(logger.get("/logs/%00").await, 400);
    problem(logger.get("/logs/%FF").await, 400);
    problem(logger.get(&format!("/logs/{}", "x".repeat(257))).await, 400);
}

pub async fn deep_data_parses_at_the_client(site: Site) {
    let logger = site.start().await;
    for (id, levels, member) in [("deep", 124, "data"), ("deepest", 127, "data_base64")] {
        let data = "[".repeat(levels) + &"]".repeat(levels);
        let delivery = Delivery {
            id,
            event_type: "a.b",
            content_type: "application/json",
            data: data.as_bytes(),
        };
        assert_eq!(logger.deliver(&delivery).await.status, 201);
        let listing = logger.get_json("/logs?limit=1").await;
        assert!(listing["events"][0].get(member).is_some(), "{id}");
    }
}

fn ids_of(listing: &Value) -> Vec<String> {
    let events = listing["events"].as_array().unwrap();
    events
        .iter()
        .map(|event| event["id"].as_str().unwrap().to_owned())
        .collect()
}
