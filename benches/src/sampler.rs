//! How long events take from their request to the logger's store.
//!
//! Single events besides the load, each requested from the logger until it is there: what a reader
//! sees is committed.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use reqwest::{Client, StatusCode, header};
use serde_json::Value;
use tests::{http, process::Process};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep, sleep_until},
};

use crate::{event, usage::Window};

pub(crate) const PER_SECOND: u32 = 20;
/// Between the first questions for an event.
const PAUSE: Duration = Duration::from_millis(2);
/// And this part of how long it takes already between later ones: else the events of a backlog would
/// be asked for so often that the questions alone keep the logger busy.
const PAUSE_SHARE: u32 = 20;
/// When an event is given up.
const DEADLINE: Duration = Duration::from_secs(60);

/// What became of the samples.
#[derive(Debug, Default)]
pub(crate) struct Sampled {
    /// Events that were accepted, those of the warm-up too.
    pub(crate) accepted: u64,
    /// Of those that were due in the window: from then until they were found in the store.
    pub(crate) latencies: Vec<Duration>,
}

/// Samples until the window is over, and then until the last one is stored.
pub(crate) async fn run(
    broker: &Process,
    logger: &Process,
    window: Window,
) -> anyhow::Result<Sampled> {
    let client = http::client();
    let mut tasks = JoinSet::new();
    let begun = Instant::now();
    for turn in 0.. {
        let due = begun + Duration::from_secs(1) * turn / PER_SECOND;
        if due >= window.end {
            break;
        }
        sleep_until(due).await;
        let (post, get) = (broker.url("/handle"), logger.url("/logs/"));
        let client = client.clone();
        tasks.spawn(async move { anyhow::Ok((due, sample(&client, &post, &get, due).await?)) });
    }
    let mut sampled = Sampled::default();
    while let Some(ended) = tasks.join_next().await {
        let (due, took) = ended??;
        sampled.accepted += 1;
        if window.contains(due) {
            sampled.latencies.push(took);
        }
    }
    Ok(sampled)
}

async fn sample(client: &Client, post: &str, get: &str, due: Instant) -> anyhow::Result<Duration> {
    let request = client
        .post(post)
        .header(header::CONTENT_TYPE, "application/json");
    let answer = http::read(request.body(event::request(event::BYTES)).send().await?).await;
    ensure!(
        answer.status == StatusCode::ACCEPTED,
        "a sample was not accepted: {} {}",
        answer.status,
        answer.text
    );
    let accepted: Value = serde_json::from_str(&answer.text)?;
    let id = accepted["data"]["id"].as_str().context("no id")?;
    let url = format!("{get}{id}");
    loop {
        let answer = http::read(client.get(&url).send().await?).await;
        if answer.status == StatusCode::OK {
            return Ok(due.elapsed());
        }
        ensure!(
            answer.status == StatusCode::NOT_FOUND && due.elapsed() < DEADLINE,
            "{id} is accepted and not stored after {:?}: {} {}",
            due.elapsed(),
            answer.status,
            answer.text
        );
        sleep(PAUSE.max(due.elapsed() / PAUSE_SHARE)).await;
    }
}
