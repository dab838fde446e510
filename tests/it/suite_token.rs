//! The whole suite under one `API_TOKEN_FILE`.

use reqwest::Method;
use serde_json::json;
use tests::{
    http,
    rabbitmq::virtual_host,
    suite::{ADMIN, Options, Suite},
};

const TOKEN: &str = "the-token-of-the-suite";

async fn call(method: Method, url: &str, body: &str, token: Option<&str>) -> http::Answer {
    let mut request = http::client()
        .request(method, url)
        .header("content-type", "application/json")
        .body(body.to_owned());
    if let Some(token) = token {
        request = request.bearer_auth(token);
    }
    http::read(request.send().await.unwrap()).await
}

/// Events and authentications take their way, and whoever has no token none of it.
#[tokio::test(flavor = "multi_thread")]
async fn with_the_token_everything_works_and_without_it_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("token");
    std::fs::write(&file, TOKEN).unwrap();
    let options = Options {
        api_token_file: Some(file),
        ..Options::default()
    };
    let suite = Suite::start_with(&virtual_host().await.url, options).await;
    suite.ready().await;
    let handle = suite.broker.url("/handle");
    let log = json!({"action": "log", "log": {"name": "event", "data": 1}}).to_string();
    for (service, method, path, body) in [
        (&suite.broker, Method::POST, "/handle", log.as_str()),
        (&suite.broker, Method::GET, "/metrics", ""),
        (&suite.logger, Method::POST, "/log", "{}"),
        (&suite.logger, Method::GET, "/logs", ""),
        (&suite.auth, Method::POST, "/authenticate", "{}"),
        (&suite.auth, Method::POST, "/authenticate/sealed", "{}"),
        (&suite.listener, Method::GET, "/routes", ""),
    ] {
        for token in [None, Some("not-the-token-of-the-suite")] {
            let answer = call(method.clone(), &service.url(path), body, token).await;
            answer.problem(401);
        }
        assert_eq!(http::get(&service.url("/healthz")).await.status, 200);
    }

    let answer = call(Method::POST, &handle, &log, Some(TOKEN)).await;
    assert_eq!(answer.status, 202, "{}", answer.text);
    let id = answer.json()["data"]["id"].as_str().unwrap().to_owned();
    let logs = suite.logger.url("/logs");
    tests::eventually("the event", std::time::Duration::from_secs(20), || async {
        let answer = call(Method::GET, &format!("{logs}/{id}"), "", Some(TOKEN)).await;
        (answer.status == 200).then_some(())
    })
    .await;
    // What was refused was not published: the accepted event is the only one of its type.
    let stored = call(Method::GET, &format!("{logs}?type=log.*"), "", Some(TOKEN)).await;
    assert_eq!(stored.json()["events"].as_array().unwrap().len(), 1);

    let auth = |password: &str| {
        json!({"action": "auth", "auth": {"email": ADMIN, "password": password}}).to_string()
    };
    let right = auth(&suite.admin_password());
    let answer = call(Method::POST, &handle, &right, Some(TOKEN)).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    let answer = call(Method::POST, &handle, &auth("wrong password"), Some(TOKEN)).await;
    assert!(answer.problem(401).contains("password"), "{}", answer.text);
    suite.stop().await;
}
