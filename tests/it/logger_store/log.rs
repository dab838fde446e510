//! `POST /log`: what is stored is what came.

use serde_json::{Value, json};

use super::server::{Delivery, Logger, Site};

pub async fn a_delivered_event_is_given_back_as_it_came(site: Site) {
    let logger = site.start().await;
    let data = r#"{ "n":1e400, "n":18446744073709551617, "name":"placed", "s":"\u00e9é" }"#;
    let headers = [
        ("ce-specversion", "1.0"),
        ("ce-id", "event-1"),
        ("ce-type", "order.placed"),
        ("ce-source", "/shop"),
        ("ce-subject", "order%201"),
        ("ce-time", "2026-01-02T03:04:05.000006+01:00"),
        ("ce-tenant", "Euro%20%E2%82%AC"),
        (
            "traceparent",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        ),
        ("content-type", "application/json; charset=utf-8"),
    ];
    let answer = logger.post(&headers, data).await;
    assert_eq!(answer.status, 201, "{}", answer.text);
    let body = json!({"error": false, "message": "logged", "data": {"id": "event-1"}});
    assert_eq!(answer.json(), body);

    let answer = logger.get("/logs/event-1").await;
    assert!(
        answer.text.contains(&format!(r#""data":{data},"#)),
        "{}",
        answer.text
    );
    // Read by hand above, since a JSON library may refuse or round the numbers.
    let event: Value = serde_json::from_str(&answer.text.replace("1e400", "1")).unwrap();
    assert_eq!(event["type"], "order.placed");
    assert_eq!(event["source"], "/shop");
    assert_eq!(event["name"], "placed");
    assert_eq!(event["subject"], "order 1");
    assert_eq!(event["time"], "2026-01-02T02:04:05.000006Z");
    assert_eq!(event["content_type"], "application/json; charset=utf-8");
    let attributes = json!({
        "tenant": "Euro €",
        "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    });
    assert_eq!(event["attributes"], attributes);
    let listing = logger.get("/logs").await;
    assert!(listing.text.contains(&answer.text), "{}", listing.text);

    // Compressed data is kept as it came, and says so.
    let mut packed = headers.to_vec();
    packed.retain(|(name, _)| !matches!(*name, "ce-id" | "ce-time"));
    packed.extend([
        ("ce-id", "packed"),
        ("ce-time", "9999-12-31T23:59:59Z"),
        ("content-encoding", "GZIP"),
    ]);
    let answer = logger.post(&packed, "packed").await;
    assert_eq!(answer.status, 201, "{}", answer.text);
    let event = logger.get("/logs/packed").await.json();
    assert_eq!(event["content_encoding"], "gzip");
    assert_eq!(event["data_base64"], "cGFja2Vk");
    assert_eq!(event["time"], "9999-12-31T23:59:59Z");

    // In UTC that is in the year 10000.
    let late = "9999-12-31T23:59:59-23:59";
    let mut beyond = headers.to_vec();
    beyond.retain(|(name, _)| !matches!(*name, "ce-id" | "ce-time"));
    beyond.extend([("ce-id", "late"), ("ce-time", late)]);
    assert_eq!(logger.post(&beyond, data).await.status, 201);
    let event = logger.get("/logs/late").await;
    assert!(event.text.contains(&format!(r#""time":"{late}""#)));
    assert!(!event.text.contains("1970"), "{}", event.text);
}

/// As a route with `mode = "structured"` delivers it.
pub async fn a_structured_event_is_stored_as_what_it_holds(site: Site) {
    let logger = site.start().await;
    let structured = [(
        "content-type",
        "application/cloudevents+json; charset=utf-8",
    )];
    let body = r#"{"specversion":"1.0","id":"one","type":"a.b","source":"/s","subject":"it",
        "time":"2026-01-02T03:04:05Z","tenant":"blue","datacontenttype":"application/json","data":{"n":1.50}}"#;
    let answer = logger.post(&structured, body).await;
    assert_eq!(answer.status, 201, "{}", answer.text);
    let answer = logger.get("/logs/one").await;
    assert!(
        answer.text.contains(r#""data":{"n":1.50}"#),
        "{}",
        answer.text
    );
    let event = answer.json();
    for (member, expected) in [
        ("type", "a.b"),
        ("source", "/s"),
        ("subject", "it"),
        ("time", "2026-01-02T03:04:05Z"),
        ("content_type", "application/json"),
    ] {
        assert_eq!(event[member], expected, "{member}");
    }
    assert_eq!(event["attributes"], json!({"tenant": "blue"}));
    let packed = r#"{"specversion":"1.0","id":"two","type":"a.b","source":"/s",
        "datacontentencoding":"gzip","data_base64":"eA=="}"#;
    assert_eq!(logger.post(&structured, packed).await.status, 201);
    let event = logger.get("/logs/two").await.json();
    assert_eq!(event["content_encoding"], "gzip");
    assert_eq!(event["attributes"], json!({}));
    for wrong in ["{", r#"{"specversion":"1.0","id":"x"}"#, "[]"] {
        logger.post(&structured, wrong).await.problem(400);
    }
}

pub async fn a_plain_entry_needs_no_cloudevents(site: Site) {
    let logger = site.start().await;
    let body = r#"{"name":"event", "data":[1, 2.50], "level":"WARN"}"#;
    let json = ("content-type", "application/json");
    let first = logger.post(&[json], body).await;
    assert_eq!(first.status, 201, "{}", first.text);
    let id = first.json()["data"]["id"].as_str().unwrap().to_owned();
    let answer = logger.get(&format!("/logs/{id}")).await;
    assert!(
        answer.text.contains(&format!(r#""data":{body}"#)),
        "{}",
        answer.text
    );
    let event = answer.json();
    assert_eq!(event["type"], "log.WARN");
    assert_eq!(event["name"], "event");
    assert_eq!(event["source"], "logger-service");

    // Without a key every request is a new entry, with one it is the same again.
    assert_eq!(logger.post(&[json], body).await.status, 201);
    let key = ("idempotency-key", "key 1");
    assert_eq!(logger.post(&[json, key], body).await.status, 201);
    let again = logger.post(&[json, key], body).await;
    assert_eq!(again.status, 200);
    assert_eq!(
        again.json()["data"],
        json!({"id": "key 1", "duplicate": true})
    );
    assert_eq!(logger.ids("").await.len(), 3);
}

pub async fn any_body_is_kept(site: Site) {
    let logger = site.start().await;
    let megabyte = "é".repeat(512 * 1024);
    for (id, content_type, data, member, given_back) in [
        ("empty", "text/plain", &b""[..], "data", json!("")),
        ("text", "text/plain", b"a\nb", "data", json!("a\nb")),
        (
            "no-json",
            "application/json",
            b"{\"a\":",
            "data",
            json!("{\"a\":"),
        ),
        (
            "nul",
            "application/json",
            b"\"a\0b\"",
            "data_base64",
            json!("ImEAYiI="),
        ),
        (
            "bytes",
            "application/octet-stream",
            b"\xff\x00",
            "data_base64",
            json!("/wA="),
        ),
        (
            "large",
            "text/plain",
            megabyte.as_bytes(),
            "data",
            json!(megabyte),
        ),
    ] {
        let answer = logger
            .deliver(&Delivery {
                id,
                event_type: "a.b",
                content_type,
                data,
            })
            .await;
        assert_eq!(answer.status, 201, "{id}: {}", answer.text);
        let event = logger.get_json(&format!("/logs/{id}")).await;
        assert!(event[member] == given_back, "{id}");
        assert_eq!(event["content_type"], content_type);
        let other = if member == "data" {
            "data_base64"
        } else {
            "data"
        };
        assert!(event.get(other).is_none(), "{id}");
        // The same bytes are known again, in whichever column they are.
        let again = logger
            .deliver(&Delivery {
                id,
                event_type: "a.b",
                content_type,
                data,
            })
            .await;
        assert_eq!(again.status, 200, "{id}: {}", again.text);
    }
}

pub async fn texts_of_any_kind_are_kept(site: Site) {
    let logger = site.start().await;
    for (encoded, id) in [
        ("'; DROP TABLE events; --", "'; DROP TABLE events; --"),
        ("a/b?c=d&e#f", "a/b?c=d&e#f"),
        ("%F0%9F%98%80%0A%22", "😀\n\""),
        ("\"quoted \\\"id\\\"\"", "quoted \"id\""),
        ("100%25", "100%"),
    ] {
        let delivery = Delivery {
            id: encoded,
            event_type: "a.b",
            content_type: "text/plain",
            data: encoded.as_bytes(),
        };
        let answer = logger.deliver(&delivery).await;
        assert_eq!(answer.status, 201, "{}", answer.text);
        assert_eq!(answer.json()["data"]["id"], id);
        let path: String = id.bytes().map(|byte| format!("%{byte:02X}")).collect();
        assert_eq!(logger.get_json(&format!("/logs/{path}")).await["id"], id);
    }
    assert_eq!(logger.ids("").await.len(), 5);
}

pub async fn the_first_event_with_an_id_stays(site: Site) {
    let logger = site.start().await;
    let first = Delivery {
        id: "1",
        event_type: "a.b",
        content_type: "application/json",
        data: br#"{"a":1}"#,
    };
    assert_eq!(logger.deliver(&first).await.status, 201);
    let again = logger.deliver(&first).await;
    assert_eq!(again.status, 200);
    assert_eq!(again.json()["data"], json!({"id": "1", "duplicate": true}));
    for other in [
        Delivery {
            data: br#"{"a":2}"#,
            ..first
        },
        Delivery {
            data: b"\xff",
            ..first
        },
        Delivery {
            event_type: "a.c",
            ..first
        },
    ] {
        logger.deliver(&other).await.problem(409);
    }
    let event = logger.get_json("/logs/1").await;
    assert_eq!(
        (&event["type"], &event["data"]),
        (&json!("a.b"), &json!({"a": 1}))
    );
    assert_eq!(logger.ids("").await, ["1"]);
}

pub async fn what_is_refused_is_not_stored(site: Site) {
    let logger = site.start().await;
    let valid = [
        ("ce-specversion", "1.0"),
        ("ce-id", "1"),
        ("ce-type", "a.b"),
        ("ce-source", "/s"),
        ("content-type", "text/plain"),
    ];
    for missing in ["ce-specversion", "ce-id", "ce-type", "ce-source"] {
        let headers: Vec<_> = valid
            .into_iter()
            .filter(|(name, _)| *name != missing)
            .collect();
        let message = logger.post(&headers, "x").await.problem(400);
        assert!(message.contains(&missing["ce-".len()..]), "{message}");
    }
    let long_id = "x".repeat(257);
    for (name, value) in [
        ("ce-time", "now"),
        ("ce-subject", "%00"),
        ("ce-id", &long_id),
    ] {
        let mut headers: Vec<_> = valid.into_iter().filter(|(key, _)| *key != name).collect();
        headers.push((name, value));
        let message = logger.post(&headers, "x").await.problem(400);
        assert!(message.contains(&name["ce-".len()..]), "{message}");
    }
    let encoded: Vec<_> = valid
        .into_iter()
        .chain([("content-encoding", "rot13")])
        .collect();
    logger.post(&encoded, "x").await.problem(415);
    refuses_bad_entries(&logger).await;
    assert!(logger.ids("").await.is_empty());
}

async fn refuses_bad_entries(logger: &Logger) {
    let json = ("content-type", "application/json");
    let deep = format!(
        r#"{{"name":"a","data":{}{}}}"#,
        "[".repeat(127),
        "]".repeat(127)
    );
    for body in [
        "",
        "{",
        "[]",
        r#"{"name":"a"}"#,
        r#"{"name":"a\u0000","data":1}"#,
        &deep,
    ] {
        logger.post(&[json], body).await.problem(400);
    }
    let valid = r#"{"name":"a","data":1}"#;
    logger.post(&[], valid).await.problem(415);
    let packed = ("content-encoding", "gzip");
    logger.post(&[json, packed], valid).await.problem(415);
    let form = ("content-type", "application/x-www-form-urlencoded");
    assert!(
        logger
            .post(&[form], valid)
            .await
            .problem(415)
            .contains("curl --json")
    );
    logger
        .post(&[json], vec![b'x'; 1024 * 1024 + 1])
        .await
        .problem(413);
}
