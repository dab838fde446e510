//! The HTTP endpoint that a route delivers to.
//!
//! An event goes out in CloudEvents HTTP binary mode: the body as it came, the attributes as
//! `ce-` headers. Or, where its route says so, in structured mode: all of it as one JSON object.

mod patient;

use std::{
    fmt,
    sync::{Arc, OnceLock},
    time::Duration,
};

use anyhow::Context as _;
use bytes::{Bytes, BytesMut};
use event::{Event, binary, structured};
use messaging::{Delivery, Failure, Outcome, Reply};
use reqwest::{
    Body, Client, ClientBuilder, Method, Request, Response, StatusCode,
    header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue},
    retry,
};
use tokio::time::Instant;
use tracing::debug;
use url::Url;

use crate::{
    answer::{no_answer, outcome},
    connecting::{Connecting, Watch},
    forward::Forward,
    http_client,
    retry_after::retry_after,
    signing::{SigningSecret, sign},
    target::patient::Patient,
    unanswered::{Fault, Unanswered},
};

/// Most bytes of an answer that are read. What a target says beyond is of no use to anybody.
const ANSWER_BYTES_MAX: usize = 64 * 1024;
/// Most headers of an answer in HTTP/1.1, and their bytes in HTTP/2. A target that was given an
/// event and has more to say than fits has taken it all the same, and would get it again.
const HEADERS_MAX: usize = 2048;
const HEADERS_BYTES_MAX: u32 = 400 * 1024;

/// Longest time for which a request that goes again waits for an early answer.
const PATIENCE_MAX: Duration = Duration::from_secs(1);

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// In UTF-8, which JSON always is: receivers that ask for the charset are many.
const STRUCTURED: &str = "application/cloudevents+json; charset=utf-8";

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
    pub(crate) mode: Mode,
    /// What each attempt says of the message beside its event.
    pub(crate) forward: Forward,
}

/// How an event stands in a request (CloudEvents HTTP binding, 3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Its attributes are headers, the body is the data, byte for byte.
    #[default]
    Binary,
    /// The body is a JSON object with attributes and data.
    Structured,
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

/// What a target answers to a request.
#[derive(Debug)]
pub(crate) enum Answer {
    Whole(Reply),
    /// A status, and after it more than is read, or not all that was to come. The target has done
    /// what it was asked for, so it is not asked again.
    Broken {
        status: u16,
        reason: String,
    },
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
                // It has done its work. Asked again it would do it a second time, and say as much.
                Err(Outcome::Reject(Failure {
                    reason: format!("{reason}, after the status {status}"),
                    status: Some(status),
                    answer: None,
                }))
            }
            (Err(_), other) => Err(other),
        }
    }

    /// One attempt to have a request answered. The error, that no answer came, is a reason to log.
    pub(crate) async fn ask(
        &self,
        request: &Delivery,
        timeout: Duration,
    ) -> Result<Answer, String> {
        let answer = self.post(request, Some(timeout)).await;
        let answer = answer.map_err(|unanswered| unanswered.reason)?;
        let status = answer.status().as_u16();
        Ok(match read(answer).await {
            Ok(reply) => Answer::Whole(reply),
            Err(reason) => Answer::Broken { status, reason },
        })
    }

    /// Within the time of the target, and the one that is left.
    ///
    /// A target may close a connection that it keeps open at the moment in which a request is sent
    /// on it, or close one before it has read the request. Such a request goes again, once, on a
    /// connection of its own, as one and the same attempt.
    async fn post(&self, delivery: &Delivery, left: Option<Duration>) -> Answered {
        let timeout = left.map_or(self.config.timeout, |left| left.min(self.config.timeout));
        let end = Instant::now() + timeout;
        let (mut request, body) = self.request(delivery, timeout);
        *request.body_mut() = Some(body.into());
        match send(&self.client, request).await {
            Err(unanswered) if matches!(unanswered.fault, Fault::Stale | Fault::Unread) => {
                debug!(delivery.event.id, reason = unanswered.reason, "sent again");
                let left = end.saturating_duration_since(Instant::now());
                let (mut request, body) = self.request(delivery, left);
                let patience = PATIENCE_MAX.min(left / 2);
                *request.body_mut() = Some(Body::wrap(Patient::new(body, patience)));
                send(self.fresh(), request).await
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

    /// A request, and the body that it is to have.
    fn request(&self, delivery: &Delivery, timeout: Duration) -> (Request, Bytes) {
        let (mut headers, body) = request(&delivery.event, self.config.mode);
        if let Some(id) = headers.get(IDEMPOTENCY_KEY).cloned() {
            sign(&self.config.signing_secrets, &id, &body, &mut headers);
        }
        self.config.forward.write(delivery, &mut headers);
        headers.insert(binary::ATTEMPT, delivery.attempt.into());
        headers.extend(self.authorization.clone());
        let mut request = Request::new(Method::POST, self.url.clone());
        *request.headers_mut() = headers;
        *request.timeout_mut() = Some(timeout);
        (request, body)
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
    let answer = answer.map_err(|error| Unanswered::read(error, &connecting))?;
    if is_timed_out(&answer) && !connecting.made_for(&answer) {
        return Err(Unanswered {
            reason: "the target answered 408 and closed the connection".to_owned(),
            fault: Fault::Stale,
        });
    }
    Ok(answer)
}

/// Whether a target says that it waited for a request for too long, and closes the connection. On one
/// that was kept open that is no answer to the request which had just been sent (RFC 9110, 15.5.9).
fn is_timed_out(answer: &Response) -> bool {
    let closes = |value: &HeaderValue| {
        let mut options = value.to_str().unwrap_or_default().split(',');
        options.any(|option| option.trim().eq_ignore_ascii_case("close"))
    };
    answer.status() == StatusCode::REQUEST_TIMEOUT
        && answer.headers().get_all(CONNECTION).iter().any(closes)
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

/// Headers and body of an event, with its id for targets that know no CloudEvents.
fn request(event: &Event, mode: Mode) -> (HeaderMap, Bytes) {
    let (mut headers, body) = match mode {
        Mode::Binary => (binary::write(event), event.data.clone()),
        Mode::Structured => {
            let mut headers = binary::write_trace(event);
            let content_type = HeaderValue::from_static(STRUCTURED);
            headers.insert(CONTENT_TYPE, content_type);
            (headers, structured::write(event))
        }
    };
    let id = headers.get(binary::ID).cloned();
    if let Some(id) = id.or_else(|| binary::id(event)) {
        headers.insert(IDEMPOTENCY_KEY, id);
    }
    if body.is_empty() {
        // The client says nothing of an empty body, and a POST should (RFC 9110, 8.6).
        headers.insert(CONTENT_LENGTH, 0.into());
    }
    (headers, body)
}

#[cfg(test)]
mod raw;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_goes_out_in_the_mode_of_its_route() {
        let key = "order.placed".parse().unwrap();
        let mut event = Event::new(&key, "/shop", "application/json", Bytes::from_static(b"{}"));
        event.id = "a b".to_owned();
        let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        event
            .extensions
            .insert("traceparent".to_owned(), parent.to_owned());
        let (headers, body) = request(&event, Mode::Binary);
        assert_eq!(
            (&headers["ce-id"], &body[..]),
            (&headers["idempotency-key"], &b"{}"[..])
        );
        let (headers, body) = request(&event, Mode::Structured);
        assert_eq!(headers["idempotency-key"], "a%20b");
        assert_eq!(headers["traceparent"], parent);
        assert_eq!(headers["content-type"], STRUCTURED);
        assert!(headers.keys().all(|name| !name.as_str().starts_with("ce-")));
        assert_eq!(structured::read(&body, &body).unwrap(), event);
    }

    #[test]
    fn user_and_password_of_the_url_are_a_header() {
        let target = Target::new(&TargetConfig {
            url: "http://user:p%40ss@127.0.0.1/".parse().unwrap(),
            timeout: Duration::from_secs(1),
            headers: HeaderMap::new(),
            signing_secrets: Vec::new(),
            http2: false,
            mode: Mode::Binary,
            forward: Forward::default(),
        });
        let target = target.unwrap();
        assert_eq!(target.url.as_str(), "http://127.0.0.1/");
        assert_eq!(target.authorization["authorization"], "Basic dXNlcjpwQHNz");
    }
}
