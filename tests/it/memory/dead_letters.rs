//! Dead letters that are large: four at one time on their way to the logger, and clients that want to
//! see them.

use std::time::Duration;

use axum::http::StatusCode;
use lapin::BasicProperties;
use serde_json::Value;
use tests::{
    eventually, foreign::Foreign, http, process::run, rabbitmq::virtual_host, target::Target,
};

use super::{ATTACK, Confined, MIB, attack, in_time, logger, part_of, served, store};

const LETTERS: usize = 4;
/// That read no answer, at full size.
const READERS: usize = 100;

async fn command(listener: &Confined, words: &str) -> String {
    let addr = listener.process.addr.to_string();
    let mut arguments = vec!["--addr", &addr, "dead-letters"];
    arguments.extend(words.split_whitespace());
    let output = run("listener-service", &arguments).await;
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{words}: {error}");
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn large_ones_are_stored_listed_shown_and_discarded() {
    let virtual_host = virtual_host().await;
    let dir = tempfile::tempdir().unwrap();
    let logger = logger(dir.path()).await;
    let target = Target::answering(StatusCode::UNPROCESSABLE_ENTITY).await;
    let file = dir.path().join("routes.toml");
    let routes = format!(
        "[[route]]\nname = \"one\"\nbindings = [\"a.b\"]\ntarget = \"http://{}/\"\n",
        target.addr
    );
    std::fs::write(&file, routes).unwrap();
    let environment = [
        ("AMQP_URL", virtual_host.url.as_str()),
        ("ROUTES_FILE", file.to_str().unwrap()),
        ("LOGGER_URL", &logger.process.url("")),
    ];
    let listener = Confined::start("listener-service", dir.path(), &environment).await;
    let foreign = Foreign::connect(&virtual_host.url).await;
    let large = vec![b'x'; part_of(24 * MIB)];
    let publish = async {
        for number in 0..LETTERS {
            let id = format!("large-{number}");
            let properties = BasicProperties::default().with_message_id(id.into());
            let exchange = "events.topic.exchange";
            foreign.publish(exchange, "a.b", properties, &large).await;
        }
    };
    let listing = logger.process.url("/dead-letters");
    let stored = async {
        eventually("all are stored", Duration::from_secs(30), async || {
            let page = http::get(&listing).await.json();
            (page["total"] == LETTERS).then_some(page)
        })
        .await
    };
    let honest = served(ATTACK, async || store(&logger.process, "small").await);
    let ((), page, ()) = tokio::join!(publish, stored, honest);

    let letters = page["dead_letters"].as_array().unwrap();
    let ids: Vec<_> = letters
        .iter()
        .map(|one| one["id"].as_str().unwrap())
        .collect();
    let mut attacks = Vec::new();
    for service in [&logger, &listener] {
        for id in &ids {
            let request = format!("GET /dead-letters/{id} HTTP/1.1\r\nHost: localhost\r\n\r\n");
            let readers = part_of(READERS) / ids.len();
            attacks.push(attack(service.process.addr, readers, &request.into()));
        }
    }
    served(ATTACK, async || {
        store(&logger.process, "small").await;
        eventually("a listing", in_time(), async || {
            let page = http::get(&listener.process.url("/dead-letters")).await;
            (page.status == 200).then_some(())
        })
        .await;
    })
    .await;
    drop(attacks);

    let url = listener
        .process
        .url(&format!("/dead-letters/{}/data", ids[0]));
    eventually("its data", Duration::from_secs(30), async || {
        let data = http::get(&url).await;
        (data.status == 200).then(|| assert!(data.text.len() == large.len()))
    })
    .await;
    let list: Value = serde_json::from_str(&command(&listener, "list --json").await).unwrap();
    assert_eq!(list["total"], LETTERS);
    assert!(command(&listener, &format!("show {}", ids[1])).await.len() >= large.len());
    command(&listener, "discard --route one").await;
    let list: Value = serde_json::from_str(&command(&listener, "list --json").await).unwrap();
    assert_eq!(list["total"], 0);
    foreign.close().await;
    listener.end().await;
    logger.end().await;
}
