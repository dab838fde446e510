//! The CloudEvents SDK for Python on both sides.

use std::{collections::BTreeSet, process::Stdio, time::Duration};

use tests::{
    gateway::route,
    python,
    rabbitmq::virtual_host,
    suite::{Options, broker, listener_alone},
};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    time::timeout,
};

const DEADLINE: Duration = Duration::from_secs(30);

/// What the SDK sends in each mode, it reads at the target as it was: each attribute and the data.
#[tokio::test(flavor = "multi_thread")]
async fn what_the_sdk_sends_it_reads_again() {
    let mut target = python::command("cloudevents_target.py").await;
    let mut target = target.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(target.stdout.take().unwrap()).lines();
    let mut line = async || {
        let line = timeout(DEADLINE, lines.next_line()).await;
        line.expect("the target prints in time").unwrap().unwrap()
    };
    let routes = route(&line().await);

    let virtual_host = virtual_host().await;
    let dir = tempfile::tempdir().unwrap();
    let listener = listener_alone(&virtual_host.url, dir.path(), &routes).await;
    listener.ready().await;
    let broker = broker(&virtual_host.url, &Options::default()).await;
    broker.ready().await;

    let sent = python::run("cloudevents_send.py", &[&broker.url("/events")]).await;
    let sent: BTreeSet<_> = sent.lines().map(str::to_owned).collect();
    assert_eq!(sent.len(), 12);
    let mut got = BTreeSet::new();
    while got.len() < sent.len() {
        got.insert(line().await);
    }
    assert_eq!(got, sent);
    broker.stop().await;
    listener.stop().await;
}
