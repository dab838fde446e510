//! A running logger-service, and the database it leaves behind.

use std::time::Duration;

use http::HeaderMap;
use logger_service::Config;
use reqwest::{Body, Method, StatusCode, header};
use serde_json::Value;
use service_kit::server::HttpConfig;
use store::DatabaseUrl;
use tempfile::TempDir;
use tests::http::{self as client, Answer};
use tests::{OrPanic as _, eventually, postgres};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// A database for any number of instances.
pub struct Site {
    pub database_url: String,
    /// Of SQLite; removed at the end of the test.
    _directory: Option<TempDir>,
}

/// One instance.
pub struct Logger {
    pub base: String,
    client: reqwest::Client,
    shutdown: CancellationToken,
    task: JoinHandle<anyhow::Result<()>>,
}

/// One `POST /log` in CloudEvents binary mode.
pub struct Delivery<'a> {
    pub id: &'a str,
    pub event_type: &'a str,
    pub content_type: &'a str,
    pub data: &'a [u8],
}

impl Site {
    pub fn on_sqlite() -> Self {
        let directory = tempfile::tempdir().or_panic("a directory");
        Self {
            database_url: format!("sqlite:{}/logger.db", directory.path().display()),
            _directory: Some(directory),
        }
    }

    pub async fn on_postgres() -> Self {
        Self::at(postgres::database().await)
    }

    pub fn at(database_url: String) -> Self {
        Self {
            database_url,
            _directory: None,
        }
    }

    /// Starts an instance and waits until it is ready.
    pub async fn start(&self) -> Logger {
        let logger = self.launch().await;
        logger.ready().await;
        logger
    }

    /// Starts an instance.
    pub async fn launch(&self) -> Logger {
        let listener = TcpListener::bind("127.0.0.1:0").await.or_panic("a port");
        let addr = listener.local_addr().or_panic("an address");
        let shutdown = CancellationToken::new();
        let config = Config {
            database_url: DatabaseUrl::from(self.database_url.as_str()),
            http: HttpConfig {
                drain_grace: Duration::ZERO,
                ..HttpConfig::default()
            },
        };
        let run = logger_service::run(config, listener, shutdown.clone());
        Logger {
            base: format!("http://{addr}"),
            client: client::client(),
            shutdown,
            task: tokio::spawn(run),
        }
    }
}

impl Logger {
    pub async fn ready(&self) {
        eventually("ready", Duration::from_secs(30), async || {
            (self.get("/readyz").await.status == StatusCode::OK).then_some(())
        })
        .await;
    }

    pub async fn get(&self, path_and_query: &str) -> Answer {
        let url = format!("{}{path_and_query}", self.base);
        client::read(self.client.get(&url).send().await.or_panic(&url)).await
    }

    /// `GET` of what must be there.
    pub async fn get_json(&self, path_and_query: &str) -> Value {
        let answer = self.get(path_and_query).await;
        assert_eq!(answer.status, 200, "{path_and_query}: {}", answer.text);
        answer.json()
    }

    /// The ids of a listing, in its order.
    pub async fn ids(&self, query: &str) -> Vec<String> {
        let listing = self.get_json(&format!("/logs?{query}")).await;
        let events = listing["events"].as_array().cloned().unwrap_or_default();
        let ids = events
            .iter()
            .map(|event| event["id"].as_str().unwrap_or_default());
        ids.map(str::to_owned).collect()
    }

    pub async fn post(&self, headers: &[(&str, &str)], body: impl Into<Vec<u8>>) -> Answer {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            let name: header::HeaderName = name.parse().or_panic(name);
            map.append(name, value.parse().or_panic(value));
        }
        let request = self.client.post(format!("{}/log", self.base)).headers(map);
        client::read(request.body(body.into()).send().await.or_panic("POST /log")).await
    }

    /// A request with a body that is declared to be JSON.
    pub async fn send(&self, method: Method, path: &str, body: impl Into<Body>) -> Answer {
        let url = format!("{}{path}", self.base);
        let request = self.client.request(method, &url).body(body);
        let request = request.header(header::CONTENT_TYPE, "application/json");
        client::read(request.send().await.or_panic(&url)).await
    }

    pub async fn deliver(&self, delivery: &Delivery<'_>) -> Answer {
        let headers = [
            ("ce-specversion", "1.0"),
            ("ce-id", delivery.id),
            ("ce-type", delivery.event_type),
            ("ce-source", "/test"),
            ("content-type", delivery.content_type),
        ];
        self.post(&headers, delivery.data).await
    }

    /// Stores a text event that must be new.
    pub async fn store(&self, id: &str, event_type: &str, text: &str) {
        let content_type = "text/plain";
        let data = text.as_bytes();
        let answer = self
            .deliver(&Delivery {
                id,
                event_type,
                content_type,
                data,
            })
            .await;
        assert_eq!(answer.status, 201, "{}", answer.text);
    }

    pub async fn stop(self) {
        self.shutdown.cancel();
        self.task
            .await
            .or_panic("no panic")
            .or_panic("a clean stop");
    }
}
