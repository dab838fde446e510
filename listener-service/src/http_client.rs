//! HTTP requests of the listener, to targets and to logger-service.

use std::{path::Path, time::Duration};

use anyhow::Context as _;
use bytes::BytesMut;
use reqwest::{
    Client, ClientBuilder, Response,
    header::{AUTHORIZATION, HeaderMap, HeaderValue},
    redirect,
};
use serde::Deserialize;

/// For connecting, within the deadline of the whole request.
const CONNECT_DEADLINE: Duration = Duration::from_secs(3);

/// Ping interval of an HTTP/2 connection with requests in flight (RFC 9113, 6.7).
const PING_INTERVAL: Duration = Duration::from_secs(5);
const PING_DEADLINE: Duration = Duration::from_secs(5);

/// Why a client cannot be created.
pub(crate) const NO_CLIENT: &str = "no HTTP client: is the package ca-certificates installed?";

/// A client that sends `headers`, with a `timeout` from connecting to the end of the answer.
///
/// # Errors
/// When the machine has no trusted certificates.
pub(crate) fn client(headers: HeaderMap, timeout: Duration) -> anyhow::Result<Client> {
    let client = builder(headers, timeout).build();
    client.context(NO_CLIENT)
}

/// The same, as a builder.
pub(crate) fn builder(headers: HeaderMap, timeout: Duration) -> ClientBuilder {
    Client::builder()
        .user_agent(concat!("listener-service/", env!("CARGO_PKG_VERSION")))
        .default_headers(headers)
        .connect_timeout(CONNECT_DEADLINE)
        .timeout(timeout)
        .redirect(redirect::Policy::none())
        .no_proxy() // a service is reached only at its own address
        // One connection carries all requests: if it goes silent, they must not all hang.
        .http2_keep_alive_interval(PING_INTERVAL)
        .http2_keep_alive_timeout(PING_DEADLINE)
}

/// The token in a file, as a header value.
///
/// # Errors
/// When it cannot be read.
pub(crate) fn bearer(path: &Path) -> anyhow::Result<HeaderValue> {
    let file = || format!("bearer token file {}", path.display());
    let token = std::fs::read_to_string(path).with_context(file)?;
    let mut value = HeaderValue::try_from(format!("Bearer {}", token.trim())).with_context(file)?;
    value.set_sensitive(true);
    Ok(value)
}

/// The headers with the token in a file, if there is one.
///
/// # Errors
/// When it cannot be read.
pub(crate) fn authorization(token_file: Option<&Path>) -> anyhow::Result<HeaderMap> {
    let token = token_file.map(bearer).transpose()?;
    Ok(token
        .map(|token| (AUTHORIZATION, token))
        .into_iter()
        .collect())
}

/// Reads an answer into `body`, to its end or to `bytes_max`. Keeps what came before an error.
///
/// # Errors
/// What the server did, as [`describe`] reports it.
pub(crate) async fn read(
    answer: &mut Response,
    body: &mut BytesMut,
    bytes_max: usize,
) -> Result<(), String> {
    while let Some(chunk) = answer.chunk().await.map_err(describe)? {
        let room = bytes_max - body.len();
        body.extend_from_slice(&chunk[..chunk.len().min(room)]);
        if chunk.len() > room {
            return Err(format!("answered with more than {bytes_max} bytes"));
        }
    }
    Ok(())
}

/// The message of a problem document (RFC 9457), which every service here sends with an error.
pub(crate) fn problem(body: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Problem {
        message: String,
    }
    let problem: Problem = serde_json::from_slice(body).ok()?;
    Some(problem.message)
}

/// What the server did, from the innermost cause. Omits the URL, which may contain a secret.
pub(crate) fn describe(error: reqwest::Error) -> String {
    if error.is_timeout() {
        return "did not answer in time".to_owned();
    }
    let error = error.without_url();
    let mut cause: &dyn std::error::Error = &error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    format!("could not be reached: {cause}")
}
