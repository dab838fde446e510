//! A running auth-service with files and a database of its own.

use std::fs;
use std::path::Path;
use std::time::Duration;

use auth_service::Config;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use service_kit::server::HttpConfig;
use store::DatabaseUrl;
use tempfile::TempDir;
use tests::http::{self, Answer};
use tests::{OrPanic as _, eventually, postgres};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Where an auth-service keeps what it must not lose.
pub struct Site {
    pub directory: TempDir,
    pub config: Config,
}

/// One instance.
pub struct Auth {
    pub base: String,
    /// The suite's token, where the instance requires one.
    pub suite_token: Option<&'static str>,
    shutdown: CancellationToken,
    task: JoinHandle<anyhow::Result<()>>,
}

impl Site {
    pub fn on_sqlite() -> Self {
        let mut site = Self::new("");
        let url = format!("sqlite:{}/auth.db", site.directory.path().display());
        site.config.database_url = DatabaseUrl::from(url.as_str());
        site
    }

    pub async fn on_postgres() -> Self {
        Self::new(&postgres::database().await)
    }

    pub fn new(database_url: &str) -> Self {
        let directory = tempfile::tempdir().or_panic("a directory");
        let config = Config {
            database_url: DatabaseUrl::from(database_url),
            key_file: directory.path().join("auth.key"),
            admin_email: "admin@example.com".parse().or_panic("an address"),
            admin_password_file: directory.path().join("admin-password.txt"),
            token_ttl_seconds: 3600,
            http: HttpConfig {
                drain_grace: Duration::ZERO,
                ..HttpConfig::default()
            },
        };
        Self { directory, config }
    }

    pub fn admin_password(&self) -> String {
        read(&self.config.admin_password_file)
    }

    /// Starts an instance and waits until it is ready.
    pub async fn start(&self) -> Auth {
        let auth = self.launch().await;
        auth.ready().await;
        auth
    }

    /// Starts an instance.
    pub async fn launch(&self) -> Auth {
        let listener = TcpListener::bind("127.0.0.1:0").await.or_panic("a port");
        let addr = listener.local_addr().or_panic("an address");
        let shutdown = CancellationToken::new();
        let run = auth_service::run(self.config.clone(), listener, shutdown.clone());
        Auth {
            base: format!("http://{addr}"),
            suite_token: None,
            shutdown,
            task: tokio::spawn(run),
        }
    }
}

impl Auth {
    pub async fn ready(&self) {
        eventually("ready", Duration::from_secs(20), async || {
            (self.get("/readyz").await.status == StatusCode::OK).then_some(())
        })
        .await;
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, &[], None).await
    }

    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        self.send(Method::POST, path, &[], Some(body)).await
    }

    pub async fn login(&self, email: &str, password: &str) -> Answer {
        self.post(
            "/authenticate",
            &json!({"email": email, "password": password}),
        )
        .await
    }

    /// The token of a login that must work.
    pub async fn token(&self, email: &str, password: &str) -> String {
        let answer = self.login(email, password).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
        answer.json()["data"]["token"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    }

    /// Creates a user with an administrator's token.
    pub async fn create_user(&self, token: &str, user: &Value) -> Answer {
        self.send(
            Method::POST,
            "/users",
            &[("x-user-token", token)],
            Some(user),
        )
        .await
    }

    pub async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&Value>,
    ) -> Answer {
        let url = format!("{}{path}", self.base);
        let mut request = http::client().request(method, &url);
        if let Some(token) = self.suite_token {
            request = request.bearer_auth(token);
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(body) = body {
            request = request
                .header("content-type", "application/json")
                .body(body.to_string());
        }
        http::read(request.send().await.or_panic(&url)).await
    }

    pub async fn stop(self) {
        self.shutdown.cancel();
        self.task
            .await
            .or_panic("no panic")
            .or_panic("a clean stop");
    }
}

/// A file without the line's end.
pub fn read(path: &Path) -> String {
    fs::read_to_string(path)
        .or_panic("a file")
        .trim_end()
        .to_owned()
}
