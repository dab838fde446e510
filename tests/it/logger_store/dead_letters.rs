//! `POST /dead-letters`: whatever died is taken in, once for each death.

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};
use tests::OrPanic as _;
use tests::http::Answer;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::server::{Logger, Site};

/// What the listener says of an event with this id and the data `data`.
pub fn report(event_id: &str) -> Value {
    json!({
        "route": "mailer", "queue": "events.queue.mailer", "death": "first",
        "reason": "the target answered 422", "status": 422, "attempts": 1,
        "first_failure": "2026-01-02T03:04:05Z", "last_failure": "2026-01-02T03:04:06.5Z",
        "answer": "no such customer", "exchange": "events.topic.exchange",
        "routing_key": "order.placed",
        "event": {"id": event_id, "type": "order.placed", "source": "/shop", "extensions": {}},
        "data_base64": "ZGF0YQ==",
    })
}

/// The report with other members.
pub fn report_with(event_id: &str, members: Value) -> Value {
    let mut report = report(event_id);
    for (name, value) in members.as_object().cloned().unwrap_or_default() {
        report[name] = value;
    }
    report
}

impl Logger {
    pub async fn report(&self, report: &Value) -> Answer {
        self.send(Method::POST, "/dead-letters", report.to_string())
            .await
    }

    /// Stores a death that must be new, and returns the id of its dead letter.
    pub async fn bury(&self, report: &Value) -> String {
        let answer = self.report(report).await;
        assert_eq!(answer.status, 201, "{}", answer.text);
        answer.json()["data"]["id"].as_str().unwrap().to_owned()
    }
}

pub async fn a_dead_letter_is_given_back_as_it_came(site: Site) {
    let logger = site.start().await;
    let event = json!({
        "id": "event-1", "type": "order.placed", "source": "/shop", "subject": "order 1",
        "time": "2026-01-02T03:04:05.000006+01:00", "content_type": "application/json",
        "extensions": {"traceparent": "00-1-2-01", "Euro €": ""},
    });
    let report = report_with(
        "event-1",
        json!({"event": event, "data_base64": "eyAibiI6MWU0MDAgfQ==", "original_base64": "gAAB"}),
    );
    let answer = logger.report(&report).await;
    assert_eq!(answer.status, 201, "{}", answer.text);
    let id = answer.json()["data"]["id"].clone();
    let stored = json!({"error": false, "message": "dead letter stored", "data": {"id": id}});
    assert_eq!(answer.json(), stored);

    let id = id.as_str().unwrap();
    let whole = logger.get(&format!("/dead-letters/{id}")).await;
    // Byte for byte, and read by hand, since a JSON library may refuse or round the number.
    let data = r#","data":{ "n":1e400 }"#;
    assert!(whole.text.contains(data), "{}", whole.text);
    let mut whole: Value = serde_json::from_str(&whole.text.replace(data, "")).unwrap();
    let died_at = whole["died_at"].clone();
    assert!(died_at.as_str().unwrap().ends_with('Z'), "{died_at}");
    let mut expected = json!({
        "id": id, "state": "dead", "event_id": "event-1", "type": "order.placed",
        "last_failure": "2026-01-02T03:04:06.5Z", "died_at": died_at, "deaths": 1,
        "data_bytes": 13, "event": event,
    });
    let same = [
        "route",
        "queue",
        "death",
        "reason",
        "status",
        "attempts",
        "first_failure",
        "answer",
        "exchange",
        "routing_key",
        "original_base64",
    ];
    for name in same {
        expected[name] = report[name].clone();
    }
    assert_eq!(whole, expected);

    // For a program that must have the same bytes, whatever its JSON library makes of them.
    let exact = logger
        .get_json(&format!("/dead-letters/{id}?data=base64"))
        .await;
    assert_eq!(exact["data_base64"], report["data_base64"]);
    assert_eq!((&exact["event"], &exact["data"]), (&event, &Value::Null));
    let other = logger.get(&format!("/dead-letters/{id}?data=hex")).await;
    assert!(other.problem(400).contains("data"));

    for name in ["exchange", "routing_key", "event", "original_base64"] {
        whole.as_object_mut().unwrap().remove(name);
    }
    let listing = json!({"dead_letters": [whole], "total": 1, "next_cursor": null});
    assert_eq!(logger.get_json("/dead-letters").await, listing);
    // It is none of the events.
    assert!(logger.ids("").await.is_empty());
}

pub async fn its_data_alone_is_a_download(site: Site) {
    let logger = site.start().await;
    let page = "<script>alert(1)</script>";
    let report = report_with(
        "1",
        json!({"data_base64": "PHNjcmlwdD5hbGVydCgxKTwvc2NyaXB0Pg=="}),
    );
    let id = logger.bury(&report).await;
    let answer = logger.get(&format!("/dead-letters/{id}/data")).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.text, page);
    assert_eq!(answer.headers["content-type"], "application/octet-stream");
    assert_eq!(answer.headers["x-content-type-options"], "nosniff");
    assert_eq!(answer.headers["content-disposition"], "attachment");
}

pub async fn an_event_that_dies_again_is_the_same_dead_letter(site: Site) {
    let logger = site.start().await;
    let id = logger.bury(&report("1")).await;
    let newer = logger.bury(&report("2")).await;
    let members = json!({
        "death": "second", "reason": "the target is gone", "status": null, "attempts": 6,
        "first_failure": null, "last_failure": "no time", "answer": null,
    });
    let again = report_with("1", members);
    assert_eq!(logger.bury(&again).await, id);
    let listing = logger.get_json("/dead-letters").await;
    let (first, second) = (&listing["dead_letters"][0], &listing["dead_letters"][1]);
    assert_eq!((&first["id"], &second["id"]), (&json!(newer), &json!(id)));
    assert_eq!(second["deaths"], 2);
    assert_eq!(second["death"], "second");
    assert_eq!(second["reason"], "the target is gone");
    assert_eq!(second["attempts"], 6);
    assert!(second["died_at"].as_str() > first["died_at"].as_str());
    // A replay begins anew, and its story does not.
    assert_eq!(second["first_failure"], report("1")["first_failure"]);
    for absent in ["status", "last_failure", "answer"] {
        assert!(second.get(absent).is_none(), "{absent}");
    }

    // A known death changes nothing, whatever has become of the dead letter.
    for path in ["", "/discarded"] {
        if !path.is_empty() {
            let path = format!("/dead-letters/{id}{path}");
            assert_eq!(logger.send(Method::POST, &path, "").await.status, 200);
        }
        let before = logger.get_json(&format!("/dead-letters/{id}")).await;
        let answer = logger.report(&again).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        assert_eq!(answer.json()["data"], json!({"id": id, "duplicate": true}));
        assert_eq!(
            logger.get_json(&format!("/dead-letters/{id}")).await,
            before
        );
    }
    let third = report_with("1", json!({"death": "third"}));
    assert_eq!(logger.bury(&third).await, id);
    let whole = logger.get_json(&format!("/dead-letters/{id}")).await;
    assert_eq!(
        (&whole["state"], &whole["deaths"]),
        (&json!("dead"), &json!(3))
    );

    // What differs in queue, type or data is another dead letter.
    for members in [
        json!({"queue": "other"}),
        json!({"data_base64": ""}),
        json!({"event": {"id": "1", "type": "a", "source": "/shop", "extensions": {}}}),
    ] {
        assert_ne!(logger.bury(&report_with("1", members)).await, id);
    }
    let metrics = logger.get("/metrics").await.text;
    for outcome in ["new", "again", "duplicate"] {
        let counter = format!("logger_dead_letters_total{{outcome=\"{outcome}\"}}");
        assert!(metrics.contains(&counter), "{metrics}");
    }
}

pub async fn the_first_failure_stays_the_earliest_one(site: Site) {
    let logger = site.start().await;
    let none = report_with("1", json!({"first_failure": null}));
    let id = logger.bury(&none).await;
    for (death, first_failure, kept) in [
        ("2", json!("2026-01-02T03:04:05Z"), "2026-01-02T03:04:05Z"),
        ("3", json!("2026-03-02T03:04:05Z"), "2026-01-02T03:04:05Z"),
        ("4", json!(null), "2026-01-02T03:04:05Z"),
        // Two listeners may learn of them in any order.
        ("5", json!("2025-01-02T03:04:05Z"), "2025-01-02T03:04:05Z"),
    ] {
        let again = json!({"death": death, "first_failure": first_failure, "attempts": 3});
        assert_eq!(logger.bury(&report_with("1", again)).await, id);
        let whole = logger.get_json(&format!("/dead-letters/{id}")).await;
        assert_eq!(whole["first_failure"], kept, "{death}");
        assert_eq!(whole["last_failure"], report("1")["last_failure"]);
        assert_eq!(
            (&whole["deaths"].to_string()[..], &whole["attempts"]),
            (death, &json!(3))
        );
    }
}

pub async fn a_dead_letter_is_found_by_the_id_of_its_event(site: Site) {
    let logger = site.start().await;
    // Any text can be an id, a UUID among them.
    let uuid = "01a1fa7b-f3f8-719b-b860-ddce1294f2d1";
    for (event, path) in [
        (uuid, uuid),
        ("a/é?", "a%2F%C3%A9%3F"),
        ("\0", "%00"),
        ("discard", "%64iscard"),
    ] {
        let named =
            json!({"id": event, "type": "order.placed", "source": "/shop", "extensions": {}});
        let id = logger
            .bury(&report_with(event, json!({"event": named})))
            .await;
        let found = logger.get_json(&format!("/dead-letters/{path}")).await;
        assert_eq!(found["id"], id);
        let data = logger.get(&format!("/dead-letters/{path}/data")).await;
        assert_eq!(data.text, "data");
        let discard = format!("/dead-letters/{path}/discarded");
        let discarded = logger.send(Method::POST, &discard, "").await;
        assert_eq!(discarded.json()["data"]["id"], id);
        // Whatever has become of it.
        assert_eq!(
            logger.get_json(&format!("/dead-letters/{path}")).await["state"],
            "discarded"
        );

        let other = logger
            .bury(&report_with(
                event,
                json!({"event": named, "queue": "other"}),
            ))
            .await;
        for path in [path.to_owned(), format!("{path}/data")] {
            let several = logger.get(&format!("/dead-letters/{path}")).await;
            assert_eq!(several.status, 300);
            let listing = several.json();
            assert_eq!(listing["total"], 2);
            let ids = [0, 1].map(|index| listing["dead_letters"][index]["id"].clone());
            assert_eq!(ids, [json!(other), json!(id)]);
        }
        let path = format!("/dead-letters/{path}/discarded");
        let message = logger.send(Method::POST, &path, "").await.problem(409);
        assert!(message.contains("several"), "{message}");
        assert_eq!(
            logger.get_json(&format!("/dead-letters/{other}")).await["state"],
            "dead"
        );
    }
    logger.get("/dead-letters/nobody").await.problem(404);
}

pub async fn of_one_death_reported_many_times_at_once_one_is_new(site: Site) {
    let loggers = [site.start().await, site.start().await];
    let reports = (0..40).map(|number| {
        let logger = &loggers[number % 2];
        async move { logger.report(&report("1")).await.status.as_u16() }
    });
    let answers = join_all(reports).await;
    let count = |status| answers.iter().filter(|answer| **answer == status).count();
    assert_eq!((count(201), count(200)), (1, 39), "{answers:?}");
    let listing = loggers[0].get_json("/dead-letters").await;
    assert_eq!(listing["total"], 1);
    assert_eq!(listing["dead_letters"][0]["deaths"], 1);
}

pub async fn any_message_of_any_producer_is_taken(site: Site) {
    let logger = site.start().await;
    let long = "\u{10ffff}".repeat(16 * 1024);
    let odd = json!({
        "route": "\0", "queue": "", "reason": "\0", "status": 0, "attempts": u32::MAX,
        "first_failure": "0000-01-01T00:00:00Z", "last_failure": "\0", "answer": long,
        "exchange": "\0".repeat(255), "routing_key": "é\0'; DROP TABLE dead_letters; --",
        "event": {
            "id": "\0", "type": "", "source": long, "subject": "\0", "time": "yesterday",
            "content_type": "\0", "extensions": {"": "", "\0": "\0", "long": long},
        },
        "data_base64": "AP8=",
    });
    let id = logger.bury(&report_with("", odd.clone())).await;
    let whole = logger.get_json(&format!("/dead-letters/{id}")).await;
    for name in ["exchange", "routing_key", "event", "data_base64"] {
        assert_eq!(whole[name], odd[name], "{name}");
    }
    assert_eq!(whole["event_id"], "\u{fffd}");
    assert_eq!(whole["type"], "");
    assert_eq!(whole["answer"].as_str().unwrap().len(), 4096);
    assert_eq!(whole["attempts"], u32::MAX);
    assert_eq!(whole["first_failure"], "0000-01-01T00:00:00Z");
    assert!(whole.get("last_failure").is_none());

    let empty = json!({
        "route": "", "queue": "", "reason": "", "answer": "", "exchange": "", "routing_key": "",
        "event": {"id": "", "type": "", "source": "", "extensions": {}}, "data_base64": "",
    });
    let id = logger.bury(&report_with("", empty)).await;
    assert_eq!(
        logger.get_json(&format!("/dead-letters/{id}")).await["data"],
        ""
    );
    // The texts that are searched are there, cut or not.
    assert_eq!(
        logger.get_json("/dead-letters?q=%F4%8F%BF%BF").await["total"],
        1
    );
}

pub async fn what_the_listener_did_wrong_is_refused(site: Site) {
    let logger = site.start().await;
    let mut incomplete = report("1");
    incomplete.as_object_mut().unwrap().remove("queue");
    for (report, named) in [
        (incomplete, "queue"),
        (report_with("1", json!({"colour": "red"})), "colour"),
        (report_with("1", json!({"data_base64": "?"})), "data_base64"),
        (report_with("1", json!({"death": ""})), "death"),
        (report_with("1", json!({"event": {"id": "1"}})), "type"),
    ] {
        let message = logger.report(&report).await.problem(400);
        assert!(message.contains(named), "{message}");
    }
    logger
        .send(Method::POST, "/dead-letters", "{")
        .await
        .problem(400);
    assert_eq!(logger.get_json("/dead-letters?state=any").await["total"], 0);
}

pub async fn large_data_is_taken_and_larger_is_refused(site: Site) {
    let logger = site.start().await;
    const MIB: usize = 1024 * 1024;
    // 48 MiB of zeroes.
    let large = report_with("1", json!({"data_base64": "A".repeat(64 * MIB)}));
    let id = logger.bury(&large).await;
    drop(large);
    let data = logger.get(&format!("/dead-letters/{id}/data")).await.text;
    assert!(data.len() == 48 * MIB && data.bytes().all(|byte| byte == 0));
    let listing = logger.get_json("/dead-letters").await;
    assert_eq!(listing["dead_letters"][0]["data_bytes"], 48 * MIB);

    let addr = logger.base.trim_start_matches("http://");
    let mut client = TcpStream::connect(addr).await.or_panic(addr);
    let head = format!(
        "POST /dead-letters HTTP/1.1\r\nHost: {addr}\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n",
        66 * MIB
    );
    client.write_all(head.as_bytes()).await.or_panic("a head");
    let mut status = [0; 12];
    client.read_exact(&mut status).await.or_panic("an answer");
    assert_eq!(&status, b"HTTP/1.1 413");
}
