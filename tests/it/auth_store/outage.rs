//! PostgreSQL away at the start, there, away again, back.

use std::time::Duration;

use reqwest::{StatusCode, header};
use tests::eventually;
use tests::postgres::Server;

use super::server::{Auth, Site};

#[tokio::test]
async fn the_service_waits_for_its_database_and_survives_its_absence() {
    let server = Server::start().await;
    let site = Site::new(&server.create_database().await);
    server.stop().await;
    let auth = site.launch().await;
    refusal(&auth, "cannot connect").await;
    assert!(!site.config.admin_password_file.exists());

    server.start_again().await;
    auth.ready().await;
    let password = site.admin_password();
    auth.token("admin@example.com", &password).await;

    server.stop().await;
    refusal(&auth, "database").await;

    server.start_again().await;
    auth.ready().await;
    auth.token("admin@example.com", &password).await;
    auth.stop().await;
}

/// Waits until the service says why it is not ready, and checks that it lives and refuses its work
/// in good order.
async fn refusal(auth: &Auth, reason: &str) {
    eventually(reason, Duration::from_secs(20), async || {
        let answer = auth.get("/readyz").await;
        (answer.status != StatusCode::OK && answer.text.contains(reason)).then_some(())
    })
    .await;
    assert_eq!(auth.get("/healthz").await.status, StatusCode::OK);
    let login = auth.login("admin@example.com", "not the password").await;
    login.problem(503);
    assert!(login.headers.contains_key(header::RETRY_AFTER));
}
