//! Where a route delivers to, and with which secrets.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use serde::Deserialize;
use url::Url;

use super::{Environment, fields::Fields, forward};
use crate::{
    http_client::bearer,
    signing::SigningSecret,
    target::{Mode, TargetConfig},
    template::expand,
};

const TIMEOUT_MAX: Duration = Duration::from_secs(10 * 60);
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);
const SECRETS_MAX: usize = 8;
/// What a delivery says itself.
const OWN_HEADERS: [&str; 9] = [
    "content-type",
    "content-length",
    "content-encoding",
    "transfer-encoding",
    "host",
    "connection",
    "idempotency-key",
    "traceparent",
    "tracestate",
];
const OWN_PREFIXES: [&str; 3] = ["ce-", "webhook-", "x-gw-"];

/// Whether a delivery says this header itself.
pub(super) fn is_own(name: &HeaderName) -> bool {
    let name = name.as_str();
    OWN_HEADERS.contains(&name) || OWN_PREFIXES.iter().any(|own| name.starts_with(own))
}

/// Says what to write, since the usual message repeats what was written: here a secret.
#[derive(Deserialize)]
#[serde(
    untagged,
    expecting = "write a table of texts, such as { X-Team = \"${TEAM}\" }"
)]
enum HeadersEntry {
    Table(BTreeMap<String, String>),
}

/// The same.
#[derive(Deserialize)]
#[serde(
    untagged,
    expecting = "write a list of texts, such as [\"${MAILER_SECRET}\"]"
)]
enum SecretsEntry {
    List(Vec<String>),
}

pub(super) fn read(fields: &mut Fields<'_>, environment: &Environment<'_>) -> Option<TargetConfig> {
    let variable = environment.variable;
    let mut is_own = false;
    let url = fields.required("target", |template: String| {
        let own = ["${LOGGER_URL}", "${AUTH_URL}"];
        is_own = own.iter().any(|url| template.starts_with(url));
        let text = expand(&template, variable)?;
        let url: Url = text
            .parse()
            .map_err(|error| format!("it is not a URL: {error}"))?;
        match url.scheme() {
            "http" | "https" => Ok(url),
            _ => Err("it is not http or https".to_owned()),
        }
    });
    let timeout = fields.optional("timeout_ms", |milliseconds: u64| {
        let timeout = Duration::from_millis(milliseconds);
        if timeout.is_zero() || timeout > TIMEOUT_MAX {
            return Err(format!("it must be 1 to {}", TIMEOUT_MAX.as_millis()));
        }
        Ok(timeout)
    });
    let headers = fields.optional("target_headers", |HeadersEntry::Table(headers)| {
        let headers = headers.into_iter();
        headers
            .map(|(name, value)| header(&name, &value, variable))
            .collect::<Result<HeaderMap, _>>()
    });
    let token = fields.optional("bearer_token_file", |path: PathBuf| {
        bearer(&path).map_err(|error| format!("{error:#}"))
    });
    let secrets = fields.optional("signing_secrets", |SecretsEntry::List(templates)| {
        if templates.is_empty() || templates.len() > SECRETS_MAX {
            return Err(format!("there must be 1 to {SECRETS_MAX} of them"));
        }
        let secrets = templates.iter();
        secrets
            .map(|template| expand(template, variable)?.parse())
            .collect::<Result<Vec<SigningSecret>, String>>()
    });
    let mode = fields.optional("mode", |mode: String| match mode.as_str() {
        "binary" => Ok(Mode::Binary),
        "structured" => Ok(Mode::Structured),
        _ => Err("it must be binary or structured".to_owned()),
    });
    let forward = forward::read(fields).unwrap_or_default();
    let http2 = fields.optional("http2", Ok).unwrap_or(false);
    let mut headers = headers.unwrap_or_default();
    if token.is_some() && headers.contains_key(AUTHORIZATION) {
        fields.mistake("bearer_token_file and target_headers both set Authorization");
    }
    for name in forward.headers() {
        // The producer's value would take the place of the route's.
        if headers.contains_key(name) {
            fields.mistake(format!("forward and target_headers both set {name}"));
        }
    }
    // The suite's own services share one token, so a route to one of them has it without being told.
    let own = environment.own_token_file.filter(|_| is_own);
    let token = match (token, own) {
        (None, Some(path)) if !headers.contains_key(AUTHORIZATION) => match bearer(path) {
            Ok(token) => Some(token),
            Err(error) => {
                fields.mistake(format!("{error:#}"));
                None
            }
        },
        (token, _) => token,
    };
    if let Some(token) = token {
        headers.insert(AUTHORIZATION, token);
    }
    Some(TargetConfig {
        url: url?,
        timeout: timeout.unwrap_or(DEFAULT_TIMEOUT),
        headers,
        signing_secrets: secrets.unwrap_or_default(),
        http2,
        mode: mode.unwrap_or_default(),
        forward,
    })
}

/// A header with a value that may be secret.
fn header(
    name: &str,
    template: &str,
    variable: &dyn Fn(&str) -> Option<String>,
) -> Result<(HeaderName, HeaderValue), String> {
    let parsed: HeaderName = name
        .parse()
        .map_err(|_| format!("\"{name}\" is not a header name"))?;
    if is_own(&parsed) {
        return Err(format!("{name} is set by the listener itself"));
    }
    let mut value = HeaderValue::try_from(expand(template, variable)?)
        .map_err(|_| format!("the value of {name} cannot be sent in a header"))?;
    value.set_sensitive(true);
    Ok((parsed, value))
}
