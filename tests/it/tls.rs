//! AMQP over TLS: what comes through it, and what is refused.

use std::{path::Path, time::Duration};

use axum::http::StatusCode;
use tests::{
    eventually,
    hostile::{Hostile, KINDS},
    http,
    process::Process,
    rabbitmq::{VirtualHost, virtual_host},
    raw::Raw,
    target::Target,
    tls::{Authority, TlsProxy},
};

const PATIENCE: Duration = Duration::from_secs(20);
const HOST: &str = "127.0.0.1";
const YEAR: i32 = 2095;

/// A listener that trusts `authority`, where `tls` stands before RabbitMQ.
async fn listener(
    dir: &Path,
    virtual_host: &VirtualHost,
    tls: std::net::SocketAddr,
    authority: &Authority,
    target: &Target,
) -> Process {
    let (routes, trusted) = (dir.join("routes.toml"), dir.join("authority.pem"));
    let route = format!(
        "[[route]]\nname = \"one\"\nbindings = [\"one.#\"]\ntarget = \"http://{}/\"\n",
        target.addr
    );
    std::fs::write(&routes, route).unwrap();
    std::fs::write(&trusted, &authority.pem).unwrap();
    let url = virtual_host.url_through(tls).replace("amqp://", "amqps://");
    let environment = [
        ("AMQP_URL", url.as_str()),
        ("ROUTES_FILE", routes.to_str().unwrap()),
        ("SSL_CERT_FILE", trusted.to_str().unwrap()),
    ];
    Process::start("listener-service", dir, &environment).await
}

/// Of every size, and those that lapin cannot parse as well: they are cleaned once they are decrypted.
#[tokio::test(flavor = "multi_thread")]
async fn messages_of_every_kind_come_through_tls() {
    let virtual_host = virtual_host().await;
    let authority = Authority::new("ours");
    let tls = TlsProxy::start(virtual_host.server(), authority.server(HOST, YEAR)).await;
    let target = Target::answering(StatusCode::OK).await;
    let dir = tempfile::tempdir().unwrap();
    let listener = listener(dir.path(), &virtual_host, tls.addr, &authority, &target).await;
    listener.ready().await;
    let mut raw = Raw::connect(&virtual_host.url).await;
    let body = vec![b'x'; 900_000];
    for number in 0..KINDS {
        let Hostile { properties, .. } = Hostile::new(number);
        let body = if number % 3 == 0 { &body[..] } else { b"{}" };
        let exchange = "events.topic.exchange";
        raw.publish(exchange, b"one.caf\xe9", &properties, body)
            .await;
    }
    raw.confirmed().await;
    let received = target.wait_for(KINDS).await;
    let bytes: usize = received.iter().map(|event| event.body.len()).sum();
    assert_eq!(bytes, KINDS / 3 * body.len() + (KINDS - KINDS / 3) * 2);
}

/// Without a fallback, and /readyz says why.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_not_the_one_that_is_meant_is_refused() {
    let virtual_host = virtual_host().await;
    let (ours, theirs) = (Authority::new("ours"), Authority::new("theirs"));
    let target = Target::answering(StatusCode::OK).await;
    for (what, server, words) in [
        ("unknown", Some(theirs.server(HOST, YEAR)), "UnknownIssuer"),
        (
            "other name",
            Some(ours.server("rabbit", YEAR)),
            "not valid for name",
        ),
        ("expired", Some(ours.server(HOST, 2020)), "expired"),
        (
            "no certificate",
            Some(ours.exclusive_server(HOST, YEAR)),
            "CertificateRequired",
        ),
        ("no TLS", None, "corrupt"),
    ] {
        let tls = match server {
            Some(config) => Some(TlsProxy::start(virtual_host.server(), config).await),
            None => None,
        };
        let addr = tls.as_ref().map_or(virtual_host.server(), |tls| tls.addr);
        let dir = tempfile::tempdir().unwrap();
        let listener = listener(dir.path(), &virtual_host, addr, &ours, &target).await;
        let url = listener.url("/readyz");
        eventually(what, PATIENCE, || async {
            let answer = http::client().get(&url).send().await.ok()?;
            let status = answer.status();
            let text = answer.text().await.ok()?;
            assert_ne!(status, 200, "{what}");
            text.contains(words).then_some(())
        })
        .await;
        assert!(
            virtual_host.management.connections().await.is_empty(),
            "{what}"
        );
    }
}
