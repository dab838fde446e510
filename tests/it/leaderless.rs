//! A quorum queue without a leader, as RabbitMQ 3.10 may leave one after its node was killed: it is
//! declared as ever, and neither delivers nor confirms. Here the process of the queue stands still.

use std::time::Duration;

use axum::http::StatusCode;
use tests::{
    eventually, http,
    rabbitmq::{Node, VirtualHost},
    suite::{Options, broker, listener_alone},
    target::Target,
};

/// Erlang's name for the process of a queue is made of both names.
async fn queue_process(node: &Node, virtual_host: &VirtualHost, route: &str, call: &str) {
    let name = &virtual_host.name;
    let process = format!("{name}_events.topic.exchange.queue.{route}");
    let call = format!("sys:{call}(whereis(list_to_atom(\"{process}\"))).");
    node.ctl(&["eval", &call]).await;
}

fn route(name: &str, target: &Target) -> String {
    format!(
        "[[route]]\nname = \"{name}\"\nbindings = [\"{name}\"]\ntarget = \"http://{}/\"\n",
        target.addr
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_without_a_leader_is_named_and_stops_nothing_else() {
    let mut node = Node::start().await;
    let virtual_host = node.virtual_host().await;
    let dir = tempfile::tempdir().unwrap();
    let target = Target::answering(StatusCode::OK).await;
    let routes = route("stuck", &target) + &route("healthy", &target);
    let listener = listener_alone(&virtual_host.url, dir.path(), &routes).await;
    listener.ready().await;
    listener.stop().await;
    let broker = broker(&virtual_host.url, &Options::default()).await;
    broker.ready().await;

    queue_process(&node, &virtual_host, "stuck", "suspend").await;
    let listener = listener_alone(&virtual_host.url, dir.path(), &routes).await;
    let ready = listener.url("/readyz");
    let named = "queue events.topic.exchange.queue.stuck: it has no leader";
    eventually("it is named", Duration::from_secs(60), || async {
        let body = http::get(&ready).await.json();
        let said = body["checks"]["routes"].as_str().unwrap_or_default();
        (said.contains(named) && said.contains("restart")).then_some(())
    })
    .await;
    let post = |name: &'static str| {
        let url = broker.url(&format!("/events/{name}"));
        async move { http::post(&url, &serde_json::json!({"n": 1})).await }
    };
    assert_eq!(post("healthy").await.status, StatusCode::ACCEPTED);
    eventually(
        "the other route delivers",
        Duration::from_secs(20),
        || async { (target.count() == 1).then_some(()) },
    )
    .await;
    // What no queue has confirmed is not accepted.
    post("stuck").await.problem(503);

    queue_process(&node, &virtual_host, "stuck", "resume").await;
    listener.ready().await;
    eventually(
        "a publish is accepted again",
        Duration::from_secs(60),
        || async { (post("stuck").await.status == StatusCode::ACCEPTED).then_some(()) },
    )
    .await;
    eventually("and delivered", Duration::from_secs(20), || async {
        (target.count() >= 2).then_some(())
    })
    .await;
    broker.stop().await;
    listener.stop().await;
    node.stop().await;
}
