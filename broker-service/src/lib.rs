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

use std::{
    sync::{Arc, LazyLock},
    time::{Duration, Instant},
};

use axum::{Router, routing::post};
use event::{Event, EventType};
use messaging::{Connection, Message, PublishError, Publisher, Requester, topology};
use metrics::{Counter, Histogram};
use service_kit::{readiness::Readiness, server};
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
    /// Of the events of batches that are on their way.
    batch_places: Arc<Semaphore>,
}

impl App {
    /// Publishes `event`; `Ok` means that it is durable.
    async fn publish(
        &self,
        event: Event,
        key: &EventType,
        timeout: Duration,
    ) -> Result<(), PublishError> {
        let begun = Instant::now();
        let message = Message::of(event, key);
        let published = self.publishers.publish(message, key, timeout).await;
        record(&published, begun);
        published
    }
}

/// Counts a publish and the time it took.
fn record(published: &Result<(), PublishError>, begun: Instant) {
    let took = begun.elapsed();
    match published {
        Ok(()) => ACCEPTED.record(took),
        Err(error) => Outcome::new(problems::code(error)).record(took),
    }
}

/// The metrics of publishes with one outcome.
struct Outcome {
    total: Counter,
    duration: Histogram,
}

/// Looked up once, for all that go well.
static ACCEPTED: LazyLock<Outcome> = LazyLock::new(|| Outcome::new("accepted"));

impl Outcome {
    fn new(outcome: &'static str) -> Self {
        Self {
            total: metrics::counter!("broker_publishes_total", "outcome" => outcome),
            duration: metrics::histogram!("broker_publish_duration_seconds", "outcome" => outcome),
        }
    }

    fn record(&self, took: Duration) {
        self.total.increment(1);
        self.duration.record(took);
    }
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
