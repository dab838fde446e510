//! Messages that lapin cannot parse, on a route of their own, while the load takes the others.

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use axum::{http::StatusCode, response::IntoResponse as _};
use lapin::types::{AMQPValue, FieldTable};
use tests::{
    audit::stored_dead_letters,
    foreign::Foreign,
    hostile::{Hostile, KINDS},
    raw::Raw,
    target::Target,
};
use tokio::time::Instant;

use crate::stage::Stage;

/// The name of the route, of its exchange, and of the queue from which a message comes there once it is
/// dead.
const ROUTE: &str = "hostile";
const DYING: &str = "hostile.dying";
/// Not UTF-8 either.
const KEY: &[u8] = b"caf\xe9";
const PAUSE: Duration = Duration::from_millis(40);
const SETTLE_DEADLINE: Duration = Duration::from_secs(180);

/// The route, with one retry, so that messages come as copies and become dead letters too.
pub(super) fn route(target: SocketAddr) -> String {
    format!(
        "[[route]]\nname = \"{ROUTE}\"\nexchange = {{ name = \"{ROUTE}\", kind = \"topic\" }}\n\
         bindings = [\"#\"]\ntarget = \"http://{target}/\"\nretry_ms = [100]\n"
    )
}

/// The target of that route.
pub async fn target() -> Target {
    Target::start(|_, before| answer(before).into_response()).await
}

/// It fails on every second request.
fn answer(before: usize) -> StatusCode {
    if before.is_multiple_of(2) {
        StatusCode::OK
    } else {
        StatusCode::INTERNAL_SERVER_ERROR
    }
}

/// Publishes all kinds in turn, and finds that each message has arrived, or is a dead letter, once.
pub(super) async fn play(stage: &mut Stage<'_>, short: bool) {
    let calm = Duration::from_secs(if short { 5 } else { 10 });
    stage.run(calm).await;
    let connections = stage.virtual_host.management.connections().await;
    let count = KINDS * if short { 15 } else { 40 };
    publish(stage, count).await;
    settle(stage, count).await;
    stage.run(calm).await;
    let now = stage.virtual_host.management.connections().await;
    stage.complain_unless(now.is_superset(&connections), "a connection was lost");
}

async fn publish(stage: &mut Stage<'_>, count: usize) {
    let url = &stage.virtual_host.url;
    let foreign = Foreign::connect(url).await;
    foreign.queue(DYING, dying()).await;
    foreign.close().await;
    let mut raw = Raw::connect(url).await;
    for number in 0..count {
        let Hostile {
            properties,
            dies_first,
        } = Hostile::new(number);
        if dies_first {
            raw.publish("", DYING.as_bytes(), &properties, b"{}").await;
        } else {
            raw.publish(ROUTE, KEY, &properties, b"{}").await;
        }
        stage.injected();
        stage.run(PAUSE).await;
    }
    raw.confirmed().await;
}

/// What comes into the queue dies at once, and goes on to the exchange of the route.
fn dying() -> FieldTable {
    let mut arguments = FieldTable::default();
    arguments.insert("x-message-ttl".into(), AMQPValue::LongInt(0));
    let exchange = AMQPValue::LongString(ROUTE.into());
    arguments.insert("x-dead-letter-exchange".into(), exchange);
    arguments
}

async fn settle(stage: &mut Stage<'_>, count: usize) {
    let end = Instant::now() + SETTLE_DEADLINE;
    let mut outcomes = outcomes(stage).await;
    while outcomes.len() < count && Instant::now() < end {
        stage.run(Duration::from_millis(200)).await;
        outcomes = self::outcomes(stage).await;
    }
    let lost = count.saturating_sub(outcomes.len());
    stage.complain_unless(lost == 0, &format!("{lost} hostile messages lost"));
    let twice = outcomes.values().filter(|times| **times > 1).count();
    stage.complain_unless(twice == 0, &format!("{twice} hostile messages came twice"));
    let more = outcomes.len().saturating_sub(count);
    stage.complain_unless(
        more == 0,
        &format!("{more} hostile messages changed their id"),
    );
}

/// How often each was taken or became a dead letter, by its id.
async fn outcomes(stage: &Stage<'_>) -> BTreeMap<String, usize> {
    let received = stage.beside.received();
    let taken = received.iter().enumerate();
    let taken = taken.filter(|(before, _)| answer(*before).is_success());
    let mut ids: Vec<_> = taken
        .map(|(_, event)| event.header("ce-id").to_owned())
        .collect();
    let dead = stored_dead_letters(&stage.logger.url(""), ROUTE).await;
    ids.extend(
        dead.iter()
            .filter_map(|letter| letter["event_id"].as_str().map(str::to_owned)),
    );
    let mut outcomes = BTreeMap::new();
    for id in ids {
        *outcomes.entry(id).or_default() += 1;
    }
    outcomes
}
