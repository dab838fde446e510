//! HTTP in, RabbitMQ out: each accepted request becomes one event on the topic exchange.
//!
//! A 202 means that RabbitMQ has confirmed the event and that at least one queue holds it. What
//! is not sure to be there is an error, and says what to do next.

mod authenticator;
mod cloud_event;
mod config;
mod events;
mod handle;
mod idempotency;
mod problems;
mod publication;
mod publishers;
mod schemas;
mod under_way;

use std::{sync::Arc, time::Duration};

use axum::{Router, routing::post};
use messaging::{Connection, Publisher, Requester, topology};
use service_kit::{memory::Memory, readiness::Readiness, server};
use tokio::{net::TcpListener, sync::Semaphore};
use tokio_util::sync::CancellationToken;

use crate::{
    authenticator::Authenticator, idempotency::Idempotency, publishers::Publishers,
    schemas::Schemas,
};
pub use crate::{config::Config, handle::Envelope};

/// CloudEvents `source` of the events that are made here.
const SOURCE: &str = "broker-service";

/// What the handlers share.
struct App {
    publishers: Publishers,
    publish_timeout: Duration,
    authenticator: Authenticator,
    idempotency: Idempotency,
    schemas: Schemas,
    memory: Memory,
    /// Of the events of batches that are on their way.
    batch_places: Arc<Semaphore>,
}

/// Serves until `shutdown`, then finishes the requests in flight and closes the connection to
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
    let schemas = config.schemas_dir.as_deref().map(Schemas::load);
    let schemas = schemas.transpose()?.unwrap_or_default();
    let connection = Connection::open(SOURCE, &config.amqp_url).declaring(config.amqp_declare);
    let publisher = Publisher::start(&connection, topology::Topology::events());
    let publishers = Publishers::new(publisher);
    let requests = topology::Topology::request_exchange(topology::AUTH_SERVICE);
    let requester = Requester::start(&connection, requests);

    let readiness = Readiness::new(shutdown.clone()).check("rabbitmq", {
        let (publishers, requester) = (publishers.clone(), requester.clone());
        move || {
            let status = publishers.status().into_result();
            let status = status.and_then(|()| requester.status().into_result());
            Box::pin(async { status })
        }
    });
    let app = App {
        publishers,
        publish_timeout: config.publish_timeout,
        authenticator: Authenticator::new(requester, config.auth_timeout),
        idempotency: Idempotency::new(config.idempotency_window, config.idempotency_keys_max),
        schemas,
        memory: memory.clone(),
        batch_places: Arc::new(Semaphore::new(events::BATCHES_AT_ONCE)),
    };
    let served = server::serve(
        SOURCE,
        listener,
        routes(app),
        &config.http,
        memory,
        readiness,
        shutdown,
    );
    let served = served.await;
    connection.close().await;
    served
}

fn routes(app: App) -> Router {
    Router::new()
        .route("/handle", post(handle::handle))
        .route("/events", post(events::post_cloud_events))
        .route("/events/{type}", post(events::post_data))
        .with_state(Arc::new(app))
}
