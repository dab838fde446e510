//! What a user reads when something is wrong: the cause, once, and what to do.

use reqwest::header;
use serde_json::json;
use tests::{
    http, process,
    rabbitmq::virtual_host,
    suite::{Options, Suite, listener_alone},
};

/// Node's `fetch` says `text/plain` of a string, `curl -d` that it is a form.
#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_of_json_names_the_content_type_that_was_sent() {
    let suite = Suite::start_with(&virtual_host().await.url, Options::default()).await;
    suite.ready().await;
    let log = json!({"action": "log", "log": {"name": "event", "data": 1}}).to_string();
    let entry = json!({"name": "event", "data": 1}).to_string();
    let login = json!({"email": "a@example.com", "password": "password"}).to_string();
    for (url, body) in [
        (suite.broker.url("/handle"), &log),
        (suite.auth.url("/authenticate"), &login),
        (suite.logger.url("/log"), &entry),
        (suite.logger.url("/dead-letters"), &entry),
    ] {
        for sent in [
            "text/plain;charset=UTF-8",
            "application/octet-stream",
            "application/x-www-form-urlencoded",
        ] {
            let request = http::client().post(&url).header(header::CONTENT_TYPE, sent);
            let answer = http::read(request.body(body.clone()).send().await.unwrap()).await;
            let message = answer.problem(415);
            let named = format!("the Content-Type is {sent}");
            assert!(
                message.contains(&named) && message.contains("send application/json"),
                "{url}: {message}"
            );
        }
    }
    let request = http::client().post(suite.broker.url("/events"));
    let request = request.header(header::CONTENT_TYPE, "text/plain;charset=UTF-8");
    let answer = http::read(request.body(log).send().await.unwrap()).await;
    let message = answer.problem(415);
    assert!(
        message.starts_with("the Content-Type is text/plain;charset=UTF-8: send a CloudEvent as"),
        "{message}"
    );
    suite.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listener_without_rabbitmq_says_it_once_for_all_its_routes() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = free.local_addr().unwrap();
    drop(free);
    let dir = tempfile::tempdir().unwrap();
    let routes = (0..27).map(|number| {
        format!("[[route]]\nname = \"r{number}\"\nbindings = [\"a\"]\ntarget = \"http://localhost:1/\"\n")
    });
    let routes: String = routes.collect();
    let listener = listener_alone(&format!("amqp://{addr}"), dir.path(), &routes).await;
    let said = listener.not_ready().await;
    let answer = http::get(&listener.url("/readyz")).await;
    let detail = answer.json()["detail"].as_str().unwrap().to_owned();
    assert!(detail.contains("27 routes: "), "{said}");
    assert_eq!(detail.matches("27 routes").count(), 1, "{detail}");
    assert!(!detail.contains("r3") && detail.len() < 600, "{detail}");
    listener.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_routes_file_with_one_slip_has_one_mistake() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("routes.toml");
    let route = |number| {
        format!(
            "[[route]]\nname = \"r{number}\"\nbindings = [\"a\"]\ntarget = \"http://localhost:1/\"\n"
        )
    };
    let whole: String = (0..20).map(route).collect();
    for (slip, fixed, line) in [
        ("bindings = [\"a\"\n", "bindings = [\"a\"]\n", 4),
        ("[[route]\n", "[[route]]\n", 1),
        ("name = \"r0\n", "name = \"r0\"\n", 2),
        (
            "retry_ms = { a = 1 }\n[[route]]\nname = \"r1\"",
            "[[route]]\nname = \"r1\"",
            5,
        ),
    ] {
        std::fs::write(&path, whole.replacen(fixed, slip, 1)).unwrap();
        let output = process::run("listener-service", &["check", path.to_str().unwrap()]).await;
        let said = String::from_utf8(output.stderr).unwrap();
        let mistakes = said.lines().filter(|line| line.starts_with("line "));
        assert_eq!(mistakes.count(), 1, "{slip}: {said}");
        assert!(said.contains(&format!("line {line}: ")), "{slip}: {said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_amqp_url_with_a_raw_password_says_what_to_do_and_repeats_nothing() {
    for program in ["broker-service", "listener-service"] {
        for password in ["s3c#ret", "s3c,ret", "s3c/ret"] {
            let url = format!("amqp://app:{password}@localhost/%2F");
            let output = process::run(program, &["--amqp-url", &url]).await;
            assert!(!output.status.success());
            let said = String::from_utf8(output.stderr).unwrap();
            assert!(said.contains("percent-encoded"), "{program}: {said}");
            assert!(
                !said.contains("s3c") && !said.contains("ret@"),
                "{program}: {said}"
            );
        }
    }
}
