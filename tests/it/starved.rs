//! Services that are short of what a process needs: file descriptors, a reader of their log.

use std::{fs::File, path::Path, time::Duration};

use axum::http::StatusCode;
use serde_json::json;
use tests::{
    OrPanic as _, http,
    process::Process,
    rabbitmq::{VirtualHost, virtual_host},
    suite::{Service, listener_alone},
    target::Target,
};
use tokio::net::TcpStream;

async fn listener(virtual_host: &VirtualHost, dir: &Path, target: &Target) -> Service {
    let routes = format!(
        "[[route]]\nname = \"one\"\nbindings = [\"#\"]\ntarget = \"http://{}/\"\n",
        target.addr
    );
    let listener = listener_alone(&virtual_host.url, dir, &routes).await;
    listener.ready().await;
    listener
}

async fn post(broker: &Process) {
    let body = json!({"action": "log", "log": {"name": "event", "data": 1}});
    let answer = http::post(&broker.url("/handle"), &body).await;
    assert_eq!(answer.status, 202, "{}", answer.text);
}

async fn connect(broker: &Process, connections: usize) -> Vec<TcpStream> {
    let mut idle = Vec::new();
    for _ in 0..connections {
        idle.push(TcpStream::connect(broker.addr).await.unwrap());
    }
    idle
}

/// Processor time that a process has used, in clock ticks of 10 ms.
fn ticks(process: &Process) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", process.pid())).or_panic("/proc");
    // The name, in brackets, may hold spaces. Of the fields after it utime is the twelfth.
    let fields = stat.rsplit(')').next().unwrap_or_default();
    let times = fields.split_whitespace().skip(11).take(2);
    times.map(|ticks| ticks.parse::<u64>().unwrap()).sum()
}

fn descriptors(process: &Process) -> String {
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", process.pid()));
    let limits = limits.or_panic("/proc");
    let line = limits
        .lines()
        .find(|line| line.starts_with("Max open files"));
    line.unwrap().split_whitespace().nth(3).unwrap().to_owned()
}

/// Each idle connection would have its place for twenty seconds, and there are places for 32.
#[tokio::test(flavor = "multi_thread")]
async fn with_few_descriptors_idle_connections_keep_nobody_out() {
    let virtual_host = virtual_host().await;
    let dir = tempfile::tempdir().unwrap();
    let target = Target::answering(StatusCode::OK).await;
    let listener = listener(&virtual_host, dir.path(), &target).await;
    let environment = [("AMQP_URL", virtual_host.url.as_str())];
    let few = ["prlimit", "--nofile=64:64"];
    let mut broker = Process::start_by(&few, "broker-service", dir.path(), &environment).await;
    broker.ready().await;
    assert_eq!(descriptors(&broker), "64");

    let _idle = connect(&broker, 300).await;
    for _ in 0..10 {
        post(&broker).await;
    }
    let _more = connect(&broker, 300).await;
    let before = ticks(&broker);
    tokio::time::sleep(Duration::from_secs(2)).await;
    let used = ticks(&broker) - before;
    assert!(
        used < 100,
        "{used} of 200 ticks: does the accept loop spin?"
    );
    post(&broker).await;
    assert!(broker.is_ready().await);
    // A thread of its own writes the log: all of it is there when the process has ended.
    broker.terminate().await;
    assert!(broker.log().contains("raise it (ulimit -n)"));

    // Where the hard limit allows it, the service helps itself.
    let soft = ["prlimit", "--nofile=64:4096"];
    let mut broker = Process::start_by(&soft, "broker-service", dir.path(), &environment).await;
    broker.ready().await;
    assert_eq!(descriptors(&broker), "1280");
    broker.terminate().await;
    assert!(!broker.log().contains("ulimit"));
    listener.stop().await;
}

/// A collector of logs that has stopped reading stops no request.
#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_nobody_reads_holds_up_no_request() {
    const EVENTS: usize = 500;
    let virtual_host = virtual_host().await;
    let dir = tempfile::tempdir().unwrap();
    let target = Target::answering(StatusCode::OK).await;
    let listener = listener(&virtual_host, dir.path(), &target).await;
    let pipe = dir.path().join("pipe");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status();
    assert!(made.or_panic("mkfifo").success());
    // Held open for reading, and never read.
    let open = File::options().read(true).write(true).open(&pipe);
    let _reader = open.or_panic("the pipe");
    let blocked = ["sh", "-c", r#"exec "$@" >"$0""#, pipe.to_str().unwrap()];
    let environment = [
        ("AMQP_URL", virtual_host.url.as_str()),
        // More than the 64 KiB that a pipe holds.
        ("RUST_LOG", "trace"),
    ];
    let mut broker = Process::start_by(&blocked, "broker-service", dir.path(), &environment).await;
    broker.ready().await;
    for _ in 0..EVENTS {
        post(&broker).await;
    }
    target.wait_for(EVENTS).await;
    assert!(broker.is_ready().await);
    let status = broker.terminate().await;
    assert!(status.success(), "{status}");
    listener.stop().await;
}
