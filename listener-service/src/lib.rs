//! RabbitMQ in, HTTP out: each route consumes a queue of its own and forwards what it gets.
//!
//! A delivery is acknowledged after the target's 2xx, or after its copy is confirmed in a retry
//! queue or among the dead letters. Killed at any instant, the listener loses nothing; what it had
//! in hand is delivered again under the same id.

mod admin;
mod answer;
mod check;
mod command;
mod config;
mod connecting;
mod dead_letters;
mod event_route;
mod excerpt;
mod forward;
mod http_client;
mod own_queues;
mod request_route;
mod retry_after;
mod routes;
mod routes_file;
mod running;
mod shown;
mod signing;
mod target;
mod template;
mod unanswered;

use std::sync::Arc;

use messaging::Connection;
use service_kit::{readiness::Readiness, server};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::error;

use crate::{
    admin::Admin,
    dead_letters::{Replayer, Store},
    routes::Routes,
    running::Running,
};
pub use crate::{
    command::Command,
    config::{Config, DeadLetters},
};

const SERVICE: &str = "listener-service";

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
    let memory = server::prepare(&listener, &config.http)?;
    let routes = Routes::load(&config)?;
    // Two connections: RabbitMQ blocks one that publishes, and acknowledgements must get through.
    let url = &config.amqp_url;
    let budget = memory.budget();
    let deliveries = budget.part(budget.total() / 4 * 3); // some is left to HTTP
    let consuming = Connection::open_within(deliveries, format!("{SERVICE} consuming"), url);
    let publishing = Connection::open(format!("{SERVICE} publishing"), url);
    let (consuming, publishing) = (
        consuming.declaring(config.amqp_declare),
        publishing.declaring(config.amqp_declare),
    );
    let store = match config.dead_letters {
        DeadLetters::Logger => Some(Store::new(&config, memory.budget().clone())?),
        DeadLetters::Queue => None,
    };
    let running = Running::start(
        routes,
        consuming.clone(),
        publishing.clone(),
        store.clone(),
        config.http.drain_timeout,
        shutdown.clone(),
    )?;
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
    let http = config.http.clone();
    let admin = Admin {
        running: running.clone(),
        config: Arc::new(config),
    };
    let routes = admin::routes(admin.clone()).merge(dead_letters);
    let serve = async {
        let served = server::serve(
            SERVICE,
            listener,
            routes,
            &http,
            memory,
            readiness,
            shutdown.clone(),
        );
        let served = served.await;
        shutdown.cancel(); // a server that cannot start ends the deliveries as well
        served
    };
    let deliver = async {
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = reload_on_hangup(&admin) => {}
        }
        shutdown.cancelled().await;
        running.drain().await;
    };
    let (served, ()) = tokio::join!(serve, deliver);
    tokio::join!(consuming.close(), publishing.close());
    served
}

/// Reads the routes again at each SIGHUP.
async fn reload_on_hangup(admin: &Admin) {
    let mut hangups = match signal(SignalKind::hangup()) {
        Ok(hangups) => hangups,
        Err(error) => return error!(%error, "SIGHUP will not reload the routes"),
    };
    while hangups.recv().await.is_some() {
        let admin = admin.clone();
        // On its own: what is begun is finished, also when the listener is to stop.
        let changed = tokio::spawn(async move { admin.reload().await }).await;
        if let Ok(Err(error)) = changed {
            error!("the routes are unchanged: {error:#}");
        }
    }
}
