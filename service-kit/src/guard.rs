//! Who may call a service: the exposure rule at start, then the token, `Host` and `Origin` of
//! every request.
//!
//! A service on a loopback address is open, so that curl works at once. What must not reach it is
//! a web page in a browser of the same machine: its requests carry an `Origin`, or, after DNS
//! rebinding, a `Host` that is a name of the attacker.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use anyhow::{Context, bail, ensure};
use axum::http::request::Parts;
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Version, header};
use secrecy::{ExposeSecret, SecretString};
use subtle::ConstantTimeEq;
use tower_http::cors::{AllowHeaders, AllowMethods, AllowOrigin, CorsLayer};
use url::Url;

use crate::config::HttpConfig;
use crate::problem::Problem;

/// Routes that a load balancer asks without credentials.
const PUBLIC_PATHS: [&str; 2] = ["/healthz", "/readyz"];
/// What a page may read of an answer beside what every page may (Fetch, "CORS-safelisted response-header
/// name"): when to send again, whether it was answered before, and what the request should have been.
const EXPOSED: [HeaderName; 7] = [
    header::RETRY_AFTER,
    HeaderName::from_static("idempotency-replayed"),
    header::ALLOW,
    header::ACCEPT_ENCODING,
    header::WWW_AUTHENTICATE,
    header::CONTENT_DISPOSITION,
    header::DATE,
];
/// A shorter token could be guessed over the network.
const TOKEN_BYTES_MIN: usize = 16;

/// The rules for one listening address.
#[derive(Debug)]
pub(crate) struct Guard {
    loopback: bool,
    token: Option<SecretString>,
    allowed_origins: Vec<Url>,
}

impl Guard {
    /// Refuses an address that others can reach while nothing says who may call it.
    pub(crate) fn new(addr: SocketAddr, config: &HttpConfig) -> anyhow::Result<Self> {
        let token = config
            .api_token_file
            .as_deref()
            .map(read_token)
            .transpose()?;
        let loopback = addr.ip().to_canonical().is_loopback();
        if !loopback && token.is_none() && !config.allow_anonymous {
            bail!(
                "{addr} can be reached from other machines and no authentication is configured: \
                 set API_TOKEN_FILE to a file with a bearer token, or ALLOW_ANONYMOUS=true if the \
                 network is private, or listen on 127.0.0.1"
            );
        }
        let allowed_origins = config
            .allowed_origins
            .iter()
            // A variable that is set but empty gives one empty origin.
            .filter(|text| !text.is_empty())
            .map(|text| parse_origin(text))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            loopback,
            token,
            allowed_origins,
        })
    }

    /// Lets pages of the allowed origins read the answers. A browser asks before it sends JSON
    /// or a token to another origin.
    pub(crate) fn cors(&self) -> Option<CorsLayer> {
        if self.allowed_origins.is_empty() {
            return None;
        }
        let origins = self
            .allowed_origins
            .iter()
            .map(|url| url.origin().ascii_serialization());
        let origins = origins.filter_map(|origin| HeaderValue::try_from(origin).ok());
        Some(
            CorsLayer::new()
                .allow_origin(AllowOrigin::list(origins))
                .allow_methods(AllowMethods::mirror_request())
                .allow_headers(AllowHeaders::mirror_request())
                .expose_headers(EXPOSED),
        )
    }

    /// 400, 401 or 403 for a request that may not pass.
    pub(crate) fn check(&self, parts: &Parts) -> Result<(), Problem> {
        let host = host(parts)?;
        self.check_host(host.as_ref())?;
        self.check_origin(&parts.headers, host.as_ref())?;
        self.check_token(parts)
    }

    fn check_host(&self, host: Option<&Authority>) -> Result<(), Problem> {
        let Some(host) = host else { return Ok(()) };
        let allowed = !self.loopback
            || is_local(host.host())
            || self.allowed_origins.iter().any(|origin| {
                origin
                    .host_str()
                    .is_some_and(|name| name.eq_ignore_ascii_case(host.host()))
            });
        if allowed {
            return Ok(());
        }
        Err(Problem::forbidden(
            "the Host header names neither an IP address, localhost, nor a host of ALLOWED_ORIGINS",
        ))
    }

    fn check_origin(&self, headers: &HeaderMap, host: Option<&Authority>) -> Result<(), Problem> {
        let Some(origin) = single(headers, &header::ORIGIN)? else {
            return Ok(());
        };
        let allowed = Url::parse(origin).is_ok_and(|url| {
            self.allowed_origins
                .iter()
                .any(|allowed| allowed.origin() == url.origin())
        });
        if allowed || is_own_origin(origin, host) {
            return Ok(());
        }
        Err(Problem::forbidden(
            "cross-origin requests are refused; ALLOWED_ORIGINS lists the origins that may call",
        ))
    }

    fn check_token(&self, parts: &Parts) -> Result<(), Problem> {
        let Some(token) = &self.token else {
            return Ok(());
        };
        if PUBLIC_PATHS.contains(&parts.uri.path()) {
            return Ok(());
        }
        let given = single(&parts.headers, &header::AUTHORIZATION)?
            .and_then(|value| value.split_once(' '))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
            .map(|(_, given)| given.trim());
        let expected = token.expose_secret().as_bytes();
        if given.is_some_and(|given| given.as_bytes().ct_eq(expected).into()) {
            return Ok(());
        }
        Err(Problem::unauthorized("a valid bearer token is required"))
    }
}

fn read_token(path: &Path) -> anyhow::Result<SecretString> {
    let text = fs::read_to_string(path).with_context(|| {
        format!(
            "cannot read the token file {} (API_TOKEN_FILE)",
            path.display()
        )
    })?;
    let token = text.trim();
    ensure!(
        token.len() >= TOKEN_BYTES_MIN && token.bytes().all(|byte| byte.is_ascii_graphic()),
        "the token in {} (API_TOKEN_FILE) must be at least {TOKEN_BYTES_MIN} visible ASCII \
         characters on one line",
        path.display()
    );
    Ok(SecretString::from(token))
}

fn parse_origin(text: &str) -> anyhow::Result<Url> {
    let origin = Url::parse(text.trim())
        .with_context(|| format!("ALLOWED_ORIGINS: {text:?} is not a web origin"))?;
    ensure!(
        origin.origin().is_tuple() && origin.path() == "/" && origin.query().is_none(),
        "ALLOWED_ORIGINS: {text:?} must be scheme://host or scheme://host:port"
    );
    Ok(origin)
}

/// The host a request is for: HTTP/2 has it in the target, HTTP/1.1 requires the header.
fn host(parts: &Parts) -> Result<Option<Authority>, Problem> {
    if let Some(authority) = parts.uri.authority() {
        return Ok(Some(authority.clone()));
    }
    match single(&parts.headers, &header::HOST)? {
        Some(host) => match host.parse() {
            Ok(authority) => Ok(Some(authority)),
            Err(_) => Err(Problem::bad_request("the Host header is malformed")),
        },
        None if parts.version == Version::HTTP_11 => {
            Err(Problem::bad_request("the Host header is missing"))
        }
        None => Ok(None),
    }
}

/// The value of a header that may be given once: with two, each reader could trust another one.
fn single<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>, Problem> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => match value.to_str() {
            Ok(text) => Ok(Some(text)),
            Err(_) => Err(Problem::bad_request(format!(
                "the {name} header is not ASCII"
            ))),
        },
        (Some(_), Some(_)) => Err(Problem::bad_request(format!(
            "the {name} header is given more than once"
        ))),
    }
}

/// Whether a page of this service itself sent the request. Its host must be one that no foreign
/// DNS answer can stand for.
fn is_own_origin(origin: &str, host: Option<&Authority>) -> bool {
    let Some(host) = host else { return false };
    let origin_host = origin
        .strip_prefix("http://")
        .or_else(|| origin.strip_prefix("https://"));
    origin_host.is_some_and(|name| name.eq_ignore_ascii_case(host.as_str()))
        && is_local(host.host())
}

/// An IP literal, `localhost`, or a name below it (RFC 6761 section 6.3 keeps these local).
fn is_local(host: &str) -> bool {
    let literal = host
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    let name = literal.unwrap_or(host);
    let last_label = name.rsplit('.').next().unwrap_or(name);
    name.parse::<IpAddr>().is_ok() || last_label.eq_ignore_ascii_case("localhost")
}

#[cfg(test)]
mod tests {
    use axum::http::Request;

    use super::*;

    const LOOPBACK: &str = "127.0.0.1:8082";

    fn guard(addr: &str, origins: &[&str]) -> anyhow::Result<Guard> {
        let config = HttpConfig {
            allow_anonymous: true,
            allowed_origins: origins.iter().map(|&origin| origin.to_owned()).collect(),
            ..HttpConfig::default()
        };
        Guard::new(addr.parse().unwrap(), &config)
    }

    fn status(guard: &Guard, headers: &[(&str, &str)]) -> u16 {
        let mut request = Request::get("/logs");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (parts, ()) = request.body(()).unwrap().into_parts();
        guard
            .check(&parts)
            .map_or_else(|problem| problem.status().as_u16(), |()| 200)
    }

    #[test]
    fn an_exposed_address_needs_a_decision() {
        let config = HttpConfig::default();
        for addr in [
            "127.0.0.1:0",
            "127.9.9.9:0",
            "[::1]:0",
            "[::ffff:127.0.0.1]:0",
        ] {
            Guard::new(addr.parse().unwrap(), &config).unwrap();
        }
        for addr in ["0.0.0.0:0", "[::]:0", "192.168.1.4:0"] {
            let error = Guard::new(addr.parse().unwrap(), &config)
                .unwrap_err()
                .to_string();
            assert!(error.contains("API_TOKEN_FILE") && error.contains("ALLOW_ANONYMOUS=true"));
            guard(addr, &[]).unwrap();
        }
    }

    #[test]
    fn the_host_of_a_loopback_service_is_local() {
        let guard = guard(LOOPBACK, &["https://console.example.com"]).unwrap();
        for host in [
            "127.0.0.1:8082",
            "[::1]:8082",
            "localhost",
            "LOCALHOST:8082",
            "app.localhost:1",
            "10.1.2.3",
            "console.example.com",
        ] {
            assert_eq!(status(&guard, &[("host", host)]), 200, "{host}");
        }
        for host in [
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "xlocalhost",
        ] {
            assert_eq!(status(&guard, &[("host", host)]), 403, "{host}");
        }
        assert_eq!(status(&guard, &[]), 400);
        assert_eq!(status(&guard, &[("host", "a b")]), 400);
        assert_eq!(
            status(&guard, &[("host", "localhost"), ("host", "localhost")]),
            400
        );
    }

    #[test]
    fn another_origin_is_refused() {
        let guard = guard(LOOPBACK, &["https://console.example.com"]).unwrap();
        let from = |origin| status(&guard, &[("host", LOOPBACK), ("origin", origin)]);
        for origin in ["http://127.0.0.1:8082", "https://console.example.com"] {
            assert_eq!(from(origin), 200, "{origin}");
        }
        for origin in [
            "http://127.0.0.1:8081",
            "http://evil.example",
            "null",
            "http://console.example.com",
            "https://console.example.com:444",
            "https://console.example.com.evil.example",
        ] {
            assert_eq!(from(origin), 403, "{origin}");
        }
    }

    #[test]
    fn a_rebound_name_is_not_an_own_origin() {
        // The page of evil.example, whose name now resolves to this service's address.
        let guard = guard("0.0.0.0:8082", &[]).unwrap();
        let headers = [("host", "evil.example"), ("origin", "http://evil.example")];
        assert_eq!(status(&guard, &headers), 403);
    }

    #[test]
    fn malformed_allowed_origins_stop_the_start() {
        for origin in [
            "console.example.com",
            "https://a.example/path",
            "data:text/plain,x",
            "*",
            " ",
        ] {
            assert!(guard(LOOPBACK, &[origin]).is_err(), "{origin:?}");
        }
    }

    #[test]
    fn a_weak_or_missing_token_file_stops_the_start() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        let config = HttpConfig {
            api_token_file: Some(path.clone()),
            ..HttpConfig::default()
        };
        let start = || Guard::new(LOOPBACK.parse().unwrap(), &config);
        assert!(start().is_err(), "missing");
        for content in [
            "",
            "short",
            "0123456789 0123456789",
            "0123456789\n0123456789",
        ] {
            fs::write(&path, content).unwrap();
            assert!(start().is_err(), "{content:?}");
        }
        fs::write(&path, "0123456789abcdef\n").unwrap();
        let guard = start().unwrap();
        let with = |value| status(&guard, &[("host", LOOPBACK), ("authorization", value)]);
        assert_eq!(with("Bearer 0123456789abcdef"), 200);
        assert_eq!(with("bearer 0123456789abcdef"), 200);
        for wrong in [
            "",
            "0123456789abcdef",
            "Basic 0123456789abcdef",
            "Bearer 0123456789abcdeF",
        ] {
            assert_eq!(with(wrong), 401, "{wrong}");
        }
        assert!(!format!("{guard:?}").contains("0123456789abcdef"));
    }
}
