//! The four services, in this process, each on a port given by the system.

use std::{
    future::Future,
    net::{Ipv4Addr, SocketAddr, SocketAddrV4},
    path::{Path, PathBuf},
    sync::Once,
    time::Duration,
};

use listener_service::DeadLetters;
use serde_json::{Value, json};
use service_kit::server::HttpConfig;
use tempfile::{NamedTempFile, TempDir};
use tokio::{net::TcpListener, task::JoinHandle, time::timeout};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

use crate::{OrPanic as _, eventually, http};

const ANY_PORT: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0));
/// For a service that has all it needs.
const READY_DEADLINE: Duration = Duration::from_secs(30);
/// Where no route leads to.
const BROKER_URL: &str = "http://broker.invalid/";
const STOP_DEADLINE: Duration = Duration::from_secs(30);

/// A running service.
pub struct Service {
    /// Where it listens.
    pub addr: SocketAddr,
    shutdown: CancellationToken,
    task: JoinHandle<anyhow::Result<()>>,
}

impl Service {
    /// Starts what `run` makes of a bound listener and a shutdown token, on a free port.
    pub async fn start<F>(run: impl FnOnce(TcpListener, CancellationToken) -> F) -> Self
    where
        F: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        Self::start_at(ANY_PORT, run).await
    }

    /// The same, at an address that an earlier one listened on.
    pub async fn start_at<F>(
        addr: SocketAddr,
        run: impl FnOnce(TcpListener, CancellationToken) -> F,
    ) -> Self
    where
        F: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        log_to_test_output();
        let listener = TcpListener::bind(addr).await.or_panic("a port");
        let addr = listener.local_addr().or_panic("its address");
        let shutdown = CancellationToken::new();
        let run = run(listener, shutdown.clone());
        let task = tokio::spawn(async move {
            // What a test sees first of one that does not start is a refused connection.
            run.await
                .inspect_err(|error| eprintln!("the service ended: {error:#}"))
        });
        Self {
            addr,
            shutdown,
            task,
        }
    }

    /// URL of a path.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.addr)
    }

    /// Waits until the service says that it is ready.
    pub async fn ready(&self) {
        let url = self.url("/readyz");
        eventually(&url, READY_DEADLINE, || async {
            (http::get(&url).await.status == 200).then_some(())
        })
        .await;
    }

    /// Waits until the service says that it is not ready, and returns the reason.
    pub async fn not_ready(&self) -> String {
        let url = self.url("/readyz");
        eventually(&format!("{url} fails"), READY_DEADLINE, || async {
            let answer = http::get(&url).await;
            (answer.status == 503).then(|| answer.problem(503))
        })
        .await
    }

    /// Stops it as SIGTERM does, and waits until it has.
    pub async fn stop(self) {
        self.shutdown.cancel();
        timeout(STOP_DEADLINE, self.task)
            .await
            .or_panic("the service stops in time")
            .or_panic("the service does not panic")
            .or_panic("the service stops without an error");
    }
}

/// What a test may want otherwise than it is by default.
#[derive(Clone, Debug)]
pub struct Options {
    /// `ROUTES_FILE` with this text.
    pub routes: Option<String>,
    /// `AUTH_TIMEOUT_MS`.
    pub auth_timeout: Duration,
    /// `AMQP_DECLARE`.
    pub amqp_declare: bool,
    /// `MAX_BODY_BYTES`.
    pub max_body_bytes: usize,
    /// `SCHEMAS_DIR`.
    pub schemas_dir: Option<PathBuf>,
    /// `API_TOKEN_FILE` of all four.
    pub api_token_file: Option<PathBuf>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            routes: None,
            auth_timeout: Duration::from_secs(10),
            amqp_declare: true,
            max_body_bytes: HttpConfig::default().max_body_bytes,
            schemas_dir: None,
            api_token_file: None,
        }
    }
}

impl Options {
    fn http(&self) -> HttpConfig {
        HttpConfig {
            api_token_file: self.api_token_file.clone(),
            ..http_config()
        }
    }
}

/// All four services on one virtual host.
pub struct Suite {
    /// broker-service.
    pub broker: Service,
    /// listener-service.
    pub listener: Service,
    /// logger-service.
    pub logger: Service,
    /// auth-service.
    pub auth: Service,
    /// Where the services keep their files.
    pub dir: TempDir,
}

impl Suite {
    /// Starts the suite with its defaults and waits until it is ready.
    pub async fn start(amqp_url: &str) -> Self {
        let suite = Self::start_with(amqp_url, Options::default()).await;
        suite.ready().await;
        suite
    }

    /// Starts the suite and waits for nothing.
    pub async fn start_with(amqp_url: &str, options: Options) -> Self {
        let dir = tempfile::tempdir().or_panic("a directory");
        let logger = logger_with(ANY_PORT, dir.path(), options.http()).await;
        let auth = auth(dir.path(), &options).await;
        let listener = listener(amqp_url, dir.path(), &logger, &auth, &options).await;
        let broker = broker(amqp_url, &options).await;
        Self {
            broker,
            listener,
            logger,
            auth,
            dir,
        }
    }

    /// Waits until all four are ready.
    pub async fn ready(&self) {
        for service in [&self.logger, &self.auth, &self.listener, &self.broker] {
            service.ready().await;
        }
    }

    /// `POST /handle` with the action `log`.
    pub async fn log(&self, entry: Value) -> http::Answer {
        let body = json!({"action": "log", "log": entry});
        http::post(&self.broker.url("/handle"), &body).await
    }

    /// `POST /handle` with the action `auth`.
    pub async fn authenticate(&self, email: &str, password: &str) -> http::Answer {
        let body = json!({"action": "auth", "auth": {"email": email, "password": password}});
        http::post(&self.broker.url("/handle"), &body).await
    }

    /// Waits until the logger has the event.
    pub async fn logged(&self, id: &str) -> Value {
        self.logged_text(id).await.json()
    }

    /// Waits until the logger has the event, and returns it as the logger wrote it.
    pub async fn logged_text(&self, id: &str) -> http::Answer {
        let url = self.logger.url(&format!("/logs/{id}"));
        eventually(&url, READY_DEADLINE, || async {
            Some(http::get(&url).await).filter(|answer| answer.status == 200)
        })
        .await
    }

    /// The events that the logger has, newest first, of one type.
    pub async fn events_of_type(&self, event_type: &str) -> Vec<Value> {
        let url = self
            .logger
            .url(&format!("/logs?type={event_type}&limit=500"));
        let page = http::get(&url).await;
        assert_eq!(page.status, 200, "{}", page.text);
        page.json()["events"]
            .as_array()
            .cloned()
            .unwrap_or_default()
    }

    /// The password that auth-service made for its administrator.
    pub fn admin_password(&self) -> String {
        let path = self.dir.path().join("admin-password.txt");
        let password = std::fs::read_to_string(path).or_panic("the administrator's password");
        password.trim().to_owned()
    }

    /// Stops all four, producers first.
    pub async fn stop(self) {
        for service in [self.broker, self.listener, self.auth, self.logger] {
            service.stop().await;
        }
    }
}

/// E-mail of the administrator.
pub const ADMIN: &str = "admin@example.com";

/// Starts broker-service.
pub async fn broker(amqp_url: &str, options: &Options) -> Service {
    let config = broker_config(amqp_url, options);
    Service::start(|listener, shutdown| broker_service::run(config, listener, shutdown)).await
}

/// How broker-service is started.
pub fn broker_config(amqp_url: &str, options: &Options) -> broker_service::Config {
    broker_service::Config {
        amqp_url: amqp_url.parse().or_panic("AMQP_URL"),
        amqp_declare: options.amqp_declare,
        publish_timeout: Duration::from_secs(5),
        auth_timeout: options.auth_timeout,
        idempotency_window: Duration::from_secs(3600),
        idempotency_keys_max: 1_000,
        schemas_dir: options.schemas_dir.clone(),
        http: HttpConfig {
            max_body_bytes: options.max_body_bytes,
            ..options.http()
        },
    }
}

/// Starts listener-service.
pub async fn listener(
    amqp_url: &str,
    dir: &Path,
    logger: &Service,
    auth: &Service,
    options: &Options,
) -> Service {
    let config = listener_service::Config {
        amqp_url: amqp_url.parse().or_panic("AMQP_URL"),
        amqp_declare: options.amqp_declare,
        routes_file: options
            .routes
            .as_ref()
            .map(|routes| write_routes(dir, routes)),
        logger_url: logger.url("").parse().or_panic("LOGGER_URL"),
        auth_url: auth.url("").parse().or_panic("AUTH_URL"),
        broker_url: BROKER_URL.parse().or_panic("BROKER_URL"),
        dead_letters: DeadLetters::Logger,
        http: options.http(),
    };
    Service::start(|listener, shutdown| listener_service::run(config, listener, shutdown)).await
}

/// Starts listener-service alone, with routes of a test's own.
pub async fn listener_alone(amqp_url: &str, dir: &Path, routes: &str) -> Service {
    let nowhere = "http://127.0.0.1:1";
    let config = listener_service::Config {
        amqp_url: amqp_url.parse().or_panic("AMQP_URL"),
        amqp_declare: true,
        routes_file: Some(write_routes(dir, routes)),
        logger_url: nowhere.parse().or_panic("LOGGER_URL"),
        auth_url: nowhere.parse().or_panic("AUTH_URL"),
        broker_url: BROKER_URL.parse().or_panic("BROKER_URL"),
        dead_letters: DeadLetters::Queue,
        http: http_config(),
    };
    Service::start(|listener, shutdown| listener_service::run(config, listener, shutdown)).await
}

/// Starts logger-service with its database in `dir`.
pub async fn logger(dir: &Path) -> Service {
    logger_at(ANY_PORT, dir).await
}

/// The same, at an address that an earlier one listened on.
pub async fn logger_at(addr: SocketAddr, dir: &Path) -> Service {
    logger_with(addr, dir, http_config()).await
}

async fn logger_with(addr: SocketAddr, dir: &Path, http: HttpConfig) -> Service {
    let database = format!("sqlite:{}", dir.join("logger.db").display());
    let config = logger_service::Config {
        database_url: database.as_str().into(),
        http,
    };
    let run = |listener, shutdown| logger_service::run(config, listener, shutdown);
    Service::start_at(addr, run).await
}

/// Starts auth-service with its database and its files in `dir`.
pub async fn auth(dir: &Path, options: &Options) -> Service {
    let database = format!("sqlite:{}", dir.join("auth.db").display());
    let config = auth_service::Config {
        database_url: database.as_str().into(),
        key_file: dir.join("auth.key"),
        admin_email: ADMIN.parse().or_panic("AUTH_ADMIN_EMAIL"),
        admin_password_file: dir.join("admin-password.txt"),
        token_ttl_seconds: 3600,
        http: options.http(),
    };
    Service::start(|listener, shutdown| auth_service::run(config, listener, shutdown)).await
}

/// The defaults, without the grace that load balancers need when a service stops.
pub fn http_config() -> HttpConfig {
    HttpConfig {
        drain_grace: Duration::ZERO,
        ..HttpConfig::default()
    }
}

/// In one step: another listener with the same file may be reading it, and would find it empty.
fn write_routes(dir: &Path, routes: &str) -> PathBuf {
    let path = dir.join("routes.toml");
    let file = NamedTempFile::new_in(dir).or_panic("a file for routes");
    std::fs::write(file.path(), routes).or_panic("the routes file");
    file.persist(&path).or_panic("the routes file");
    path
}

/// Logs go where the test runner shows them for tests that fail. `RUST_LOG` as usual.
fn log_to_test_output() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let filter =
            EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn,lapin=off"));
        let subscriber = tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_test_writer();
        let _already_set = subscriber.try_init();
    });
}
