//! Which connection a request used: a new one, or a kept-alive one.
//!
//! No HTTP client reports this. But a connection is opened in the task of the request that needs
//! it, and an error names the connection it happened on, so the two can be compared by their local
//! address.

use std::{
    future::Future,
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
};

use axum::http::Extensions;
use hyper_util::client::legacy::connect::{Connected, Connection, HttpInfo};
use reqwest::Response;
use tower::{Layer, Service};

tokio::task_local! {
    static CONNECTING: Connecting;
}

/// The connection attempts of one request.
#[derive(Clone, Debug, Default)]
pub(crate) struct Connecting(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    begun: bool,
    made: Option<SocketAddr>,
}

impl Connecting {
    /// Sends a request with a client that has the layer [`Watch`].
    pub(crate) async fn of<F: Future>(&self, request: F) -> F::Output {
        CONNECTING.scope(self.clone(), request).await
    }

    /// Whether a connection was requested and not established: then nothing was sent, or it was
    /// sent on another one.
    pub(crate) fn is_under_way(&self) -> bool {
        let state = self.lock();
        state.begun && state.made.is_none()
    }

    /// Whether this connection was opened for the request.
    pub(crate) fn made(&self, connection: &Connected) -> bool {
        let address = address(connection);
        address.is_none() || self.lock().made == address
    }

    /// Whether the connection that this answer came by was made for the request.
    pub(crate) fn made_for(&self, answer: &Response) -> bool {
        let address = answer.extensions().get().map(HttpInfo::local_addr);
        address.is_none() || self.lock().made == address
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic while it is locked leaves valid values behind.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The local address of a connection.
fn address(connection: &Connected) -> Option<SocketAddr> {
    let mut extras = Extensions::new();
    connection.get_extras(&mut extras);
    extras.get().map(HttpInfo::local_addr)
}

/// A connector layer that records connection attempts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Watch;

/// A connector that records connection attempts.
#[derive(Clone, Debug)]
pub(crate) struct Watched<S>(S);

impl<S> Layer<S> for Watch {
    type Service = Watched<S>;

    fn layer(&self, connector: S) -> Watched<S> {
        Watched(connector)
    }
}

impl<S, T> Service<T> for Watched<S>
where
    S: Service<T>,
    S::Response: Connection,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, to: T) -> Self::Future {
        let connecting = CONNECTING.try_with(Clone::clone).unwrap_or_default();
        *connecting.lock() = State {
            begun: true,
            made: None,
        };
        let connected = self.0.call(to);
        Box::pin(async move {
            let connection = connected.await?;
            connecting.lock().made = address(&connection.connected());
            Ok(connection)
        })
    }
}
