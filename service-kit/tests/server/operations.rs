//! Health, metrics, the container health check, and HTTP/2.

use std::time::Duration;

use http_body_util::{BodyExt, Empty};
use hyper::Request;
use hyper::body::Bytes;
use hyper_util::rt::{TokioExecutor, TokioIo};
use service_kit::healthcheck;
use service_kit::server::HttpConfig;
use tokio::net::TcpStream;

use crate::harness::Server;

#[tokio::test]
async fn metrics_count_by_route_template() {
    let server = Server::start(HttpConfig::default()).await;
    for id in 1..=3 {
        server.get(&format!("/items/{id}")).await;
    }
    server.get("/secret-path").await;
    let answer = server.get("/metrics").await;
    let text = answer.text();
    // Other tests of this process count into the same recorder, so the number is not compared.
    let series = r#"http_requests_total{method="GET",route="/items/{id}",status="200"}"#;
    assert!(text.contains(series), "{text}");
    assert!(
        text.contains(r#"http_request_duration_seconds_bucket{method="GET","#),
        "{text}"
    );
    assert!(!text.contains("secret-path"));
}

#[tokio::test]
async fn the_healthcheck_follows_readiness() {
    let config = HttpConfig {
        drain_grace: Duration::from_secs(1),
        ..HttpConfig::default()
    };
    let server = Server::start(config).await;
    healthcheck::run(server.addr).await.unwrap();
    server.shutdown.cancel();
    let error = healthcheck::run(server.addr).await.unwrap_err();
    assert!(error.to_string().contains("not ready"), "{error}");
    let addr = server.addr;
    server.stopped().await;
    assert!(healthcheck::run(addr).await.is_err());
}

#[tokio::test]
async fn http2_clients_are_served_and_guarded() {
    let server = Server::start(HttpConfig::default()).await;
    let stream = TokioIo::new(TcpStream::connect(server.addr).await.unwrap());
    let (mut client, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), stream)
            .await
            .unwrap();
    tokio::spawn(connection);
    for (host, status) in [("localhost", 200), ("evil.example", 403)] {
        let uri = format!("http://{host}/items/1");
        let request = Request::get(uri).body(Empty::<Bytes>::new()).unwrap();
        let response = client.send_request(request).await.unwrap();
        assert_eq!(response.status(), status);
        response.into_body().collect().await.unwrap();
    }
}
