//! What the broker refuses, and that refusing publishes nothing.

use std::time::Duration;

use reqwest::{Method, header};
use serde_json::json;
use tests::{
    http,
    rabbitmq::virtual_host,
    suite::{Options, Suite},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_is_told_and_not_published() {
    let options = Options {
        max_body_bytes: 100_000,
        ..Options::default()
    };
    let suite = Suite::start_with(&virtual_host().await.url, options).await;
    suite.ready().await;
    let url = suite.broker.url("/handle");
    let entry =
        |data: &str| format!(r#"{{"action":"log","log":{{"name":"refused","data":{data}}}}}"#);

    let deep = entry(&format!("{}1{}", "[".repeat(129), "]".repeat(129)));
    let deeper = entry(&format!("{}1{}", "[".repeat(40_000), "]".repeat(40_000)));
    let mut cases: Vec<(&str, Vec<u8>)> = [
        ("empty", ""),
        ("truncated", r#"{"action":"log","log":{"name":"refused""#),
        ("a byte order mark", "\u{feff}{}"),
        (
            "NaN",
            r#"{"action":"log","log":{"name":"refused","data":NaN}}"#,
        ),
        (
            "two values",
            r#"{"action":"log","log":{"name":"refused","data":1}} {}"#,
        ),
        ("no object", "[]"),
        ("no action", r#"{"log":{"name":"refused","data":1}}"#),
        (
            "an unknown action",
            r#"{"action":"mail","log":{"name":"refused","data":1}}"#,
        ),
        (
            "an unknown member of the entry",
            r#"{"action":"log","log":{"name":"refused","data":1,"x":1}}"#,
        ),
        (
            "an unknown member of the credentials",
            r#"{"action":"auth","auth":{"email":"a","password":"b","x":1}}"#,
        ),
        (
            "another action's member twice",
            r#"{"action":"log","log":{"name":"refused","data":1},"mail":1,"mail":1}"#,
        ),
        (
            "the same member twice",
            r#"{"action":"log","action":"log","log":{"name":"refused","data":1}}"#,
        ),
        ("no entry", r#"{"action":"log"}"#),
        (
            "another action's member",
            r#"{"action":"auth","log":{"name":"refused","data":1}}"#,
        ),
        (
            "another action's member that is no JSON",
            r#"{"action":"log","log":{"name":"refused","data":1},"auth":{]}"#,
        ),
        ("no name", r#"{"action":"log","log":{"data":1}}"#),
        ("no data", r#"{"action":"log","log":{"name":"refused"}}"#),
        (
            "a name that is no text",
            r#"{"action":"log","log":{"name":1,"data":1}}"#,
        ),
        (
            "U+0000 in the name",
            r#"{"action":"log","log":{"name":"refused\u0000","data":1}}"#,
        ),
        (
            "a level of two words",
            r##"{"action":"log","log":{"name":"refused","data":1,"level":"a.#"}}"##,
        ),
        (
            "no password",
            r#"{"action":"auth","auth":{"email":"a@example.com"}}"#,
        ),
    ]
    .map(|(what, body)| (what, body.as_bytes().to_vec()))
    .into();
    cases.push(("nested too deep", deep.into_bytes()));
    cases.push(("nested far too deep", deeper.into_bytes()));
    cases.push((
        "invalid UTF-8",
        entry("\"?\"").replace('?', "x").into_bytes(),
    ));
    cases
        .last_mut()
        .unwrap()
        .1
        .iter_mut()
        .filter(|byte| **byte == b'x')
        .for_each(|byte| *byte = 0xff);

    for (what, body) in cases {
        let answer = http::send(Method::POST, &url, body).await;
        assert_eq!(answer.status, 400, "{what}: {}", answer.text);
        let message = answer.problem(400);
        assert!(
            !message.is_empty() && !message.contains("refused"),
            "{what}: {message}"
        );
    }
    assert!(suite.events_of_type("log.INFO").await.is_empty());

    // The service is as fit as before, and an event that is fine goes through.
    let answer = suite.log(json!({"name": "fine", "data": 1})).await;
    suite
        .logged(answer.json()["data"]["id"].as_str().unwrap())
        .await;
    assert_eq!(suite.events_of_type("log.INFO").await.len(), 1);
    suite.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_size_and_method_are_checked() {
    let options = Options {
        max_body_bytes: 100_000,
        ..Options::default()
    };
    let suite = Suite::start_with(&virtual_host().await.url, options).await;
    suite.ready().await;
    let url = suite.broker.url("/handle");
    let good = json!({"action": "log", "log": {"name": "event", "data": 1}}).to_string();
    let post = |name: header::HeaderName, value: &str| {
        let request = http::client()
            .post(&url)
            .header(name, value)
            .body(good.clone());
        async { http::read(request.send().await.unwrap()).await }
    };

    // curl -d without a header says that it is a form, and the answer says what to do instead.
    let form = post(header::CONTENT_TYPE, "application/x-www-form-urlencoded").await;
    assert!(form.problem(415).contains("--json"));
    post(header::CONTENT_TYPE, "text/plain").await.problem(415);
    let none = http::client()
        .post(&url)
        .body(good.clone())
        .send()
        .await
        .unwrap();
    http::read(none).await.problem(415);
    let packed = http::client()
        .post(&url)
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::CONTENT_ENCODING, "gzip")
        .body(good.clone());
    http::read(packed.send().await.unwrap()).await.problem(415);
    let web_page = http::client()
        .post(&url)
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::ORIGIN, "https://evil.example")
        .body(good.clone());
    http::read(web_page.send().await.unwrap())
        .await
        .problem(403);

    let answer = http::get(&url).await;
    answer.problem(405);
    assert_eq!(answer.headers[header::ALLOW], "POST");
    http::get(&suite.broker.url("/nowhere")).await.problem(404);

    let entry =
        |bytes: usize| json!({"action": "log", "log": {"name": "big", "data": "x".repeat(bytes)}});
    http::post(&url, &entry(100_000)).await.problem(413);
    assert_eq!(http::post(&url, &entry(64 * 1024)).await.status, 202);
    suite.stop().await;
}

/// A client that announces too much, or goes on without an end, is refused before it has sent it.
#[tokio::test(flavor = "multi_thread")]
async fn a_body_over_the_limit_is_not_read_to_its_end() {
    let options = Options {
        max_body_bytes: 100_000,
        ..Options::default()
    };
    let suite = Suite::start_with(&virtual_host().await.url, options).await;
    let head = "POST /handle HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n";
    let announced = format!("{head}Content-Length: 10000000000\r\n\r\n{{");
    let chunk = format!("10000\r\n{}\r\n", " ".repeat(0x10000));
    let endless = format!("{head}Transfer-Encoding: chunked\r\n\r\n{chunk}{chunk}");
    for request in [announced, endless] {
        let mut stream = TcpStream::connect(suite.broker.addr).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = [0; 12];
        let read = stream.read_exact(&mut answer);
        tokio::time::timeout(Duration::from_secs(5), read)
            .await
            .unwrap()
            .unwrap();
        assert_eq!(&answer, b"HTTP/1.1 413");
    }
    suite.stop().await;
}
