//! The suite in a virtual host that deploy/rabbitmq provides, where each service may do its job
//! and nothing else.

mod missing;
mod refusals;
mod types;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::{http::StatusCode, response::IntoResponse as _};
use serde_json::{Value, json};
use tests::{
    eventually, http, process,
    provided::{Provided, script},
    suite::{ADMIN, Suite},
    target::Target,
};

const PATIENCE: Duration = Duration::from_secs(20);

/// What the suite needs to be one, and a route `name` for the events of `key`.
fn routes(name: &str, key: &str, target: &Target) -> String {
    let default = include_str!("../../listener-service/src/default-routes.toml");
    format!("{default}\n{}", route(name, key, target))
}

fn route(name: &str, key: &str, target: &Target) -> String {
    format!(
        "[[route]]\nname = \"{name}\"\nbindings = [\"{key}\"]\nretry_ms = [100]\n\
         target = \"http://{}/{name}\"\n",
        target.addr
    )
}

async fn accepted(suite: &Suite, name: &str, level: &str) -> String {
    let entry = json!({"name": name, "data": 1, "level": level});
    let answer = suite.log(entry).await;
    assert_eq!(answer.status, 202, "{}", answer.text);
    answer.json()["data"]["id"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_suite_does_all_of_its_work() {
    let refuses = Arc::new(AtomicBool::new(true));
    let refusing = refuses.clone();
    let target = Target::start(move |received, before| {
        match (received.header("ce-type"), before) {
            ("log.RETRY", 0) => StatusCode::INTERNAL_SERVER_ERROR,
            ("log.DEAD", _) if refusing.load(Ordering::Relaxed) => StatusCode::CONFLICT,
            _ => StatusCode::OK,
        }
        .into_response()
    })
    .await;
    let routes = routes("one", "log.*", &target);
    let provided = Provided::new(Some(&routes), &[]).await;
    let suite = provided.suite(Some(&routes)).await;
    suite.ready().await;

    let retried = accepted(&suite, "retried", "RETRY").await;
    suite.logged(&retried).await;
    let received = target.wait_for(2).await;
    let attempts = received.iter().map(|event| event.header("x-gw-attempt"));
    assert_eq!(attempts.collect::<Vec<_>>(), ["1", "2"]);

    let answer = suite.authenticate(ADMIN, &suite.admin_password()).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    suite.authenticate(ADMIN, "wrong").await.problem(401);
    eventually("the outcome as an event", PATIENCE, || async {
        suite.events_of_type("auth.succeeded").await.pop()
    })
    .await;

    let doomed = accepted(&suite, "doomed", "DEAD").await;
    let listing = suite.listener.url("/dead-letters");
    let letter = eventually("a dead letter", PATIENCE, || async {
        http::get(&listing).await.json()["dead_letters"]
            .get(0)
            .cloned()
    })
    .await;
    assert_eq!(letter["event_id"], doomed);
    refuses.store(false, Ordering::Relaxed);
    let replay = format!("{listing}/{}/replay", letter["id"].as_str().unwrap());
    let replayed = http::post(&replay, &Value::Null).await;
    assert_eq!(replayed.status, 200, "{}", replayed.text);
    let last = target.wait_for(4).await.pop().unwrap();
    assert_eq!(last.header("ce-id"), doomed);
    suite.stop().await;
}

/// A queue that RabbitMQ names cannot be provided: the listener makes and binds it all the same.
#[tokio::test(flavor = "multi_thread")]
async fn a_queue_of_the_listeners_own_needs_nobody_to_provide_it() {
    let target = Target::answering(StatusCode::OK).await;
    let exclusive = routes("copy", "log.#", &target) + "queue = { exclusive = true }\n";
    let provided = Provided::new(Some(&exclusive), &[]).await;
    let suite = provided.suite(Some(&exclusive)).await;
    suite.ready().await;
    let id = accepted(&suite, "copied", "INFO").await;
    assert_eq!(target.wait_for(1).await[0].header("ce-id"), id);
    suite.stop().await;
}

/// The file in the repository is what the two programs make for the virtual host `events`.
#[tokio::test(flavor = "multi_thread")]
async fn the_definitions_that_are_kept_are_those_of_the_built_in_routes() {
    let arguments = [
        "--amqp-url",
        "amqp://localhost/events",
        "check",
        "--definitions",
    ];
    let user = ["--user", "events-listener"];
    let topology = process::run("listener-service", &[&arguments[..], &user].concat()).await;
    let made = script(&topology.stdout, &["--producer", "orders=order"]).await;
    let kept = include_str!("../../deploy/rabbitmq/definitions.json");
    assert_eq!(String::from_utf8_lossy(&made.stdout), kept);
    assert!(
        kept.contains("\"password_hash\": \"\""),
        "no secret in the repository"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_script_says_what_is_wrong_with_what_it_is_given() {
    let topology = |vhost: &str, permissions: Value| {
        let vhosts = json!([{"name": vhost}]);
        json!({"vhosts": vhosts, "exchanges": [], "permissions": permissions, "topic_permissions": []})
    };
    let good = topology("shop", json!([]));
    for (topology, argument, wrong) in [
        (
            &topology("/", json!([])),
            "--types=#",
            "'/'; use a dedicated one",
        ),
        (
            &topology("shop", Value::Null),
            "--types=#",
            "--user shop-listener",
        ),
        (&good, "--types=log,*", "'*' cannot begin an event type"),
        (
            &good,
            "--producer=broker=log",
            "'broker' cannot name a producer",
        ),
        (&good, "--producer=orders", "'' cannot begin an event type"),
    ] {
        let refused = script(topology.to_string().as_bytes(), &[argument]).await;
        let errors = String::from_utf8_lossy(&refused.stderr);
        assert!(!refused.status.success(), "{argument}");
        assert!(errors.contains(wrong), "{errors}");
    }
    let made = script(good.to_string().as_bytes(), &["--types=#"]).await;
    assert!(made.status.success());
}
