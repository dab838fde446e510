//! The least that an event passes: a broker, a listener with one route, and its target.

use axum::http::StatusCode;
use reqwest::{RequestBuilder, header};
use tempfile::TempDir;

use crate::{
    OrPanic as _,
    http::{self, Answer},
    suite::{Options, Service, broker, listener_alone},
    target::Target,
};

/// The queue of the route.
pub const QUEUE: &str = "events.topic.exchange.queue.orders";

/// A running gateway. Its route takes events of the types `order.#`, and nobody takes others.
pub struct Gateway {
    /// broker-service.
    pub broker: Service,
    /// listener-service.
    pub listener: Service,
    /// Accepts all it gets.
    pub target: Target,
    _dir: TempDir,
}

impl Gateway {
    /// Starts it and waits until it is ready.
    pub async fn start(amqp_url: &str) -> Self {
        Self::start_with(amqp_url, &Options::default()).await
    }

    /// The same, with a broker that is configured otherwise.
    pub async fn start_with(amqp_url: &str, options: &Options) -> Self {
        let dir = tempfile::tempdir().or_panic("a directory");
        let target = Target::answering(StatusCode::OK).await;
        let route = route(&format!("http://{}/", target.addr));
        let listener = listener_alone(amqp_url, dir.path(), &route).await;
        listener.ready().await;
        let broker = broker(amqp_url, options).await;
        broker.ready().await;
        Self {
            broker,
            listener,
            target,
            _dir: dir,
        }
    }

    /// A `POST` to the broker.
    pub fn post(&self, path: &str) -> RequestBuilder {
        http::client().post(self.broker.url(path))
    }

    /// A `POST` with a body of a media type.
    pub async fn send(
        &self,
        path: &str,
        media_type: &str,
        body: impl Into<reqwest::Body>,
    ) -> Answer {
        let request = self.post(path).header(header::CONTENT_TYPE, media_type);
        send(request.body(body)).await
    }

    /// Stops both services, and returns the target, which gets nothing more.
    pub async fn stop(self) -> Target {
        self.broker.stop().await;
        self.listener.stop().await;
        self.target
    }
}

/// Sends a request and reads its answer.
pub async fn send(request: RequestBuilder) -> Answer {
    http::read(request.send().await.or_panic("a request")).await
}

/// `ROUTES_FILE` with the one route to `target`.
pub fn route(target: &str) -> String {
    format!("[[route]]\nname = \"orders\"\nbindings = [\"order.#\"]\ntarget = \"{target}\"\n")
}
