//! Starts a server with a few routes to try it on, and a client that writes raw HTTP/1.1.

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::http::Uri;
use axum::routing::{get, post};
use serde_json::Value;
use service_kit::readiness::Readiness;
use service_kit::routes::{LargeBodies, Routes};
use service_kit::server::{self, HttpConfig};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Nothing in these tests may take longer.
const DEADLINE: Duration = Duration::from_secs(5);

/// What `POST /large` takes. `POST /large?hold` keeps its place as `GET /wait` does.
pub(crate) const LARGE_BODIES: LargeBodies = LargeBodies {
    bytes_max: 4 * 1024 * 1024,
};

/// A server that runs until the test ends or stops it.
pub(crate) struct Server {
    pub(crate) addr: SocketAddr,
    /// Cancelled by the test: `GET /wait` answers.
    pub(crate) release: CancellationToken,
    /// Cancelled by the server: a request has reached `GET /wait`.
    pub(crate) waiting: CancellationToken,
    pub(crate) shutdown: CancellationToken,
    task: JoinHandle<anyhow::Result<()>>,
}

impl Server {
    pub(crate) async fn start(config: HttpConfig) -> Self {
        let listener = server::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let addr = listener.local_addr().unwrap();
        let shutdown = CancellationToken::new();
        let release = CancellationToken::new();
        let waiting = CancellationToken::new();
        let readiness = Readiness::new(shutdown.clone());
        let routes = Routes::from(routes(release.clone(), waiting.clone()))
            .with_large_bodies("/large", LARGE_BODIES);
        let stop = shutdown.clone();
        let task = tokio::spawn(async move {
            let memory = server::prepare(&listener, &config)?;
            let serve = server::serve(
                "test-service",
                listener,
                routes,
                &config,
                memory,
                readiness,
                stop,
            );
            serve.await
        });
        Self {
            addr,
            release,
            waiting,
            shutdown,
            task,
        }
    }

    /// Waits for the server to end after its shutdown token was cancelled.
    pub(crate) async fn stopped(self) {
        within(self.task).await.unwrap().unwrap();
    }

    pub(crate) async fn connect(&self) -> Client {
        Client(BufReader::new(TcpStream::connect(self.addr).await.unwrap()))
    }

    /// One request on a connection of its own.
    pub(crate) async fn send(&self, request: &str) -> Answer {
        let mut client = self.connect().await;
        client.write(request).await;
        client.answer().await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(&format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n"))
            .await
    }
}

fn routes(release: CancellationToken, waiting: CancellationToken) -> Router {
    let wait = move || {
        let (release, waiting) = (release.clone(), waiting.clone());
        async move {
            waiting.cancel();
            release.cancelled().await;
            "released"
        }
    };
    let (hold, hold_body) = (wait.clone(), wait.clone());
    let large = move |uri: Uri, body: Bytes| async move {
        if uri.query() == Some("hold") {
            hold().await;
        }
        body.len().to_string()
    };
    Router::new()
        .route(
            "/length",
            post(|body: Bytes| async move { body.len().to_string() }),
        )
        .route("/large", post(large))
        .route("/hold", post(move |_: Bytes| hold_body()))
        .route("/page", get(|| async { "x".repeat(7 * 1024 * 1024) }))
        .route("/wait", get(wait))
        .route("/panic", get(panics))
        .route("/items/{id}", get(|| async { "item" }))
}

async fn panics() -> &'static str {
    panic!("as the test wants it")
}

/// One connection.
pub(crate) struct Client(BufReader<TcpStream>);

impl Client {
    pub(crate) async fn write(&mut self, bytes: impl AsRef<[u8]>) {
        within(self.0.write_all(bytes.as_ref())).await.unwrap();
    }

    /// Reads one answer; bodies in these tests always have a length.
    pub(crate) async fn answer(&mut self) -> Answer {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            let read = within(self.0.read_line(&mut head)).await.unwrap();
            assert!(read > 0, "closed after {head:?}");
        }
        let mut answer = Answer {
            head,
            body: Vec::new(),
        };
        let length = answer
            .header("content-length")
            .map_or(0, |value| value.parse().unwrap());
        answer.body.resize(length, 0);
        within(self.0.read_exact(&mut answer.body)).await.unwrap();
        answer
    }

    /// Waits until the server closes the connection, by a reset or in order, and returns what it
    /// sent before.
    pub(crate) async fn closed(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        let _ = within(self.0.read_to_end(&mut rest)).await;
        rest
    }
}

pub(crate) struct Answer {
    head: String,
    body: Vec<u8>,
}

impl Answer {
    pub(crate) fn status(&self) -> u16 {
        self.head[9..12].parse().unwrap()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines
            .into_iter()
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// Asserts an RFC 9457 answer with this status.
    pub(crate) fn assert_problem(&self, status: u16) {
        assert_eq!(self.status(), status, "{}", self.text());
        assert_eq!(
            self.header("content-type"),
            Some("application/problem+json")
        );
        let body = self.json();
        assert_eq!(body["status"], status);
        assert_eq!(body["error"], true);
        assert_eq!(body["message"], body["detail"]);
    }
}

pub(crate) async fn within<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(DEADLINE, future)
        .await
        .expect("within the deadline")
}
