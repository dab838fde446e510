//! The HTTP endpoint that a route delivers to.
//!
//! An event goes out in CloudEvents HTTP binary mode: the body as it came, the attributes as
//! `ce-` headers.

use std::{
    fmt,
    sync::{Arc, OnceLock},
    time::Duration,
};

use anyhow::Context as _;
use bytes::BytesMut;
use event::Event;
use messaging::{Delivery, Failure, Outcome, Reply};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use reqwest::{
    Client, ClientBuilder, Method, Request, Response,
    header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue},
    retry,
};
use tokio::time::Instant;
use tracing::debug;
use url::Url;

use crate::{
    answer::{no_answer, outcome},
    connecting::{Connecting, Watch},
    http_client,
    retry_after::retry_after,
    signing::{SigningSecret, sign},
    unanswered::{Fault, Unanswered},
};

/// Most bytes of an answer that are read. What a target says beyond is of no use to anybody.
const ANSWER_BYTES_MAX: usize = 64 * 1024;
/// Most headers of an answer in HTTP/1.1, and their bytes in HTTP/2. A target that was given an
/// event and has more to say than fits has taken it all the same, and would get it again.
const HEADERS_MAX: usize = 2048;
const HEADERS_BYTES_MAX: u32 = 400 * 1024;

/// Number of the attempt, from 1.
const ATTEMPT: HeaderName = HeaderName::from_static("x-gw-attempt");
const CE_ID: HeaderName = HeaderName::from_static("ce-id");
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
    /// HTTP/2 without negotiation, for a target without TLS.
    pub(crate) http2: bool,
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
    /// Makes a connection for each request. Few targets ever need it, so it is made on demand.
    fresh: Arc<OnceLock<Client>>,
    config: Arc<TargetConfig>,
    url: Url,
    /// User and password of the URL, as a header.
    authorization: HeaderMap,
}

/// An answer, or why there is none.
type Answered = Result<Response, Unanswered>;

impl Target {
    /// # Errors
    /// When there can be no HTTP client.
    pub(crate) fn new(config: &TargetConfig) -> anyhow::Result<Self> {
        let client = builder(config).build().context(http_client::NO_CLIENT)?;
        let empty = client.post(config.url.clone()).build()?;
        Ok(Self {
            client,
            url: empty.url().clone(),
            authorization: empty.headers().clone(),
            fresh: Arc::default(),
            config: Arc::new(config.clone()),
        })
    }

    /// One attempt to deliver an event.
    pub(crate) async fn deliver(&self, delivery: &Delivery) -> Outcome {
        match self.post(delivery, None).await {
            Ok(mut answer) => {
                let wait = retry_after(answer.headers());
                let mut said = BytesMut::new();
                // Its status counts, whatever follows. Read to its end, the answer leaves the
                // connection for the next attempt.
                let _ = http_client::read(&mut answer, &mut said, ANSWER_BYTES_MAX).await;
                outcome(answer.status().as_u16(), wait, &said)
            }
            Err(unanswered) => no_answer(unanswered),
        }
    }

    /// One attempt to deliver an event that wants an answer; with the outcome it is not to be
    /// acknowledged by.
    pub(crate) async fn deliver_and_read(&self, delivery: &Delivery) -> Result<Reply, Outcome> {
        let answer = self.post(delivery, None).await;
        let answer = answer.map_err(no_answer)?;
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
        let answer = self.post(request, Some(timeout)).await;
        read(answer.map_err(|unanswered| unanswered.reason)?).await
    }

    /// Within the time of the target, and the one that is left.
    ///
    /// A target may close a connection that it keeps open at the moment in which a request is sent
    /// on it. Such a request goes again, once, on a connection of its own, as one and the same attempt.
    async fn post(&self, delivery: &Delivery, left: Option<Duration>) -> Answered {
        let timeout = left.map_or(self.config.timeout, |left| left.min(self.config.timeout));
        let end = Instant::now() + timeout;
        match send(&self.client, self.request(delivery, timeout)).await {
            Err(unanswered) if unanswered.fault == Fault::Stale => {
                debug!(delivery.event.id, reason = unanswered.reason, "sent again");
                let left = end.saturating_duration_since(Instant::now());
                send(self.fresh(), self.request(delivery, left)).await
            }
            answered => answered,
        }
    }

    fn fresh(&self) -> &Client {
        self.fresh.get_or_init(|| {
            let client = builder(&self.config).pool_max_idle_per_host(0).build();
            client.unwrap_or_else(|_| self.client.clone())
        })
    }

    fn request(&self, delivery: &Delivery, timeout: Duration) -> Request {
        let event = &delivery.event;
        let mut headers = headers(event);
        if let Some(id) = headers.get(IDEMPOTENCY_KEY).cloned() {
            sign(&self.config.signing_secrets, &id, &event.data, &mut headers);
        }
        headers.insert(ATTEMPT, delivery.attempt.into());
        headers.extend(self.authorization.clone());
        let mut request = Request::new(Method::POST, self.url.clone());
        *request.headers_mut() = headers;
        *request.timeout_mut() = Some(timeout);
        *request.body_mut() = Some(event.data.clone().into());
        request
    }
}

fn builder(config: &TargetConfig) -> ClientBuilder {
    let client = http_client::builder(config.headers.clone(), config.timeout)
        .http1_max_headers(HEADERS_MAX)
        .http1_ignore_invalid_headers_in_responses(true)
        .http1_allow_spaces_after_header_name_in_responses(true)
        .http1_allow_obsolete_multiline_headers_in_responses(true)
        .http2_max_header_list_size(HEADERS_BYTES_MAX)
        .connector_layer(Watch);
    if config.http2 {
        client.http2_prior_knowledge()
    } else if config.url.scheme() == "http" {
        // HTTP/1.1 has no refusal that says that nothing was done, and to be ready for one
        // takes a copy of each request.
        client.retry(retry::never())
    } else {
        client
    }
}

async fn send(client: &Client, request: Request) -> Answered {
    let connecting = Connecting::default();
    let answer = connecting.of(client.execute(request)).await;
    answer.map_err(|error| Unanswered::read(error, &connecting))
}

/// The whole of an answer.
async fn read(mut answer: Response) -> Result<Reply, String> {
    let status = answer.status().as_u16();
    let content_type = answer.headers().get(CONTENT_TYPE);
    let content_type = content_type.and_then(|value| value.to_str().ok());
    let content_type = content_type.map(str::to_owned);
    let mut body = BytesMut::new();
    let read = http_client::read(&mut answer, &mut body, ANSWER_BYTES_MAX).await;
    read.map_err(|reason| format!("the target {reason}"))?;
    Ok(Reply {
        status,
        content_type,
        body: body.freeze(),
    })
}

fn headers(event: &Event) -> HeaderMap {
    let mut values = Values::of(event);
    // First, so that none takes the place of what follows: names of headers know no case.
    for (name, value) in &event.extensions {
        // An attribute whose name is no header name cannot travel in this mode.
        if let Ok(name) = HeaderName::try_from(format!("ce-{name}")) {
            values.add(name, value);
        }
    }
    values.add(HeaderName::from_static("ce-specversion"), "1.0");
    values.add(CE_ID, &event.id);
    values.add(HeaderName::from_static("ce-type"), &event.event_type);
    values.add(HeaderName::from_static("ce-source"), &event.source);
    if let Some(subject) = &event.subject {
        values.add(HeaderName::from_static("ce-subject"), subject);
    }
    if let Some(time) = &event.time {
        values.add(HeaderName::from_static("ce-time"), time);
    }
    if let Some(traceparent) = event.extensions.get("traceparent") {
        values.add(HeaderName::from_static("traceparent"), traceparent);
    }
    let mut headers = values.into_map();
    if let Some(id) = headers.get(CE_ID).cloned() {
        headers.insert(IDEMPOTENCY_KEY, id);
    }
    let content_type = match event.content_type.as_deref() {
        Some(content_type) => HeaderValue::from_str(content_type),
        None => Ok(HeaderValue::from_static("application/octet-stream")),
    };
    if let Ok(content_type) = content_type {
        headers.insert(CONTENT_TYPE, content_type);
    }
    headers
}

/// Headers in the making. Their values lie in one buffer: reqwest copies the headers of a request
/// more than once, and to copy a part of a buffer takes no memory.
struct Values {
    buffer: BytesMut,
    /// With the end of its value.
    names: Vec<(HeaderName, usize)>,
}

impl Values {
    /// With room for those of `event` that need no encoding.
    fn of(event: &Event) -> Self {
        let optional = [&event.subject, &event.time];
        let extensions = event.extensions.values().map(|value| 2 * value.len());
        let bytes = [&event.id, &event.event_type, &event.source]
            .into_iter()
            .chain(optional.into_iter().flatten())
            .map(String::len)
            .chain(extensions)
            .sum::<usize>();
        Self {
            buffer: BytesMut::with_capacity(bytes + 16),
            names: Vec::with_capacity(8 + event.extensions.len()),
        }
    }

    fn add(&mut self, name: HeaderName, value: &str) {
        for part in utf8_percent_encode(value, HEADER_VALUE) {
            self.buffer.extend_from_slice(part.as_bytes());
        }
        self.names.push((name, self.buffer.len()));
    }

    fn into_map(self) -> HeaderMap {
        // Room for those that are added later as well.
        let mut headers = HeaderMap::with_capacity(self.names.len() + 8);
        let mut buffer = self.buffer.freeze();
        let mut begin = 0;
        for (name, end) in self.names {
            let value = buffer.split_to(end - begin);
            begin = end;
            if let Ok(value) = HeaderValue::from_maybe_shared(value) {
                headers.insert(name, value);
            }
        }
        headers
    }
}

#[cfg(test)]
mod raw;

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
        for name in ["bad name", "ID"] {
            event.extensions.insert(name.to_owned(), "x".to_owned());
        }
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

    #[test]
    fn user_and_password_of_the_url_are_a_header() {
        let target = Target::new(&TargetConfig {
            url: "http://user:p%40ss@127.0.0.1/".parse().unwrap(),
            timeout: Duration::from_secs(1),
            headers: HeaderMap::new(),
            signing_secrets: Vec::new(),
            http2: false,
        });
        let target = target.unwrap();
        assert_eq!(target.url.as_str(), "http://127.0.0.1/");
        assert_eq!(target.authorization["authorization"], "Basic dXNlcjpwQHNz");
    }
}
