//! RabbitMQ in, HTTP out: each route consumes a queue of its own and forwards what it gets.
//!
//! A delivery is acknowledged after the target's 2xx, or after its copy is confirmed in a retry
//! queue or among the dead letters. Killed at any instant, the listener loses nothing; what it had
//! in hand is delivered again under the same id.

mod admin;
mod breaker;
mod command;
mod config;
mod dead_letters;
mod event_route;
mod excerpt;
mod http_client;
mod outcome;
mod request_route;
mod retry_after;
mod routes;
mod routes_file;
mod schedule;
mod shown;
mod target;
mod template;

use std::{sync::Arc, time::Duration};

use anyhow::Context as _;
use futures_util::future::join_all;
use messaging::{Connection, Consumer};
use service_kit::{readiness::Readiness, server};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::{
    breaker::Breaker,
    dead_letters::{Drain, Replayer, Store},
    routes::Routes,
};
pub use crate::{
    command::Command,
    config::{Config, DeadLetters},
};

const SERVICE: &str = "listener-service";

/// A route of either kind, at work.
struct Running {
    name: String,
    target: String,
    consumer: Consumer,
    /// Of a route of events; a request waits for no target longer than its sender does.
    breaker: Option<Arc<Breaker>>,
    /// Of its dead letters, where they are drained.
    drain: Option<Drain>,
}

/// Forwards until `shutdown`, then finishes the deliveries in hand and closes the connections to
/// RabbitMQ last.
///
/// # Errors
/// When the service must not start as it is configured.
pub async fn run(
    config: Config,
    listener: TcpListener,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    server::check_exposure(&listener, &config.http)?;
    let routes = Routes::load(&config)?;
    // Two connections: RabbitMQ blocks one that publishes, and acknowledgements must get through.
    let consuming = Connection::open(format!("{SERVICE} consuming"), &config.amqp_url);
    let publishing = Connection::open(format!("{SERVICE} publishing"), &config.amqp_url);
    let store = match config.dead_letters {
        DeadLetters::Logger => Some(Store::new(&config)?),
        DeadLetters::Queue => None,
    };
    let running = start(&routes, store.as_ref(), &consuming, &publishing, &shutdown)?;
    let running = Arc::new(running);

    let readiness = Readiness::new(shutdown.clone())
        .check("rabbitmq", {
            let (consuming, publishing) = (consuming.clone(), publishing.clone());
            move || {
                let status = consuming.status().into_result();
                let status = status.and_then(|()| publishing.status().into_result());
                Box::pin(async { status })
            }
        })
        .check("routes", {
            let running = running.clone();
            move || {
                let status = admin::all_consuming(&running);
                Box::pin(async { status })
            }
        });
    let dead_letters = match store {
        Some(store) => dead_letters::routes(Replayer::new(store, &publishing, shutdown.clone())),
        None => dead_letters::absent(),
    };
    let admin = admin::routes(running.clone()).merge(dead_letters);
    let deadline = config.http.drain_timeout;
    let serve = async {
        let served = server::serve(
            SERVICE,
            listener,
            admin,
            &config.http,
            readiness,
            shutdown.clone(),
        );
        let served = served.await;
        shutdown.cancel(); // a server that cannot start ends the deliveries as well
        served
    };
    let (served, ()) = tokio::join!(serve, drain(&running, &shutdown, deadline));
    tokio::join!(consuming.close(), publishing.close());
    served
}

fn start(
    routes: &Routes,
    store: Option<&Store>,
    consuming: &Connection,
    publishing: &Connection,
    shutdown: &CancellationToken,
) -> anyhow::Result<Vec<Running>> {
    let mut running = Vec::new();
    for route in &routes.events {
        let forwarding = event_route::start(route, consuming, publishing, shutdown.clone())
            .with_context(|| format!("route \"{}\"", route.name))?;
        running.push(Running {
            name: route.name.clone(),
            target: route.target.to_string(),
            consumer: forwarding.consumer,
            breaker: Some(forwarding.breaker),
            drain: store
                .map(|store| Drain::start(route, store.clone(), consuming, shutdown.clone())),
        });
    }
    for route in &routes.requests {
        let consumer = request_route::start(route, consuming, publishing)
            .with_context(|| format!("request route of \"{}\"", route.service))?;
        running.push(Running {
            name: route.service.clone(),
            target: route.target.to_string(),
            consumer,
            breaker: None,
            drain: None,
        });
    }
    Ok(running)
}

async fn drain(running: &[Running], shutdown: &CancellationToken, deadline: Duration) {
    shutdown.cancelled().await;
    let consumers = running.iter().flat_map(|route| {
        let drain = route.drain.as_ref().map(|drain| &drain.consumer);
        [&route.consumer].into_iter().chain(drain)
    });
    join_all(consumers.map(|consumer| consumer.drain(deadline))).await;
}
