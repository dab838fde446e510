//! Dead letters of messages that lapin cannot parse: kept, listed, shown, replayed and discarded like
//! any other.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicU16, Ordering},
    },
    time::Duration,
};

use axum::{http::StatusCode, response::IntoResponse as _};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use reqwest::Method;
use serde_json::{Value, json};
use tests::{
    eventually,
    hostile::{Hostile, KINDS},
    http,
    rabbitmq::virtual_host,
    raw::{Raw, entry, long, nested},
    suite::{Options, Suite},
    target::Target,
};

const PATIENCE: Duration = Duration::from_secs(30);
const EXCHANGE: &str = "events.topic.exchange";
/// The properties that are kept of a message with nothing but headers.
const HEADERS: [u8; 2] = [0x20, 0];

/// A suite with one route, to a target that answers what it is told to.
struct Stage {
    suite: Suite,
    target: Target,
    status: Arc<AtomicU16>,
    raw: Raw,
}

impl Stage {
    async fn start() -> Self {
        let virtual_host = virtual_host().await;
        let status = Arc::new(AtomicU16::new(422));
        let answered = status.clone();
        let target = Target::start(move |_, _| {
            let status = StatusCode::from_u16(answered.load(Ordering::Relaxed));
            status.unwrap().into_response()
        })
        .await;
        let routes = format!(
            "[[route]]\nname = \"hostile\"\nbindings = [\"hostile.#\"]\nretry_ms = [50]\n\
             target = \"http://{}/\"\n",
            target.addr
        );
        let options = Options {
            routes: Some(routes),
            ..Options::default()
        };
        let suite = Suite::start_with(&virtual_host.url, options).await;
        suite.ready().await;
        Self {
            suite,
            target,
            status,
            raw: Raw::connect(&virtual_host.url).await,
        }
    }

    fn answer(&self, status: u16) {
        self.status.store(status, Ordering::Relaxed);
    }

    /// What the logger lists, once it has `total` of `query`.
    async fn listed(&self, query: &str, total: usize) -> Vec<Value> {
        let path = format!("/dead-letters?route=hostile&limit=500&{query}");
        let url = self.suite.logger.url(&path);
        let what = format!("{total} dead letters of {query}");
        eventually(&what, PATIENCE, || async {
            let listing = http::get(&url).await.json();
            let letters = listing["dead_letters"].as_array()?.clone();
            (letters.len() == total).then_some(letters)
        })
        .await
    }

    async fn post(&self, letter: &Value, verb: &str) -> http::Answer {
        let id = letter["id"].as_str().unwrap();
        let url = self
            .suite
            .listener
            .url(&format!("/dead-letters/{id}/{verb}"));
        http::send(Method::POST, &url, "").await
    }
}

fn ids(letters: &[Value]) -> BTreeSet<String> {
    let ids = letters.iter().map(|letter| &letter["event_id"]);
    ids.map(|id| id.as_str().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_kind_is_listed_shown_replayed_and_discarded() {
    let mut stage = Stage::start().await;
    for number in 0..KINDS {
        let Hostile { properties, .. } = Hostile::new(number);
        let key = b"hostile.caf\xe9";
        stage.raw.publish(EXCHANGE, key, &properties, b"{}").await;
    }
    stage.raw.confirmed().await;
    let letters = stage.listed("", KINDS).await;
    assert_eq!(ids(&letters).len(), KINDS);
    for letter in &letters {
        let id = letter["id"].as_str().unwrap();
        let url = stage.suite.logger.url(&format!("/dead-letters/{id}"));
        let shown = http::get(&url).await;
        assert_eq!(shown.status, 200, "{}", shown.text);
        let shown = shown.json();
        assert_eq!(shown["reason"], "the target answered 422");
        assert_eq!(shown["routing_key"], "hostile.caf?");
        assert_eq!(shown["event"]["id"], letter["event_id"]);
        let by_event = format!("/dead-letters/{}", letter["event_id"].as_str().unwrap());
        assert_eq!(
            http::get(&stage.suite.logger.url(&by_event)).await.status,
            200
        );
    }

    // A replay that is refused again is the same dead letter, and one that is taken none.
    for status in [422, 200] {
        stage.answer(status);
        let before = stage.target.count();
        for letter in &letters[1..] {
            let replayed = stage.post(letter, "replay").await;
            assert_eq!(replayed.status, 200, "{}: {letter}", replayed.text);
        }
        let received = stage.target.wait_for(before + KINDS - 1).await;
        let again = received[before..].iter().map(|event| event.header("ce-id"));
        let again: BTreeSet<_> = again.map(str::to_owned).collect();
        assert_eq!(again, ids(&letters[1..]));
        if status == 422 {
            stage.listed("state=dead", KINDS).await;
        }
    }
    let discarded = stage.post(&letters[0], "discard").await;
    assert_eq!(discarded.status, 200, "{}", discarded.text);
    stage.listed("state=discarded", 1).await;
    stage.listed("state=replayed", KINDS - 1).await;
    stage.listed("state=dead", 0).await;
    stage.suite.stop().await;
}

/// The body of `POST /dead-letters`, as any client of the logger can write it.
fn report(original: &[u8], number: usize) -> Value {
    json!({
        "route": "hostile", "queue": "events.topic.exchange.queue.hostile",
        "death": format!("{number:08}-0000-4000-8000-000000000000"), "reason": "made up",
        "status": null, "attempts": 1, "first_failure": null, "last_failure": null,
        "answer": null, "exchange": "made up", "routing_key": "hostile.one",
        "event": {
            "id": format!("made up {number}"), "type": "t", "source": "s", "extensions": {},
        },
        "original_base64": STANDARD.encode(original), "data_base64": "",
    })
}

/// lapin's parser goes as deep as a table is nested, and the end of a stack ends the process.
#[tokio::test(flavor = "multi_thread")]
async fn what_somebody_put_into_the_store_is_parsed_to_a_depth() {
    let stage = Stage::start().await;
    stage.answer(200);
    let deep = |tag, depth| {
        let headers = entry(b"deep", tag, &nested(depth, tag));
        [&HEADERS[..], &long(&headers)].concat()
    };
    let parsed = [deep(b'F', 5_000), deep(b'A', 15_000), deep(b'F', 3)];
    // Cut off, a length that lies, a tag that there is none of.
    let damaged = [
        deep(b'F', 5_000)[..20_000].to_vec(),
        [&HEADERS[..], &[0xff; 4]].concat(),
        [&HEADERS[..], &long(b"\x01a?")].concat(),
    ];
    let originals = parsed.iter().map(|original| (original, 200));
    let originals = originals.chain(damaged.iter().map(|original| (original, 409)));
    for (number, (original, status)) in originals.enumerate() {
        let url = stage.suite.logger.url("/dead-letters");
        let stored = http::post(&url, &report(original, number)).await;
        assert!(stored.status.is_success(), "{}", stored.text);
        let letters = stage
            .listed("state=dead", 1 + number.saturating_sub(parsed.len()))
            .await;
        let replayed = stage.post(&letters[0], "replay").await;
        assert_eq!(replayed.status, status, "{number}: {}", replayed.text);
    }
    assert_eq!(
        stage.target.wait_for(parsed.len()).await.len(),
        parsed.len()
    );
    stage.suite.stop().await;
}
