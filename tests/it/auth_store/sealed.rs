//! `/authenticate/sealed`, from the requester's side.

use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

use reqwest::StatusCode;
use sealing::{PublicKey, ReplyOpener, SealedAnswer, SealedRequest, seal_request};
use secrecy::SecretString;
use serde_json::{Value, json};

use super::server::{Auth, Site};

const EMAIL: &str = "admin@example.com";

fn in_seconds(seconds: i64) -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    now.as_millis() as i64 + seconds * 1000
}

/// Asks without a key, as a requester does that has just started.
async fn key(auth: &Auth) -> PublicKey {
    let question = SealedRequest::for_key("r-0".to_owned(), in_seconds(5));
    let answer = auth.post("/authenticate/sealed", &json!(question)).await;
    challenge(&answer)
}

fn challenge(answer: &tests::http::Answer) -> PublicKey {
    answer.problem(409);
    let problem = answer.json();
    assert_eq!(problem["type"], "urn:problem:unknown-sealing-key");
    serde_json::from_value(problem["sealing_key"].clone()).unwrap()
}

fn seal(key: &PublicKey, password: &str) -> (Value, ReplyOpener) {
    let password = SecretString::from(password);
    let (request, opener) =
        seal_request(key, "r-1".to_owned(), in_seconds(5), EMAIL, &password).unwrap();
    (json!(request), opener)
}

pub async fn a_requester_learns_the_key_and_reads_the_answer(site: Site) {
    let auth = site.start().await;
    let (request, opener) = seal(&key(&auth).await, &site.admin_password());
    let answer = auth.post("/authenticate/sealed", &request).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    assert!(
        !answer.text.contains("token") && !answer.text.contains(EMAIL),
        "{}",
        answer.text
    );
    let answer: SealedAnswer = serde_json::from_str(&answer.text).unwrap();
    let session: Value = serde_json::from_slice(&opener.open(&answer).unwrap()).unwrap();
    assert_eq!(session["user"]["email"], EMAIL);
    // The token is one that counts.
    let user = json!({"email": "ann@example.com", "password": "twelve chars"});
    let created = auth
        .create_user(session["token"].as_str().unwrap(), &user)
        .await;
    assert_eq!(created.status, StatusCode::CREATED, "{}", created.text);
    auth.stop().await;
}

pub async fn a_wrong_password_is_told_in_clear(site: Site) {
    let auth = site.start().await;
    let (request, _) = seal(&key(&auth).await, "not the password");
    let sealed = auth.post("/authenticate/sealed", &request).await;
    sealed.problem(401);
    let plain = auth.login(EMAIL, "not the password").await;
    assert_eq!(sealed.text, plain.text);
    auth.stop().await;
}

pub async fn a_replaced_key_is_a_challenge_again(site: Site) {
    let auth = site.start().await;
    let old = key(&auth).await;
    auth.stop().await;
    fs::remove_file(&site.config.key_file).unwrap();
    let auth = site.start().await;
    let password = site.admin_password();
    let (request, _) = seal(&old, &password);
    let new = challenge(&auth.post("/authenticate/sealed", &request).await);
    assert_ne!(new, old);
    let (request, _) = seal(&new, &password);
    assert_eq!(
        auth.post("/authenticate/sealed", &request).await.status,
        StatusCode::OK
    );
    auth.stop().await;
}

pub async fn an_expired_or_altered_request_is_refused(site: Site) {
    let auth = site.start().await;
    let key = key(&auth).await;
    let password = SecretString::from(site.admin_password());
    let (expired, _) =
        seal_request(&key, "r-1".to_owned(), in_seconds(-1), EMAIL, &password).unwrap();
    auth.post("/authenticate/sealed", &json!(expired))
        .await
        .problem(410);

    let (request, _) = seal(&key, &site.admin_password());
    // Somebody gives a request more time, or another name.
    for (member, value) in [
        ("expires_at_ms", json!(in_seconds(60))),
        ("request_id", json!("r-2")),
    ] {
        let mut altered = request.clone();
        altered[member] = value;
        auth.post("/authenticate/sealed", &altered)
            .await
            .problem(400);
    }
    let mut altered = request.clone();
    altered["sealed"]["ciphertext"] = json!("AAAA");
    auth.post("/authenticate/sealed", &altered)
        .await
        .problem(400);
    altered["sealed"]["ciphertext"] = json!("not base64url!");
    auth.post("/authenticate/sealed", &altered)
        .await
        .problem(400);
    assert_eq!(
        auth.post("/authenticate/sealed", &request).await.status,
        StatusCode::OK
    );
    auth.stop().await;
}

pub async fn a_replayed_request_is_useless_to_the_replayer(site: Site) {
    let auth = site.start().await;
    let key = key(&auth).await;
    let (recorded, _) = seal(&key, &site.admin_password());
    // The replayer has all that passed through RabbitMQ, and keys of its own.
    let (_, own) = seal(&key, "a guess");
    let answer = auth.post("/authenticate/sealed", &recorded).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    let answer: SealedAnswer = serde_json::from_str(&answer.text).unwrap();
    assert!(own.open(&answer).is_err());
    auth.stop().await;
}
