//! `/authenticate`, tokens, and several instances.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use reqwest::{Method, StatusCode, header};
use serde_json::{Value, json};
use tests::http;

use super::server::Site;

pub async fn the_administrator_of_the_first_start_logs_in(site: Site) {
    let auth = site.start().await;
    for name in ["auth.key", "admin-password.txt"] {
        let mode = fs::metadata(site.directory.path().join(name))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    let answer = auth
        .login(" Admin@Example.COM ", &site.admin_password())
        .await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    assert_eq!(answer.headers[header::CACHE_CONTROL], "no-store");
    let body = answer.json();
    assert_eq!(body["error"], false);
    assert_eq!(body["message"], "Authenticated!");
    let user = &body["data"]["user"];
    assert_eq!(user["email"], "admin@example.com");
    assert_eq!(user["admin"], true);
    assert!(
        user["id"].is_string() && user["created_at"].is_string(),
        "{user}"
    );
    assert_eq!(user.as_object().unwrap().len(), 4, "no hash: {user}");
    auth.stop().await;
}

pub async fn a_token_verifies_offline_with_the_published_key(site: Site) {
    let auth = site.start().await;
    let token = auth
        .token("admin@example.com", &site.admin_password())
        .await;
    let keys: JwkSet =
        serde_json::from_value(auth.get("/.well-known/jwks.json").await.json()).unwrap();
    let key_id = decode_header(&token).unwrap().kid.unwrap();
    let key = DecodingKey::from_jwk(keys.find(&key_id).unwrap()).unwrap();
    let claims: Value = decode(&token, &key, &Validation::new(Algorithm::EdDSA))
        .unwrap()
        .claims;
    assert_eq!(claims["iss"], "auth-service");
    assert_eq!(claims["email"], "admin@example.com");
    assert_eq!(
        claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(),
        3600
    );
    auth.stop().await;
}

pub async fn an_unknown_user_and_a_wrong_password_get_the_same_answer(site: Site) {
    let auth = site.start().await;
    let wrong = auth.login("admin@example.com", "not the password").await;
    let unknown = auth.login("nobody@example.com", "not the password").await;
    wrong.problem(401);
    assert_eq!((wrong.status, wrong.text), (unknown.status, unknown.text));
    auth.stop().await;
}

pub async fn bad_requests_are_told_what_is_wrong_and_no_more(site: Site) {
    let auth = site.start().await;
    let url = format!("{}/authenticate", auth.base);
    let long = "p".repeat(1025);
    let cases = [
        (
            json!({"email": "a@b.c", "password": ""}),
            "password is empty",
        ),
        (
            json!({"email": "a@b.c", "password": long}),
            "password is longer",
        ),
        (
            json!({"email": "s3cret", "password": "s3cret"}),
            "email is not",
        ),
        (
            json!({"email": "a@b.c\0", "password": "s3cret"}),
            "email is not",
        ),
        (json!({"email": "a@b.c"}), "missing field `password`"),
        (
            json!({"email": "a@b.c", "password": "s3cret", "x": 1}),
            "unknown field `x`",
        ),
        (
            json!({"email": "a@b.c", "password": ["s3cret"]}),
            "expected",
        ),
    ];
    for (body, reason) in cases {
        let message = http::post(&url, &body).await.problem(400);
        assert!(message.contains(reason), "{message}");
        assert!(!message.contains("s3cret"), "{message}");
    }
    for body in [
        "",
        "{",
        "\u{feff}{}",
        "{\"email\":\"a@b.c\",\"email\":\"a@b.c\"}",
    ] {
        http::send(Method::POST, &url, body).await.problem(400);
    }
    let huge = json!({"email": "a@b.c", "password": "p".repeat(1024 * 1024)});
    http::post(&url, &huge).await.problem(413);
    http::get(&url).await.problem(405);
    auth.get("/users").await.problem(401);
    // The connection and the service are fit for a good client.
    auth.token("admin@example.com", &site.admin_password())
        .await;
    auth.stop().await;
}

pub async fn instances_with_one_key_file_and_one_database_are_one_service(site: Site) {
    // Both start at once, so both find neither key nor administrator.
    let (first, second) = tokio::join!(site.start(), site.start());
    let password = site.admin_password();
    let token = first.token("admin@example.com", &password).await;
    let new = json!({"email": "ann@example.com", "password": "twelve chars"});
    let created = second.create_user(&token, &new).await;
    assert_eq!(created.status, StatusCode::CREATED, "{}", created.text);
    first.token("ann@example.com", "twelve chars").await;
    first.stop().await;
    second.stop().await;

    let again = site.start().await;
    again.token("ann@example.com", "twelve chars").await;
    let listed = again
        .send(Method::GET, "/users", &[("x-user-token", &token)], None)
        .await;
    assert_eq!(listed.json()["data"]["users"].as_array().unwrap().len(), 2);
    again.stop().await;
}

pub async fn a_burst_of_logins_leaves_the_service_responsive(site: Site) {
    let auth = site.start().await;
    let password = site.admin_password();
    let logins = join_all((0..100).map(|_| auth.login("admin@example.com", &password)));
    let health = async {
        let mut slowest = Duration::ZERO;
        for _ in 0..20 {
            let asked = Instant::now();
            assert_eq!(auth.get("/healthz").await.status, StatusCode::OK);
            slowest = slowest.max(asked.elapsed());
        }
        slowest
    };
    let (logins, slowest) = tokio::join!(logins, health);
    // All of it on the async threads would be many seconds.
    assert!(slowest < Duration::from_secs(2), "{slowest:?}");
    assert!(logins.iter().any(|login| login.status == StatusCode::OK));
    for login in logins.iter().filter(|login| login.status != StatusCode::OK) {
        login.problem(503);
        assert!(login.headers.contains_key(header::RETRY_AFTER));
    }
    auth.token("admin@example.com", &password).await;
    auth.stop().await;
}
