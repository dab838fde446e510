//! Every refusal is a problem document and leaves the connection fit for the next request.

use std::fs;

use budget::Budget;
use service_kit::memory::Memory;
use service_kit::readiness::Readiness;
use service_kit::server::{self, HttpConfig};
use tokio_util::sync::CancellationToken;

use crate::harness::Server;

const LIMIT: usize = 64 * 1024;

async fn small() -> Server {
    let config = HttpConfig {
        max_body_bytes: LIMIT,
        ..HttpConfig::default()
    };
    Server::start(config).await
}

fn post(length: usize) -> String {
    format!("POST /length HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n")
}

#[tokio::test]
async fn a_body_of_exactly_the_limit_is_accepted() {
    let server = small().await;
    let answer = server.send(&(post(LIMIT) + &"x".repeat(LIMIT))).await;
    assert_eq!(answer.text(), LIMIT.to_string());
}

#[tokio::test]
async fn a_body_declared_too_large_is_refused_before_it_is_sent() {
    let server = small().await;
    server.send(&post(LIMIT + 1)).await.assert_problem(413);
    server.send(&post(usize::MAX / 2)).await.assert_problem(413);
}

#[tokio::test]
async fn a_chunked_body_is_refused_when_it_passes_the_limit() {
    let server = small().await;
    let mut client = server.connect().await;
    client
        .write("POST /length HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n")
        .await;
    let chunk = format!("8000\r\n{}\r\n", "x".repeat(0x8000));
    for _ in 0..3 {
        client.write(&chunk).await;
    }
    client.answer().await.assert_problem(413);
}

#[tokio::test]
async fn a_client_that_writes_before_it_reads_gets_the_answer_and_may_go_on() {
    let server = small().await;
    let mut client = server.connect().await;
    let large = 4 * 1024 * 1024;
    client.write(post(large) + &"x".repeat(large)).await;
    client.answer().await.assert_problem(413);
    client.write(post(3) + "abc").await;
    assert_eq!(client.answer().await.text(), "3");
}

/// What a client of HTTP/1.1 may rely on: without `Connection: close` it may send its next request.
#[tokio::test]
async fn a_refusal_that_ends_the_connection_says_so() {
    let config = HttpConfig {
        max_body_bytes: LIMIT,
        read_timeout: std::time::Duration::from_millis(300),
        ..HttpConfig::default()
    };
    let server = Server::start(config).await;
    let head = |path: &str, headers: &str| {
        format!("POST {path} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n")
    };
    let large = LIMIT + 1;
    let many: String = (0..150).map(|n| format!("x-{n}: y\r\n")).collect();
    let chunked = "Transfer-Encoding: chunked\r\n";
    let chunk = format!("{:x}\r\n{}\r\n", large, "x".repeat(large));
    for (what, request, status) in [
        ("far too large", post(usize::MAX / 2), 413),
        (
            "nothing sent",
            head(
                "/length",
                &format!("Content-Length: {large}\r\nExpect: 100-continue\r\n"),
            ),
            413,
        ),
        ("no end in sight", head("/length", chunked) + &chunk, 413),
        ("late", post(10) + "12345", 408),
        (
            "late and chunked",
            head("/length", chunked) + "5\r\n12345\r\n",
            408,
        ),
        (
            "many headers",
            head("/length", &format!("{many}{chunked}")),
            431,
        ),
        (
            "no host",
            format!("POST /length HTTP/1.1\r\n{chunked}\r\n"),
            400,
        ),
        (
            "a foreign host",
            format!("POST /length HTTP/1.1\r\nHost: evil.example\r\n{chunked}\r\n"),
            403,
        ),
    ] {
        let mut client = server.connect().await;
        client.write(&request).await;
        let answer = client.answer().await;
        answer.assert_problem(status);
        assert_eq!(answer.header("connection"), Some("close"), "{what}");
        client.closed().await;
    }
    // These go on.
    for (what, request, status) in [
        ("too large", post(large) + &"x".repeat(large), 413),
        (
            "many headers",
            head("/length", &format!("{many}Content-Length: 3\r\n")) + "abc",
            431,
        ),
        (
            "no such endpoint",
            head("/nowhere", "Content-Length: 3\r\n") + "abc",
            404,
        ),
        ("no body", head("/length", "Host: localhost\r\n"), 400),
    ] {
        let mut client = server.connect().await;
        client.write(&request).await;
        let answer = client.answer().await;
        answer.assert_problem(status);
        assert_eq!(answer.header("connection"), None, "{what}");
        client.write(post(3) + "abc").await;
        assert_eq!(client.answer().await.text(), "3", "{what}");
    }
}

/// The HTTP library answers these before there is a request: a status and the end of the connection,
/// without a document.
#[tokio::test]
async fn what_is_no_http_has_a_status_and_no_document() {
    let server = small().await;
    for (garbage, status) in [
        ("GET\r\n\r\n", "400"),
        ("GET / HTTP/9.9\r\n\r\n", "400"),
        ("GET / HTTP/1.1\r\nno colon\r\n\r\n", "400"),
        ("GET / HTTP/1.1\r\nbad name: x\r\n\r\n", "400"),
        (
            "GET / HTTP/1.1\r\nHost: localhost\r\nx: a\0b\r\n\r\n",
            "400",
        ),
        ("GET /\r\n\r\n", "400"),
        (
            "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: x\r\n\r\n",
            "400",
        ),
        ("\x16\x03\x01\x02\r\n\r\n", "400"),
    ] {
        let mut client = server.connect().await;
        client.write(garbage).await;
        let said = String::from_utf8(client.closed().await).unwrap();
        let status = format!("HTTP/1.1 {status} ");
        assert!(said.starts_with(&status), "{garbage:?}: {said:?}");
        let ends = said.contains("connection: close\r\n") && said.ends_with("\r\n\r\n");
        assert!(ends, "{garbage:?}: {said:?}");
    }
    assert_eq!(server.get("/items/1").await.status(), 200);
}

#[tokio::test]
async fn long_uris_and_many_headers() {
    let server = small().await;
    let long_path = format!("/{}", "x".repeat(8 * 1024));
    server.get(&long_path).await.assert_problem(414);

    let many: String = (0..150).map(|n| format!("x-{n}: y\r\n")).collect();
    let large = format!("x-large: {}\r\n", "y".repeat(17 * 1024));
    for headers in [many, large] {
        let request = format!("GET /items/1 HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n");
        server.send(&request).await.assert_problem(431);
    }
    // Beyond what hyper reads there is no document, but still the status.
    let huge = format!("x-huge: {}\r\n", "y".repeat(200 * 1024));
    let request = format!("GET /items/1 HTTP/1.1\r\nHost: localhost\r\n{huge}\r\n");
    assert_eq!(server.send(&request).await.status(), 431);
}

#[tokio::test]
async fn unknown_routes_and_methods() {
    let server = small().await;
    server.get("/nowhere").await.assert_problem(404);
    let answer = server.get("/length").await;
    answer.assert_problem(405);
    assert_eq!(answer.header("allow"), Some("POST"));
    let answer = server
        .send("DELETE /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .await;
    answer.assert_problem(405);
    assert_eq!(answer.header("allow"), Some("GET,HEAD"));
}

#[tokio::test]
async fn a_panic_is_a_500_and_the_connection_goes_on() {
    let server = small().await;
    let mut client = server.connect().await;
    client
        .write("GET /panic HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .await;
    client.answer().await.assert_problem(500);
    client
        .write("GET /items/1 HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .await;
    assert_eq!(client.answer().await.status(), 200);
}

#[tokio::test]
async fn web_pages_of_other_origins() {
    let config = HttpConfig {
        allowed_origins: vec!["https://console.example.com".to_owned()],
        ..HttpConfig::default()
    };
    let server = Server::start(config).await;
    let from = |host: &str, origin: &str| {
        format!("GET /items/1 HTTP/1.1\r\nHost: {host}\r\nOrigin: {origin}\r\n\r\n")
    };
    let addr = server.addr.to_string();
    server
        .send(&from(&addr, "http://evil.example"))
        .await
        .assert_problem(403);
    server
        .send(&from("evil.example", "http://evil.example"))
        .await
        .assert_problem(403);
    let own = server.send(&from(&addr, &format!("http://{addr}"))).await;
    assert_eq!(own.status(), 200);

    let origin = "https://console.example.com";
    let allowed = server.send(&from(&addr, origin)).await;
    assert_eq!(allowed.status(), 200);
    assert_eq!(allowed.header("access-control-allow-origin"), Some(origin));
    // A refusal is one that the page may read as well.
    let refused = server
        .send(&from(&addr, origin).replace("/items/1", "/nowhere"))
        .await;
    refused.assert_problem(404);
    for answer in [&allowed, &refused] {
        let exposed = answer.header("access-control-expose-headers").unwrap();
        for name in [
            "retry-after",
            "idempotency-replayed",
            "allow",
            "www-authenticate",
        ] {
            assert!(
                exposed.split(',').any(|one| one.trim() == name),
                "{exposed}"
            );
        }
    }
    let preflight = format!(
        "OPTIONS /length HTTP/1.1\r\nHost: {addr}\r\nOrigin: {origin}\r\n\
         Access-Control-Request-Method: POST\r\n\
         Access-Control-Request-Headers: content-type\r\n\r\n"
    );
    let answer = server.send(&preflight).await;
    assert_eq!(answer.status(), 200);
    assert_eq!(
        answer.header("access-control-allow-headers"),
        Some("content-type")
    );
}

#[tokio::test]
async fn without_the_token_only_health_answers() {
    let dir = tempfile::tempdir().unwrap();
    let token = dir.path().join("token");
    fs::write(&token, "0123456789abcdef\n").unwrap();
    let config = HttpConfig {
        api_token_file: Some(token),
        ..HttpConfig::default()
    };
    let server = Server::start(config).await;
    for path in ["/items/1", "/metrics", "/nowhere", "/healthz/"] {
        let answer = server.get(path).await;
        answer.assert_problem(401);
        assert_eq!(answer.header("www-authenticate"), Some("Bearer"), "{path}");
    }
    for path in ["/healthz", "/readyz"] {
        assert_eq!(server.get(path).await.status(), 200);
    }
    let request = "GET /items/1 HTTP/1.1\r\nHost: localhost\r\n\
                   Authorization: Bearer 0123456789abcdef\r\n\r\n";
    assert_eq!(server.send(request).await.status(), 200);
}

#[tokio::test]
async fn an_exposed_service_refuses_to_start_undecided() {
    let listener = server::bind("0.0.0.0:0".parse().unwrap()).await.unwrap();
    let shutdown = CancellationToken::new();
    let error = server::serve(
        "test-service",
        listener,
        axum::Router::new(),
        &HttpConfig::default(),
        Memory::new(Budget::of_process()),
        Readiness::new(shutdown.clone()),
        shutdown,
    )
    .await
    .unwrap_err();
    assert!(error.to_string().contains("API_TOKEN_FILE"), "{error}");
}
