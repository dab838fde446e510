//! Routes that change while they are at work.

use std::{collections::HashMap, path::Path, process::Command, time::Duration};

use axum::{http::StatusCode, response::IntoResponse as _};
use lapin::BasicProperties;
use serde_json::{Value, json};
use tests::{
    eventually,
    foreign::Foreign,
    http::{self, Answer},
    process::Process,
    rabbitmq::virtual_host,
    suite::{Service, listener_alone},
    target::Target,
};

use super::route;

const EXCHANGE: &str = "events.topic.exchange";
const PATIENCE: Duration = Duration::from_secs(20);

async fn reload(listener: &Service) -> Answer {
    http::post(&listener.url("/routes/reload"), &json!(null)).await
}

fn write(dir: &Path, routes: &[String]) {
    std::fs::write(dir.join("routes.toml"), routes.concat()).unwrap();
}

/// What `key` binds, of the route `name`.
fn to(name: &str, target: &Target, key: &str) -> String {
    route(name, target, &format!("bindings = [\"{key}\"]"))
}

async fn publish(publisher: &Foreign, key: &str, body: &str) {
    let properties = BasicProperties::default().with_message_id(body.into());
    publisher
        .publish(EXCHANGE, key, properties, body.as_bytes())
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_file_is_applied_and_what_did_not_change_is_not_disturbed() {
    let virtual_host = virtual_host().await;
    let dir = tempfile::tempdir().unwrap();
    // Its first event is at work while the routes change.
    let steady = Target::start_slow(|_, before| async move {
        if before == 0 {
            tokio::time::sleep(Duration::from_secs(3)).await;
        }
        StatusCode::OK.into_response()
    })
    .await;
    let [old, new, added] = [(); 3].map(|()| Target::answering(StatusCode::OK));
    let (old, new, added) = tokio::join!(old, new, added);
    let before = [
        to("steady", &steady, "steady"),
        to("moved", &old, "moved.*"),
        to("gone", &old, "gone"),
    ];
    let listener = listener_alone(&virtual_host.url, dir.path(), &before.concat()).await;
    listener.ready().await;
    let publisher = Foreign::connect(&virtual_host.url).await;
    publish(&publisher, "steady", "at work").await;
    publish(&publisher, "moved.a", "before").await;
    steady.wait_for(1).await;
    old.wait_for(1).await;

    write(
        dir.path(),
        &[
            to("steady", &steady, "steady"),
            to("moved", &new, "moved.b"),
            to("added", &added, "added"),
        ],
    );
    let changes = reload(&listener).await;
    assert_eq!(changes.status, 200, "{}", changes.text);
    assert_eq!(
        changes.json(),
        json!({
            "added": ["added"],
            "changed": ["moved"],
            "removed": ["gone"],
            "unchanged": ["steady"],
            "left_queues": [format!("{EXCHANGE}.queue.gone")],
            "left_bindings": [],
        })
    );
    listener.ready().await;
    for key in ["moved.a", "moved.b", "added", "steady", "gone"] {
        publish(&publisher, key, key).await;
    }
    let received = new.wait_for(1).await;
    assert_eq!(
        received[0].body, "moved.b",
        "the old binding is still there"
    );
    added.wait_for(1).await;
    steady.wait_for(2).await;
    assert_eq!((new.count(), steady.count(), old.count()), (1, 2, 1));
    let left = virtual_host
        .management
        .take(&format!("{EXCHANGE}.queue.gone"))
        .await;
    assert_eq!(left.len(), 1, "what nobody consumes stays in its queue");
    let routes = http::get(&listener.url("/routes")).await.json();
    let names: Vec<_> = routes["routes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|route| &route["name"])
        .collect();
    assert_eq!(names, ["steady", "moved", "added"]);
    listener.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_with_a_mistake_changes_nothing() {
    let virtual_host = virtual_host().await;
    let dir = tempfile::tempdir().unwrap();
    let target = Target::answering(StatusCode::OK).await;
    let routes = to("one", &target, "#");
    let listener = listener_alone(&virtual_host.url, dir.path(), &routes).await;
    listener.ready().await;
    write(dir.path(), &[routes.clone(), to("two", &target, "a..b")]);
    let answer = reload(&listener).await;
    assert!(
        answer
            .problem(422)
            .contains("line 8: route \"two\": bindings"),
        "{}",
        answer.text
    );
    let publisher = Foreign::connect(&virtual_host.url).await;
    publish(&publisher, "a", "still").await;
    target.wait_for(1).await;
    write(dir.path(), &[routes]);
    assert_eq!(reload(&listener).await.json()["unchanged"], json!(["one"]));
    listener.stop().await;
}

/// What waits in hand for the wrong target goes to the right one, and not ten minutes later.
#[tokio::test(flavor = "multi_thread")]
async fn a_route_whose_target_is_down_can_be_given_another() {
    const EACH: usize = 3;
    let virtual_host = virtual_host().await;
    let dir = tempfile::tempdir().unwrap();
    let wrong = Target::down();
    let right = Target::answering(StatusCode::OK).await;
    let to = |target: &Target| {
        [
            route("many", target, "bindings = [\"many\"]"),
            route(
                "ordered",
                target,
                "bindings = [\"ordered\"]\nordered = true",
            ),
        ]
        .map(|route| route + "retry_ms = [100]\n")
    };
    let listener = listener_alone(&virtual_host.url, dir.path(), &to(&wrong).concat()).await;
    listener.ready().await;
    let publisher = Foreign::connect(&virtual_host.url).await;
    for number in 0..EACH {
        for key in ["many", "ordered"] {
            publish(&publisher, key, &format!("{key}-{number}")).await;
        }
    }
    let url = listener.url("/routes");
    eventually("both are paused", PATIENCE, || async {
        let text = http::get(&url).await.text;
        (text.matches("\"paused\":true").count() == 2).then_some(())
    })
    .await;
    write(dir.path(), &to(&right));
    let changes = reload(&listener).await;
    assert_eq!(changes.json()["changed"], json!(["many", "ordered"]));
    let mut ordered: Vec<_> = right
        .wait_for(2 * EACH)
        .await
        .iter()
        .map(|event| event.header("ce-id").to_owned())
        .filter(|id| id.starts_with("ordered"))
        .collect();
    ordered.dedup();
    assert_eq!(ordered, ["ordered-0", "ordered-1", "ordered-2"]);
    let paused = r#"subscription_paused{route="many"}"#;
    let paused = http::metric(&listener.url("/metrics"), paused).await;
    assert_eq!(paused, Some(0));
    listener.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_route_that_is_gone_is_not_paused() {
    let virtual_host = virtual_host().await;
    let dir = tempfile::tempdir().unwrap();
    let down = Target::down();
    let stays = to("stays", &down, "stays");
    let goes = to("goes-paused", &down, "goes") + "retry_ms = [100]\n";
    let routes = [stays.clone(), goes].concat();
    let listener = listener_alone(&virtual_host.url, dir.path(), &routes).await;
    listener.ready().await;
    let url = listener.url("/metrics");
    let paused = || http::metric(&url, r#"subscription_paused{route="goes-paused"}"#);
    let publisher = Foreign::connect(&virtual_host.url).await;
    publish(&publisher, "goes", "waits").await;
    eventually("it is paused", PATIENCE, || async {
        (paused().await == Some(1)).then_some(())
    })
    .await;
    write(dir.path(), &[stays]);
    let changes = reload(&listener).await.json();
    assert_eq!(changes["removed"], json!(["goes-paused"]));
    assert_eq!(paused().await, Some(0));
    listener.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_that_is_its_owners_now_keeps_its_bindings() {
    let virtual_host = virtual_host().await;
    let dir = tempfile::tempdir().unwrap();
    let target = Target::answering(StatusCode::OK).await;
    let routes = to("one", &target, "a");
    let listener = listener_alone(&virtual_host.url, dir.path(), &routes).await;
    listener.ready().await;
    let lines = format!("queue = {{ name = \"{EXCHANGE}.queue.one\", existing = true }}");
    write(dir.path(), &[route("one", &target, &lines)]);
    let changes = reload(&listener).await.json();
    assert_eq!(changes["changed"], json!(["one"]));
    assert_eq!(changes["left_queues"], json!([]), "it is still consumed");
    let publisher = Foreign::connect(&virtual_host.url).await;
    publish(&publisher, "a", "still").await;
    target.wait_for(1).await;
    listener.stop().await;
}

/// Under load, again and again, by SIGHUP: each event comes exactly once.
#[tokio::test(flavor = "multi_thread")]
async fn no_delivery_is_lost_or_repeated_while_routes_change() {
    const EVENTS: usize = 1_500;
    const RELOADS: usize = 6;
    let virtual_host = virtual_host().await;
    let dir = tempfile::tempdir().unwrap();
    let target = Target::start_slow(|_, _| async {
        tokio::time::sleep(Duration::from_millis(5)).await;
        StatusCode::OK.into_response()
    })
    .await;
    let with = |timeout_ms: usize| {
        route(
            "one",
            &target,
            &format!("bindings = [\"#\"]\ntimeout_ms = {timeout_ms}"),
        )
    };
    write(dir.path(), &[with(5_000)]);
    let environment = [
        ("AMQP_URL", virtual_host.url.as_str()),
        ("ROUTES_FILE", "routes.toml"),
        ("DEAD_LETTERS", "queue"),
    ];
    let mut listener = Process::start("listener-service", dir.path(), &environment).await;
    listener.ready().await;
    let load = tokio::spawn({
        let url = virtual_host.url.clone();
        async move {
            let publisher = Foreign::connect(&url).await;
            for number in 0..EVENTS {
                publish(&publisher, "a.b", &number.to_string()).await;
            }
        }
    });
    for number in 1..=RELOADS {
        target.wait_for(number * EVENTS / (RELOADS + 2)).await;
        write(dir.path(), &[with(5_000 + number)]);
        let hangup = Command::new("kill")
            .args(["-HUP", &listener.pid().to_string()])
            .status();
        assert!(hangup.unwrap().success());
        eventually("the routes are changed", PATIENCE, || async {
            let changed = listener.log().matches("the routes are changed").count();
            (changed >= number).then_some(())
        })
        .await;
    }
    load.await.unwrap();
    target.wait_for(EVENTS).await;
    assert!(listener.terminate().await.success());
    let mut times = HashMap::<Value, usize>::new();
    for event in target.received() {
        *times.entry(event.header("ce-id").into()).or_default() += 1;
    }
    assert_eq!(times.len(), EVENTS);
    let repeated: Vec<_> = times.iter().filter(|(_, times)| **times > 1).collect();
    assert!(repeated.is_empty(), "{repeated:?}");
}
