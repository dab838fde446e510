//! The client's side of HTTP.

use std::{sync::LazyLock, time::Duration};

use reqwest::{Client, ClientBuilder, Method, StatusCode, header};
use serde_json::Value;

use crate::OrPanic as _;

/// An answer, read whole.
#[derive(Debug)]
pub struct Answer {
    /// Status.
    pub status: StatusCode,
    /// Headers.
    pub headers: header::HeaderMap,
    /// The body as it came.
    pub text: String,
}

impl Answer {
    /// The body as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).or_panic(&self.text)
    }

    /// Checks that this is an error as the suite gives them all (RFC 9457 and the two members for
    /// simple clients), and returns its message.
    #[track_caller]
    pub fn problem(&self, status: u16) -> String {
        assert_eq!(self.status, status, "{}", self.text);
        assert_eq!(
            self.headers[header::CONTENT_TYPE],
            "application/problem+json"
        );
        let problem = self.json();
        assert_eq!(problem["error"], true);
        assert_eq!(problem["status"], status);
        assert_eq!(problem["message"], problem["detail"]);
        problem["message"].as_str().unwrap_or_default().to_owned()
    }
}

/// For single requests: a client is made once, since it reads all certificates that the machine
/// trusts. It keeps no connection, which would belong to the runtime of one test.
static SINGLE: LazyLock<Client> = LazyLock::new(|| built(builder().pool_max_idle_per_host(0)));

/// A client that stays on this machine and never waits for ever.
pub fn client() -> Client {
    built(builder())
}

fn builder() -> ClientBuilder {
    Client::builder()
        .timeout(Duration::from_secs(30))
        .no_proxy()
}

#[expect(clippy::expect_used, reason = "a test cannot go on without a client")]
fn built(builder: ClientBuilder) -> Client {
    builder.build().expect("an HTTP client")
}

/// Reads an answer whole.
pub async fn read(answer: reqwest::Response) -> Answer {
    Answer {
        status: answer.status(),
        headers: answer.headers().clone(),
        text: answer.text().await.or_panic("a body"),
    }
}

/// A request with any body, sent as JSON.
pub async fn send(method: Method, url: &str, body: impl Into<reqwest::Body>) -> Answer {
    let request = SINGLE
        .request(method, url)
        .header(header::CONTENT_TYPE, "application/json")
        .body(body);
    read(request.send().await.or_panic(url)).await
}

/// `POST` with JSON.
pub async fn post(url: &str, body: &Value) -> Answer {
    send(Method::POST, url, body.to_string()).await
}

/// `GET`.
pub async fn get(url: &str) -> Answer {
    read(SINGLE.get(url).send().await.or_panic(url)).await
}

/// What a service tells under `url`, its `/metrics`, of a series by its name and labels; nothing
/// where it has not looked it up yet.
pub async fn metric(url: &str, series: &str) -> Option<usize> {
    let metrics = get(url).await.text;
    let mut lines = metrics.lines();
    let value = lines.find_map(|line| line.strip_prefix(series)?.strip_prefix(' '))?;
    Some(value.parse().or_panic(value))
}
