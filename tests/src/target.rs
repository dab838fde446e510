//! A target of a route that answers as it is told and remembers what it got.

use std::{
    future::Future,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use axum::{
    Router,
    extract::State,
    http::{HeaderMap, StatusCode, Version},
    response::{IntoResponse as _, Response},
    routing::any,
};
use bytes::Bytes;
use futures_util::{FutureExt as _, future::BoxFuture};
use service_kit::{readiness::Readiness, server};
use tokio::{
    net::{TcpListener, TcpSocket},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use crate::{OrPanic as _, eventually};

/// One request that reached the target.
#[derive(Clone, Debug)]
pub struct Received {
    /// When.
    pub at: Instant,
    /// Of HTTP.
    pub version: Version,
    /// Headers, the event's attributes among them.
    pub headers: HeaderMap,
    /// Body.
    pub body: Bytes,
}

impl Received {
    /// A header as text, or "".
    pub fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name).and_then(|value| value.to_str().ok());
        value.unwrap_or_default()
    }
}

type Answers = dyn Fn(Received, usize) -> BoxFuture<'static, Response> + Send + Sync;

/// A running target.
pub struct Target {
    /// Where it listens.
    pub addr: SocketAddr,
    received: Arc<Mutex<Vec<Received>>>,
    shutdown: CancellationToken,
    /// Keeps the address of one that is down from everybody else.
    _reserved: Option<TcpSocket>,
}

#[derive(Clone)]
struct Shared {
    received: Arc<Mutex<Vec<Received>>>,
    answers: Arc<Answers>,
}

impl Target {
    /// Starts a target that answers each request with what `answers` makes of it and of the
    /// number of requests before it.
    pub async fn start(
        answers: impl Fn(&Received, usize) -> Response + Send + Sync + 'static,
    ) -> Self {
        Self::start_slow(move |received, before| {
            let answer = answers(&received, before);
            async move { answer }
        })
        .await
    }

    /// The same for answers that take their time.
    pub async fn start_slow<F>(
        answers: impl Fn(Received, usize) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Response> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.or_panic("a port");
        let addr = listener.local_addr().or_panic("its address");
        let received = Arc::<Mutex<Vec<Received>>>::default();
        let shared = Shared {
            received: received.clone(),
            answers: Arc::new(move |received, before| answers(received, before).boxed()),
        };
        let shutdown = CancellationToken::new();
        let routes = Router::new()
            .route("/", any(receive))
            .route("/{*path}", any(receive))
            .with_state(shared);
        let stop = shutdown.clone();
        tokio::spawn(async move {
            let readiness = Readiness::new(stop.clone());
            let config = crate::suite::http_config();
            let memory = server::prepare(&listener, &config).or_panic("the target's address");
            server::serve("target", listener, routes, &config, memory, readiness, stop)
                .await
                .or_panic("the target serves");
        });
        Self {
            addr,
            received,
            shutdown,
            _reserved: None,
        }
    }

    /// One that is down: its address refuses connections.
    pub fn down() -> Self {
        let reserved = TcpSocket::new_v4().or_panic("a socket");
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        reserved.bind(any).or_panic("a port");
        Self {
            addr: reserved.local_addr().or_panic("its address"),
            received: Arc::default(),
            shutdown: CancellationToken::new(),
            _reserved: Some(reserved),
        }
    }

    /// A target that answers every request with `status`.
    pub async fn answering(status: StatusCode) -> Self {
        Self::start(move |_, _| status.into_response()).await
    }

    /// What it got so far.
    pub fn received(&self) -> Vec<Received> {
        self.lock().clone()
    }

    /// How many requests it got so far.
    pub fn count(&self) -> usize {
        self.lock().len()
    }

    /// Waits until it got `count` requests.
    pub async fn wait_for(&self, count: usize) -> Vec<Received> {
        let what = format!("{count} requests at the target");
        eventually(&what, Duration::from_secs(20), || async {
            (self.count() >= count).then(|| self.received())
        })
        .await
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Received>> {
        self.received.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

async fn receive(
    State(shared): State<Shared>,
    version: Version,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let received = Received {
        at: Instant::now(),
        version,
        headers,
        body,
    };
    let before = {
        let mut all = shared
            .received
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        all.push(received.clone());
        all.len() - 1
    };
    (shared.answers)(received, before).await
}
