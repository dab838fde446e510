//! Services with little memory, and clients that want to have all of it.
//!
//! Where a memory cgroup can be made, each service runs in one, and finds its budget by it; elsewhere
//! it is given its budget. What it used is compared with the limit in both cases.

use std::{
    net::SocketAddr,
    path::Path,
    time::{Duration, Instant},
};

use axum::http::StatusCode;
use bytes::Bytes;
use serde_json::json;
use tests::{
    OrPanic as _, cgroup::Cgroup, eventually, http, process::Process, rabbitmq::virtual_host,
    suite::listener_alone, target::Target,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    task::JoinSet,
};

const MIB: usize = 1024 * 1024;
/// A quarter of what docker-compose.yml gives, against a quarter as many attackers.
const LIMIT: usize = 128 * MIB;
const ATTACKERS: usize = 175;
const READERS: usize = 75;
/// For a client that does nothing wrong.
const SERVED: Duration = Duration::from_secs(1);
/// How long an attacker keeps a connection after it was answered.
const HELD: Duration = Duration::from_secs(2);
/// Each attack goes on for so long.
const ATTACK: Duration = Duration::from_secs(5);

/// A service with [`LIMIT`].
struct Confined {
    process: Process,
    cgroup: Option<Cgroup>,
}

impl Confined {
    async fn start(name: &'static str, dir: &Path, environment: &[(&str, &str)]) -> Self {
        let cgroup = Cgroup::with_limit(LIMIT);
        let budget = (LIMIT / 6).to_string();
        let mut environment = environment.to_vec();
        let process = match &cgroup {
            Some(cgroup) => Process::start_by(&cgroup.wrapper(), name, dir, &environment).await,
            None => {
                environment.push(("MEMORY_BUDGET_BYTES", &budget));
                Process::start(name, dir, &environment).await
            }
        };
        process.ready().await;
        let metrics = http::get(&process.url("/metrics")).await.text;
        let total = format!("memory_budget_bytes {budget}\n");
        assert!(metrics.contains(&total), "{metrics}");
        Self { process, cgroup }
    }

    /// Asserts that it lives, and never came near its limit.
    async fn end(mut self) {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.pid()));
        let status = status.or_panic("/proc");
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let peak = peak.and_then(|peak| peak.trim().strip_suffix(" kB"));
        let peak_kib: usize = peak.and_then(|peak| peak.parse().ok()).unwrap_or(0);
        eprintln!("peak of resident memory: {} MiB", peak_kib / 1024);
        assert!((1..LIMIT / 1024).contains(&peak_kib), "{peak_kib} KiB");
        assert!(self.process.is_ready().await);
        self.process.terminate().await;
        assert_eq!(self.cgroup.as_ref().map_or(0, Cgroup::killed), 0);
    }
}

/// Clients that each send `request`, read nothing, and begin again when they are thrown out.
fn attack(addr: SocketAddr, attackers: usize, request: &Bytes) -> JoinSet<()> {
    let mut attack = JoinSet::new();
    for _ in 0..attackers {
        let request = request.clone();
        attack.spawn(async move {
            loop {
                if let Ok(mut stream) = TcpStream::connect(addr).await
                    && stream.write_all(&request).await.is_ok()
                {
                    // An answer is seen, and not read.
                    let _ = stream.readable().await;
                    tokio::time::sleep(HELD).await;
                }
                // Also where it is refused at once.
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        });
    }
    attack
}

/// Sends what an honest client does, again and again, each time within [`SERVED`].
async fn served<F: Future<Output = ()>>(during: Duration, mut request: impl FnMut() -> F) {
    let begun = Instant::now();
    let mut slowest = Duration::ZERO;
    while begun.elapsed() < during {
        let sent = Instant::now();
        request().await;
        slowest = slowest.max(sent.elapsed());
        assert!(slowest < SERVED, "{slowest:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    eprintln!("slowest answer: {slowest:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_whose_end_is_held_back() {
    let virtual_host = virtual_host().await;
    let dir = tempfile::tempdir().unwrap();
    let target = Target::answering(StatusCode::OK).await;
    let routes = format!(
        "[[route]]\nname = \"one\"\nbindings = [\"#\"]\ntarget = \"http://{}/\"\n",
        target.addr
    );
    let listener = listener_alone(&virtual_host.url, dir.path(), &routes).await;
    listener.ready().await;
    let environment = [("AMQP_URL", virtual_host.url.as_str())];
    let broker = Confined::start("broker-service", dir.path(), &environment).await;
    let head = "POST /events/a.b HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/plain\r\n";
    let most = "x".repeat(MIB - 10);
    let declared = format!("{head}Content-Length: {MIB}\r\n\r\n{most}");
    let chunked = format!("{head}Transfer-Encoding: chunked\r\n\r\n{MIB:x}\r\n{most}");
    for request in [declared, chunked] {
        let _attack = attack(broker.process.addr, ATTACKERS, &request.into());
        served(ATTACK, async || {
            let body = json!({"action": "log", "log": {"name": "event", "data": 1}});
            let answer = http::post(&broker.process.url("/handle"), &body).await;
            assert_eq!(answer.status, 202, "{}", answer.text);
            assert!(broker.process.is_ready().await);
        })
        .await;
    }
    broker.end().await;
    listener.stop().await;
}

async fn logger(dir: &Path) -> Confined {
    let database = format!("sqlite:{}/logger.db", dir.display());
    Confined::start("logger-service", dir, &[("LOGGER_DATABASE_URL", &database)]).await
}

async fn store(logger: &Process, data: &str) {
    let event = json!({"name": "event", "data": data});
    let answer = http::post(&logger.url("/log"), &event).await;
    assert_eq!(answer.status, 201, "{}", answer.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_that_nobody_reads() {
    let dir = tempfile::tempdir().unwrap();
    let logger = logger(dir.path()).await;
    let megabyte = "x".repeat(MIB - 1000);
    for _ in 0..20 {
        store(&logger.process, &megabyte).await;
    }
    let request = "GET /logs?limit=500 HTTP/1.1\r\nHost: localhost\r\n\r\n".into();
    let _attack = attack(logger.process.addr, READERS, &request);
    served(ATTACK, async || {
        store(&logger.process, "small").await;
        let page = http::get(&logger.process.url("/logs?limit=1")).await;
        assert_eq!(page.status, 200, "{}", page.text);
    })
    .await;
    logger.end().await;
}

/// Each would have ten seconds for its body, and all connections are theirs.
#[tokio::test(flavor = "multi_thread")]
async fn sockets_with_one_byte_of_a_body() {
    const CONNECTIONS: usize = 256;
    let dir = tempfile::tempdir().unwrap();
    let database = format!("sqlite:{}/logger.db", dir.path().display());
    let connections = CONNECTIONS.to_string();
    let environment = [
        ("LOGGER_DATABASE_URL", database.as_str()),
        ("MAX_CONNECTIONS", &connections),
    ];
    let logger = Confined::start("logger-service", dir.path(), &environment).await;
    let request = "POST /log HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\nx";
    let mut sockets = Vec::new();
    for _ in 0..CONNECTIONS * 5 / 4 {
        let mut socket = TcpStream::connect(logger.process.addr).await.unwrap();
        socket.write_all(request.as_bytes()).await.unwrap();
        sockets.push(socket);
    }
    // The first one waits for the grace of the others, and for those that came before it.
    eventually("an answer", Duration::from_secs(3), async || {
        logger.process.is_ready().await.then_some(())
    })
    .await;
    served(SERVED, async || store(&logger.process, "small").await).await;
    let mut first = String::new();
    let closed = sockets[0].read_to_string(&mut first).await;
    assert!(first.is_empty(), "{closed:?} {first}");
    logger.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn searches_through_many_events() {
    const ROWS: usize = 300_000;
    const SEARCHES: usize = 24;
    let dir = tempfile::tempdir().unwrap();
    let logger = logger(dir.path()).await;
    store(&logger.process, "first").await;
    fill(dir.path(), ROWS).await;
    let mut searches = JoinSet::new();
    for _ in 0..SEARCHES {
        let url = logger.process.url("/logs?q=nowhere%20to%20be%20found");
        searches.spawn(async move { http::get(&url).await });
    }
    served(ATTACK, async || {
        store(&logger.process, "small").await;
        assert!(logger.process.is_ready().await);
    })
    .await;
    while let Some(search) = searches.join_next().await {
        let answer = search.unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text);
        assert_eq!(answer.json()["events"], json!([]));
    }
    // What was too much for one request is found by those that follow.
    let mut cursor = String::new();
    let found = loop {
        let url = format!("/logs?q=FIRST&limit=1&cursor={cursor}");
        let page = http::get(&logger.process.url(&url)).await.json();
        if let Some(event) = page["events"].as_array().and_then(|events| events.first()) {
            break event.clone();
        }
        cursor = page["next_cursor"].as_str().expect("more").to_owned();
    };
    assert_eq!(found["data"]["data"], "first");
    logger.end().await;
}

/// Events that came long ago, without their way through HTTP.
async fn fill(dir: &Path, rows: usize) {
    sqlx::any::install_default_drivers();
    let url = format!("sqlite:{}/logger.db", dir.display());
    let pool = sqlx::AnyPool::connect(&url).await.unwrap();
    let sql = format!(
        "WITH RECURSIVE numbers(number) AS \
         (SELECT 1 UNION ALL SELECT number + 1 FROM numbers WHERE number < {rows}) \
         INSERT INTO events (id, type, source, received_at, data_text, attributes) \
         SELECT 'event-' || number, 'a.b', '/fill', number, hex(zeroblob(200)), '{{}}' FROM numbers"
    );
    let filled = sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(&pool).await;
    filled.or_panic("rows");
    pool.close().await;
}
