//! The HTTP endpoint that a route delivers to.
//!
//! An event goes out in CloudEvents HTTP binary mode: the body as it came, the attributes as
//! `ce-` headers.

use std::{fmt, time::Duration};

use bytes::BytesMut;
use messaging::{Delivery, Event, Failure, Outcome, Reply};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use reqwest::{
    Client, Response,
    header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue},
};
use url::Url;

use crate::{
    answer::{outcome, unreachable},
    http_client::{self, describe},
    retry_after::retry_after,
    signing::{SigningSecret, sign},
};

/// Most bytes of an answer that are read. What a target says beyond is of no use to anybody.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// Number of the attempt, from 1.
const ATTEMPT: HeaderName = HeaderName::from_static("x-gw-attempt");
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// What a header value must not hold as it is (CloudEvents HTTP binding, 3.1.3.2).
const HEADER_VALUE: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'%');

/// Where to deliver, and how long to wait.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TargetConfig {
    pub(crate) url: Url,
    /// For one attempt in all: connecting, sending, and reading the answer.
    pub(crate) timeout: Duration,
    /// Sent with each attempt, a token among them.
    pub(crate) headers: HeaderMap,
    /// Each attempt is signed with all of them.
    pub(crate) signing_secrets: Vec<SigningSecret>,
}

/// Shows the address without user, password and query, any of which may be a secret.
impl fmt::Display for TargetConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let origin = self.url.origin().ascii_serialization();
        write!(f, "{origin}{}", self.url.path())
    }
}

/// A target with its connections, which are kept open between attempts.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    client: Client,
    url: Url,
    timeout: Duration,
    signing_secrets: Vec<SigningSecret>,
}

/// An answer, or why there is none.
type Answered = Result<Response, String>;

impl Target {
    /// # Errors
    /// When there can be no HTTP client.
    pub(crate) fn new(config: &TargetConfig) -> anyhow::Result<Self> {
        Ok(Self {
            client: http_client::client(config.headers.clone(), config.timeout)?,
            url: config.url.clone(),
            timeout: config.timeout,
            signing_secrets: config.signing_secrets.clone(),
        })
    }

    /// One attempt to deliver an event.
    pub(crate) async fn deliver(&self, delivery: &Delivery) -> Outcome {
        match self.post(delivery, self.timeout).await {
            Ok(mut answer) => {
                let wait = retry_after(answer.headers());
                let mut said = BytesMut::new();
                // Its status counts, whatever follows. Read to its end, the answer leaves the
                // connection for the next attempt.
                let _ = http_client::read(&mut answer, &mut said, ANSWER_BYTES_MAX).await;
                outcome(answer.status().as_u16(), wait, &said)
            }
            Err(reason) => unreachable(reason),
        }
    }

    /// One attempt to deliver an event that wants an answer; with the outcome it is not to be
    /// acknowledged by.
    pub(crate) async fn deliver_and_read(&self, delivery: &Delivery) -> Result<Reply, Outcome> {
        let answer = self.post(delivery, self.timeout).await;
        let answer = answer.map_err(unreachable)?;
        let wait = retry_after(answer.headers());
        let status = answer.status().as_u16();
        match (read(answer).await, outcome(status, wait, b"")) {
            (Ok(reply), Outcome::Delivered) => Ok(reply),
            (Ok(reply), _) => Err(outcome(status, wait, &reply.body)),
            (Err(reason), Outcome::Delivered) => {
                let failure = Failure {
                    reason,
                    status: Some(status),
                    answer: None,
                };
                Err(Outcome::Retry(failure, None))
            }
            (Err(_), other) => Err(other),
        }
    }

    /// One attempt to have a request answered. The error is a reason to log.
    pub(crate) async fn ask(&self, request: &Delivery, timeout: Duration) -> Result<Reply, String> {
        read(self.post(request, timeout.min(self.timeout)).await?).await
    }

    async fn post(&self, delivery: &Delivery, timeout: Duration) -> Answered {
        let event = &delivery.event;
        let mut headers = headers(event);
        if let Some(id) = headers.get(IDEMPOTENCY_KEY).cloned() {
            sign(&self.signing_secrets, &id, &event.data, &mut headers);
        }
        let request = self
            .client
            .post(self.url.clone())
            .timeout(timeout)
            .headers(headers)
            .header(ATTEMPT, delivery.attempt)
            .body(event.data.clone());
        request.send().await.map_err(describe).map_err(told)
    }
}

/// The whole of an answer.
async fn read(mut answer: Response) -> Result<Reply, String> {
    let status = answer.status().as_u16();
    let content_type = answer.headers().get(CONTENT_TYPE);
    let content_type = content_type.and_then(|value| value.to_str().ok());
    let content_type = content_type.map(str::to_owned);
    let mut body = BytesMut::new();
    let read = http_client::read(&mut answer, &mut body, ANSWER_BYTES_MAX).await;
    read.map_err(told)?;
    Ok(Reply {
        status,
        content_type,
        body: body.freeze(),
    })
}

fn headers(event: &Event) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let mut insert = |name: &str, value: &str| {
        let encoded = utf8_percent_encode(value, HEADER_VALUE).to_string();
        // An attribute whose name is no header name cannot travel in this mode.
        if let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), HeaderValue::try_from(encoded))
        {
            headers.insert(name, value);
        }
    };
    for (name, value) in &event.extensions {
        insert(&format!("ce-{name}"), value);
    }
    insert("ce-specversion", "1.0");
    insert("ce-id", &event.id);
    insert("ce-type", &event.event_type);
    insert("ce-source", &event.source);
    if let Some(subject) = &event.subject {
        insert("ce-subject", subject);
    }
    if let Some(time) = &event.time {
        insert("ce-time", time);
    }
    insert(IDEMPOTENCY_KEY.as_str(), &event.id);
    if let Some(traceparent) = event.extensions.get("traceparent") {
        insert("traceparent", traceparent);
    }
    let content_type = event
        .content_type
        .as_deref()
        .unwrap_or("application/octet-stream");
    if let Ok(content_type) = HeaderValue::try_from(content_type) {
        headers.insert(CONTENT_TYPE, content_type);
    }
    headers
}

fn told(reason: String) -> String {
    format!("the target {reason}")
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn attributes_travel_as_encoded_headers() {
        let mut event = Event::new(
            &"order.placed".parse().unwrap(),
            "/shop",
            "application/json",
            Bytes::from_static(b"{}"),
        );
        event.subject = Some("Größe 50% \"x\"\n".to_owned());
        event
            .extensions
            .insert("tenant".to_owned(), "blue".to_owned());
        event
            .extensions
            .insert("bad name".to_owned(), "x".to_owned());
        let headers = headers(&event);
        assert_eq!(headers["ce-id"], event.id);
        assert_eq!(headers["idempotency-key"], event.id);
        assert_eq!(headers["ce-type"], "order.placed");
        assert_eq!(headers["ce-source"], "/shop");
        assert_eq!(headers["ce-tenant"], "blue");
        assert_eq!(headers["content-type"], "application/json");
        assert_eq!(
            headers["ce-subject"],
            "Gr%C3%B6%C3%9Fe%2050%25%20%22x%22%0A"
        );
        assert!(headers.keys().all(|name| !name.as_str().contains("bad")));
    }
}
