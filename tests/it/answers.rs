//! What becomes of an event by its target's answer: the status table, odd `Retry-After`s, poison.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use serde_json::{Value, json};
use tests::{
    eventually, http,
    rabbitmq::{VirtualHost, virtual_host},
    suite::{Options, Service, broker, listener_alone},
    target::{Received, Target},
};

const DEAD: &str = "events.topic.exchange.queue.one.dead";

/// A broker, and a listener with one route, whose lines `more` are.
async fn gateway(virtual_host: &VirtualHost, target: &Target, more: &str) -> [Service; 2] {
    let dir = tempfile::tempdir().unwrap();
    let routes = format!(
        "[[route]]\nname = \"one\"\nbindings = [\"#\"]\ntarget = \"http://{}/\"\n{more}\n",
        target.addr
    );
    let listener = listener_alone(&virtual_host.url, dir.path(), &routes).await;
    listener.ready().await;
    let broker = broker(&virtual_host.url, &Options::default()).await;
    broker.ready().await;
    [broker, listener]
}

/// Posts an event with this data, which its target reads by [`data`].
async fn post(broker: &Service, data: Value) -> String {
    let body = json!({"action": "log", "log": {"name": "event", "data": data}});
    let answer = http::post(&broker.url("/handle"), &body).await;
    assert_eq!(answer.status, 202, "{}", answer.text);
    answer.json()["data"]["id"].as_str().unwrap().to_owned()
}

fn data(event: &Received) -> Value {
    serde_json::from_slice::<Value>(&event.body).unwrap()["data"].clone()
}

/// Takes dead letters until there are so many; their headers by the id of the event.
async fn dead_letters(virtual_host: &VirtualHost, count: usize) -> HashMap<String, Value> {
    let mut dead = HashMap::new();
    let deadline = tokio::time::Instant::now() + Duration::from_secs(40);
    while dead.len() < count {
        assert!(tokio::time::Instant::now() < deadline, "only {dead:?}");
        for message in virtual_host.management.take(DEAD).await {
            let id = message["properties"]["message_id"].as_str().unwrap();
            let headers = message["properties"]["headers"].clone();
            assert!(dead.insert(id.to_owned(), headers).is_none(), "{id} twice");
        }
    }
    dead
}

/// Each status makes as many attempts as the table in the README says, and then a dead letter.
#[tokio::test(flavor = "multi_thread")]
async fn the_status_decides_on_the_attempts() {
    let virtual_host = virtual_host().await;
    let target = Target::start(|event, _| {
        let status = data(event).as_u64().unwrap();
        StatusCode::from_u16(u16::try_from(status).unwrap())
            .unwrap()
            .into_response()
    })
    .await;
    // One at a time: a failure of the target as a whole is followed by an answer, so that the
    // breaker stays closed and its attempts count.
    let more = "retry_ms = [50, 50, 50, 50, 50, 50]\nconcurrency = 1\nprefetch = 1";
    let [broker, listener] = gateway(&virtual_host, &target, more).await;
    let refused = [301, 400, 404, 409, 410, 413, 422, 451];
    let retried = [408, 425, 500, 501, 505];
    let mut ids = BTreeMap::new();
    for status in refused.into_iter().chain(retried).chain([200, 201, 204]) {
        ids.insert(status, post(&broker, json!(status)).await);
    }
    let dead = dead_letters(&virtual_host, refused.len() + retried.len()).await;
    let received = target.received();
    for (status, id) in &ids {
        let tried = received.iter().filter(|event| event.header("ce-id") == id);
        let attempts: Vec<_> = tried.map(|event| event.header("x-gw-attempt")).collect();
        let expected = if retried.contains(status) { 7 } else { 1 };
        assert_eq!(attempts.len(), expected, "{status}: {attempts:?}");
        match dead.get(id) {
            None => assert!((200..300).contains(status), "{status} is no dead letter"),
            Some(headers) => {
                assert_eq!(headers["x-gw-status"], *status);
                assert_eq!(headers["x-gw-attempt"], expected);
            }
        }
    }
    broker.stop().await;
    listener.stop().await;
}

/// Seconds, dates, junk: the event comes again, soon, and nobody panics.
#[tokio::test(flavor = "multi_thread")]
async fn whatever_retry_after_says_the_event_comes_again_within_the_longest_wait() {
    let virtual_host = virtual_host().await;
    let asked = [
        "0",
        "1",
        "-1",
        "1000000000000",
        "99999999999999999999999999",
        "1.5",
        "soon",
        "",
        "Sun, 06 Nov 1994 08:49:37 GMT",
        "Fri, 31 Dec 9999 23:59:59 GMT",
        "\u{e9}",
    ];
    let target = Target::start(move |event, _| {
        let asked = asked[usize::try_from(data(event).as_u64().unwrap()).unwrap()];
        if event.header("x-gw-attempt") != "1" {
            return StatusCode::OK.into_response();
        }
        let mut answer = StatusCode::INTERNAL_SERVER_ERROR.into_response();
        let value = HeaderValue::from_bytes(asked.as_bytes()).unwrap();
        answer.headers_mut().insert(header::RETRY_AFTER, value);
        answer
    })
    .await;
    let [broker, listener] = gateway(&virtual_host, &target, "retry_ms = [200, 3000]").await;
    for number in 0..asked.len() {
        post(&broker, json!(number)).await;
    }
    let received = target.wait_for(2 * asked.len()).await;
    let mut attempts = HashMap::<_, Vec<_>>::new();
    for event in &received {
        attempts
            .entry(data(event).to_string())
            .or_default()
            .push(event);
    }
    for (number, attempts) in attempts {
        assert_eq!(attempts.len(), 2, "{number}");
        let waited = attempts[1].at - attempts[0].at;
        let asked = asked[number.parse::<usize>().unwrap()];
        if asked.len() > 9 && !asked.contains("1994") {
            assert!(
                waited >= Duration::from_millis(2_900),
                "{asked}: {waited:?}"
            );
        }
    }
    broker.stop().await;
    listener.stop().await;
    assert!(virtual_host.management.take(DEAD).await.is_empty());
}

/// One event in a hundred fails whenever it is tried: it is a dead letter in the end, with its
/// reason, and all others are delivered once, with no attempt more than they need.
#[tokio::test(flavor = "multi_thread")]
async fn poison_among_the_good_is_a_dead_letter_and_hurts_nobody() {
    const EVENTS: usize = 500;
    const ATTEMPTS: usize = 4;
    let virtual_host = virtual_host().await;
    let is_poison = |number: &Value| number.as_u64().unwrap().is_multiple_of(100);
    let target = Target::start(move |event, _| -> Response {
        match is_poison(&data(event)) {
            true => (StatusCode::INTERNAL_SERVER_ERROR, "cannot digest this").into_response(),
            false => StatusCode::OK.into_response(),
        }
    })
    .await;
    let more = "retry_ms = [100, 200, 300]";
    let [broker, listener] = gateway(&virtual_host, &target, more).await;
    let mut good = HashMap::new();
    let mut poison = HashMap::new();
    for number in 0..EVENTS {
        let number = json!(number);
        let id = post(&broker, number.clone()).await;
        let kind = if is_poison(&number) {
            &mut poison
        } else {
            &mut good
        };
        kind.insert(id, 0);
    }
    let requests = good.len() + ATTEMPTS * poison.len();
    let dead = dead_letters(&virtual_host, poison.len()).await;
    eventually("all are delivered", Duration::from_secs(20), || async {
        (target.count() >= requests).then_some(())
    })
    .await;
    for event in target.received() {
        let id = event.header("ce-id");
        *good.get_mut(id).or(poison.get_mut(id)).unwrap() += 1;
    }
    assert!(good.values().all(|tried| *tried == 1), "{good:?}");
    assert!(
        poison.values().all(|tried| *tried == ATTEMPTS),
        "{poison:?}"
    );
    for id in poison.keys() {
        let reason = dead[id]["x-gw-reason"].as_str().unwrap();
        assert!(
            reason.contains("500") && reason.contains("last of 4"),
            "{reason}"
        );
    }
    broker.stop().await;
    listener.stop().await;
}
