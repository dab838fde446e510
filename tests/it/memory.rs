//! Services in a memory cgroup, and others that want to have all of their memory.
//!
//! `make test` has a part of the memory that docker-compose.yml gives, and as large a part of the
//! attackers. `MEMORY_TEST_MIB=512` has all of them.

mod batches;
mod clients;
mod dead_letters;
mod deliveries;
mod heads;

use std::{
    env,
    net::SocketAddr,
    path::Path,
    time::{Duration, Instant},
};

use axum::http::StatusCode;
use bytes::Bytes;
use serde_json::json;
use tests::{
    OrPanic as _,
    cgroup::Cgroup,
    http::{self, Answer},
    process::Process,
    rabbitmq::VirtualHost,
    suite::{Service, listener_alone},
    target::Target,
};
use tokio::{
    io::AsyncWriteExt as _,
    net::TcpStream,
    task::JoinSet,
    time::{MissedTickBehavior, interval, sleep},
};

const MIB: usize = 1024 * 1024;
/// A variable of the services.
const BUDGET: &str = "MEMORY_BUDGET_BYTES";
/// Between two requests of it.
const PACE: Duration = Duration::from_millis(20);
/// Between two attempts of an attacker, also where it is refused at once.
const AGAIN: Duration = Duration::from_millis(50);
/// How long an attacker keeps a connection after it was answered.
const HELD: Duration = Duration::from_secs(2);
/// Each attack goes on for so long.
const ATTACK: Duration = Duration::from_secs(5);

/// MiB that a service may use, where all of it is to be tried and nothing else runs.
fn full_size() -> Option<usize> {
    let mib = env::var("MEMORY_TEST_MIB").ok()?;
    Some(mib.parse().or_panic("MEMORY_TEST_MIB"))
}

/// Bytes that a service may use.
fn limit() -> usize {
    full_size().unwrap_or(192) * MIB
}

/// For a client that does nothing wrong: a second, or several beside all other tests.
fn in_time() -> Duration {
    Duration::from_secs(if full_size().is_some() { 1 } else { 5 })
}

/// As large a part of `all` as [`limit`] is of 512 MiB.
fn part_of(all: usize) -> usize {
    all * (limit() / MIB) / 512
}

/// A service with [`limit`].
struct Confined {
    process: Process,
    cgroup: Cgroup,
}

impl Confined {
    async fn start(name: &'static str, dir: &Path, environment: &[(&str, &str)]) -> Self {
        let cgroup = Cgroup::with_limit(limit());
        let process = Process::start_by(&cgroup.wrapper(), name, dir, environment).await;
        process.ready().await;
        let metrics = http::get(&process.url("/metrics")).await.text;
        let budget = environment.iter().find(|(name, _)| *name == BUDGET);
        let budget = budget.map_or(limit() / 6, |(_, bytes)| bytes.parse().unwrap());
        let total = format!("memory_budget_bytes {budget}\n");
        assert!(metrics.contains(&total), "{metrics}");
        Self { process, cgroup }
    }

    /// Asserts that it lives, and that the kernel never had to look for memory in it.
    async fn end(mut self) {
        let peak = self.process.peak_memory();
        eprintln!("{} MiB at most, of {}", peak / MIB, limit() / MIB);
        assert!(peak < limit(), "{peak} bytes");
        assert!(self.process.is_ready().await);
        self.process.terminate().await;
        assert_eq!(self.cgroup.killed(), 0);
    }
}

/// Clients that each send `request`, read nothing, and begin again when they are thrown out.
fn attack(addr: SocketAddr, attackers: usize, request: &Bytes) -> JoinSet<()> {
    let mut attack = JoinSet::new();
    for _ in 0..attackers {
        let request = request.clone();
        attack.spawn(async move {
            let mut again = interval(AGAIN);
            again.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                again.tick().await;
                if let Ok(mut stream) = TcpStream::connect(addr).await
                    && stream.write_all(&request).await.is_ok()
                {
                    // An answer is seen, and not read.
                    let _ = stream.readable().await;
                    sleep(HELD).await;
                }
            }
        });
    }
    attack
}

/// Sends what an honest client does, again and again, each time within [`in_time`].
async fn served<F: Future<Output = ()>>(during: Duration, mut request: impl FnMut() -> F) {
    let mut pace = interval(PACE);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let begun = Instant::now();
    let mut slowest = Duration::ZERO;
    while begun.elapsed() < during {
        pace.tick().await;
        let sent = Instant::now();
        request().await;
        slowest = slowest.max(sent.elapsed());
        assert!(slowest < in_time(), "{slowest:?}");
    }
    eprintln!("slowest answer: {slowest:?}");
}

/// A listener without a limit, whose one route takes every event.
async fn any_listener(virtual_host: &VirtualHost, dir: &Path) -> (Service, Target) {
    let target = Target::answering(StatusCode::OK).await;
    let routes = format!(
        "[[route]]\nname = \"one\"\nbindings = [\"#\"]\ntarget = \"http://{}/\"\n",
        target.addr
    );
    let listener = listener_alone(&virtual_host.url, dir, &routes).await;
    listener.ready().await;
    (listener, target)
}

/// What an honest client of the broker sends.
async fn post_log(broker: &Process) -> Answer {
    let body = json!({"action": "log", "log": {"name": "event", "data": 1}});
    http::post(&broker.url("/handle"), &body).await
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
