//! `forward`: parts of a message that go to the target besides the event.

use reqwest::header::HeaderName;
use serde::Deserialize;

use super::{fields::Fields, target::is_own};
use crate::forward::{Forward, Property};

/// Together with the attributes, about as many headers as servers accept.
const HEADERS_MAX: usize = 32;
const NAME_BYTES_MAX: usize = 64;

/// Headers that control transport, identity, permissions, or the parsing of a request: publishers
/// must not set them for the gateway. By prefix, and by full name.
const PREFIXES: [&str; 23] = [
    "content-",
    "proxy-",
    "sec-",
    "access-control-",
    "accept",
    "if-",
    "x-forwarded",
    "x-original-",
    "x-rewrite-",
    "x-http-method",
    "x-method-",
    "x-auth",
    "x-csrf",
    "cf-",
    "x-amz-",
    "x-amzn-",
    "x-goog-",
    "x-ms-client-",
    "x-envoy-",
    "x-b3-",
    "x-ssl-",
    "x-webauth-",
    "x-forward-",
];
const NAMES: [&str; 55] = [
    "age",
    "alt-svc",
    "api-key",
    "apikey",
    "authorization",
    "b3",
    "baggage",
    "cache-control",
    "client-cert",
    "client-cert-chain",
    "client-ip",
    "cookie",
    "cookie2",
    "date",
    "dpop",
    "early-data",
    "expect",
    "forwarded",
    "from",
    "http2-settings",
    "impersonate-user",
    "keep-alive",
    "max-forwards",
    "origin",
    "pragma",
    "range",
    "referer",
    "remote-user",
    "set-cookie",
    "signature",
    "signature-input",
    "te",
    "trailer",
    "transfer-encoding",
    "true-client-ip",
    "upgrade",
    "user-agent",
    "via",
    "warning",
    "www-authenticate",
    "x-access-token",
    "x-api-key",
    "x-client-ip",
    "x-cluster-client-ip",
    "x-consumer-username",
    "x-host",
    "x-hub-signature",
    "x-hub-signature-256",
    "x-jwt-assertion",
    "x-real-ip",
    "x-remote-user",
    "x-user",
    "x-user-token",
    "x-vault-token",
    "x-xsrf-token",
];
/// Headers that belong to RabbitMQ; copies of a message do not have them.
const OF_RABBITMQ: [&str; 3] = ["cc", "bcc", "x-death"];
/// Prefixes of attributes, in any producer's spelling.
const ATTRIBUTES: [&str; 2] = ["cloudevents-", "ce-"];

#[derive(Deserialize)]
#[serde(
    deny_unknown_fields,
    expecting = "write { headers = [\"x-tenant\"], properties = [\"correlation_id\"] }, or one of the two"
)]
struct Entry {
    #[serde(default)]
    headers: Vec<String>,
    #[serde(default)]
    properties: Vec<Property>,
}

pub(super) fn read(fields: &mut Fields<'_>) -> Option<Forward> {
    fields.optional("forward", |entry: Entry| {
        let Entry {
            headers,
            properties,
        } = entry;
        if headers.is_empty() && properties.is_empty() {
            return Err("it names no headers and no properties".to_owned());
        }
        if headers.len() > HEADERS_MAX {
            return Err(format!("at most {HEADERS_MAX} headers are forwarded"));
        }
        let mut forward = Forward::default();
        for property in properties {
            if forward.properties.contains(&property) {
                return Err("a property is named twice".to_owned());
            }
            forward.properties.push(property);
        }
        for name in headers {
            let header = check(&name)?;
            if forward.headers().any(|other| *other == header) {
                return Err(format!(
                    "{name} is named twice: HTTP header names are case-insensitive"
                ));
            }
            forward.headers.push((name, header));
        }
        Ok(forward)
    })
}

fn check(name: &str) -> Result<HeaderName, String> {
    let parsed: HeaderName = name
        .parse()
        .map_err(|_| format!("\"{name}\" is not a header name"))?;
    if name.len() > NAME_BYTES_MAX {
        return Err(format!("{name} has more than {NAME_BYTES_MAX} bytes"));
    }
    // Many servers treat the two as equal.
    let dashed = parsed.as_str().replace('_', "-");
    if ATTRIBUTES.iter().any(|prefix| dashed.starts_with(prefix)) {
        return Err(format!(
            "{name} is an attribute of the event, and a target already gets it as ce-…"
        ));
    }
    if OF_RABBITMQ.contains(&dashed.as_str()) {
        return Err(format!(
            "{name} belongs to RabbitMQ, and copies of a message do not have it"
        ));
    }
    let is_dangerous = NAMES.contains(&dashed.as_str())
        || PREFIXES.iter().any(|prefix| dashed.starts_with(prefix));
    if is_dangerous {
        return Err(format!(
            "a producer cannot set {name}: it controls the transport or the permissions of a \
             request"
        ));
    }
    let is_own = dashed.parse().is_ok_and(|name: HeaderName| is_own(&name));
    if is_own {
        return Err(format!("{name} is set by the listener itself"));
    }
    Ok(parsed)
}
