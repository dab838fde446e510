//! The file of routes: which queue goes to which target.
//!
//! ```toml
//! [[route]]                      # events of the topic exchange, in a queue of the route's own
//! name = "mailer"                # queue: events.topic.exchange.queue.mailer
//! bindings = ["order.*"]         # `*` is one word, `#` any number of them
//! target = "http://mailer:9000/events"
//! retry_ms = [1000, 30000]       # waits between attempts; after the last, the dead letters
//!
//! [[request]]                    # requests to a service, which the target answers
//! service = "auth-service"       # queue: auth-service.direct.exchange.request.queue
//! key = "authenticate"           # their routing key
//! target = "${AUTH_URL}/authenticate/sealed"
//! ```
//!
//! `${NAME}` in a target is replaced from the environment.

use std::{collections::HashSet, env, path::PathBuf, time::Duration};

use anyhow::{Context as _, ensure};
use serde::Deserialize;
use url::Url;

use crate::{Config, target::TargetConfig};

const DEFAULT_ROUTES: &str = include_str!("default-routes.toml");

const NAME_BYTES_MAX: usize = 100;
const RETRIES_MAX: usize = 20;
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const TIMEOUT_MAX: Duration = Duration::from_secs(10 * 60);
const CONCURRENCY_MAX: u16 = 1024;

/// All routes of a listener, checked.
#[derive(Clone, Debug)]
pub(crate) struct Routes {
    /// Events to targets.
    pub(crate) events: Vec<EventRoute>,
    /// Requests to targets that answer them.
    pub(crate) requests: Vec<RequestRoute>,
}

/// From a queue of events to a target.
#[derive(Clone, Debug)]
pub(crate) struct EventRoute {
    pub(crate) name: String,
    pub(crate) bindings: Vec<String>,
    /// Waits between attempts.
    pub(crate) retries: Vec<Duration>,
    pub(crate) flow: Flow,
    pub(crate) target: TargetConfig,
}

/// From a queue of requests to a target, and its answer back.
#[derive(Clone, Debug)]
pub(crate) struct RequestRoute {
    pub(crate) service: String,
    pub(crate) key: String,
    pub(crate) flow: Flow,
    pub(crate) target: TargetConfig,
}

/// How much of a queue is worked on at a time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Flow {
    pub(crate) prefetch: u16,
    pub(crate) concurrency: u16,
}

impl Routes {
    /// The routes of `ROUTES_FILE`, or the default ones.
    pub(crate) fn load(config: &Config) -> anyhow::Result<Self> {
        let Some(path) = &config.routes_file else {
            let mut routes = Self::parse(DEFAULT_ROUTES, config)?;
            // The suite's own services share one token.
            for target in routes.targets_mut() {
                target.bearer_token_file = config.http.api_token_file.clone();
            }
            return Ok(routes);
        };
        let file = || format!("ROUTES_FILE {}", path.display());
        let text = std::fs::read_to_string(path).with_context(file)?;
        Self::parse(&text, config).with_context(file)
    }

    fn parse(text: &str, config: &Config) -> anyhow::Result<Self> {
        let file: File = toml::from_str(text)?;
        let variable = |name: &str| match name {
            // These two have defaults that the environment does not show.
            "LOGGER_URL" => Some(config.logger_url.to_string()),
            "AUTH_URL" => Some(config.auth_url.to_string()),
            name => env::var(name).ok(),
        };
        let mut names = HashSet::new();
        let mut unique = |name: &str| {
            ensure!(
                names.insert(name.to_owned()),
                "the name is taken by another route"
            );
            Ok(())
        };
        let mut events = Vec::new();
        for entry in file.route {
            let context = format!("route \"{}\"", entry.name);
            unique(&entry.name).context(context.clone())?;
            events.push(entry.check(variable).context(context)?);
        }
        let mut requests = Vec::new();
        for entry in file.request {
            let context = format!("request route of \"{}\"", entry.service);
            unique(&entry.service).context(context.clone())?;
            requests.push(entry.check(variable).context(context)?);
        }
        ensure!(
            !events.is_empty() || !requests.is_empty(),
            "there is no route in it"
        );
        Ok(Self { events, requests })
    }

    fn targets_mut(&mut self) -> impl Iterator<Item = &mut TargetConfig> {
        let events = self.events.iter_mut().map(|route| &mut route.target);
        events.chain(self.requests.iter_mut().map(|route| &mut route.target))
    }
}

/// The file as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    route: Vec<EventEntry>,
    #[serde(default)]
    request: Vec<RequestEntry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EventEntry {
    name: String,
    bindings: Vec<String>,
    target: String,
    bearer_token_file: Option<PathBuf>,
    #[serde(default = "default_timeout_ms")]
    timeout_ms: u64,
    #[serde(default = "default_concurrency")]
    concurrency: u16,
    #[serde(default = "default_prefetch")]
    prefetch: u16,
    #[serde(default = "default_retry_ms")]
    retry_ms: Vec<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RequestEntry {
    service: String,
    key: String,
    target: String,
    bearer_token_file: Option<PathBuf>,
    #[serde(default = "default_timeout_ms")]
    timeout_ms: u64,
    #[serde(default = "default_concurrency")]
    concurrency: u16,
    #[serde(default = "default_prefetch")]
    prefetch: u16,
}

fn default_timeout_ms() -> u64 {
    10_000
}

fn default_concurrency() -> u16 {
    32
}

fn default_prefetch() -> u16 {
    64
}

/// Six attempts within a quarter of an hour.
fn default_retry_ms() -> Vec<u64> {
    vec![1_000, 5_000, 30_000, 120_000, 600_000]
}

impl EventEntry {
    fn check(self, variable: impl Fn(&str) -> Option<String>) -> anyhow::Result<EventRoute> {
        check_name(&self.name)?;
        ensure!(
            !self.bindings.is_empty(),
            "bindings is empty: it would never get an event"
        );
        for pattern in &self.bindings {
            check_pattern(pattern)?;
        }
        ensure!(
            self.retry_ms.len() <= RETRIES_MAX,
            "retry_ms has more than {RETRIES_MAX} waits"
        );
        let retries: Vec<_> = self
            .retry_ms
            .into_iter()
            .map(Duration::from_millis)
            .collect();
        for wait in &retries {
            ensure!(
                !wait.is_zero() && *wait <= DAY,
                "retry_ms has a wait out of 1 ms to one day"
            );
        }
        Ok(EventRoute {
            name: self.name,
            bindings: self.bindings,
            retries,
            flow: Flow::check(self.concurrency, self.prefetch)?,
            target: target(
                &self.target,
                self.timeout_ms,
                self.bearer_token_file,
                variable,
            )?,
        })
    }
}

impl RequestEntry {
    fn check(self, variable: impl Fn(&str) -> Option<String>) -> anyhow::Result<RequestRoute> {
        check_name(&self.service)?;
        check_pattern(&self.key)?;
        Ok(RequestRoute {
            service: self.service,
            key: self.key,
            flow: Flow::check(self.concurrency, self.prefetch)?,
            target: target(
                &self.target,
                self.timeout_ms,
                self.bearer_token_file,
                variable,
            )?,
        })
    }
}

impl Flow {
    fn check(concurrency: u16, prefetch: u16) -> anyhow::Result<Self> {
        ensure!(
            (1..=CONCURRENCY_MAX).contains(&concurrency),
            "concurrency is out of 1 to {CONCURRENCY_MAX}"
        );
        // A prefetch of 0 means "without a limit" to RabbitMQ.
        ensure!(prefetch >= concurrency, "prefetch is less than concurrency");
        Ok(Self {
            prefetch,
            concurrency,
        })
    }
}

fn target(
    template: &str,
    timeout_ms: u64,
    bearer_token_file: Option<PathBuf>,
    variable: impl Fn(&str) -> Option<String>,
) -> anyhow::Result<TargetConfig> {
    let timeout = Duration::from_millis(timeout_ms);
    let in_range = !timeout.is_zero() && timeout <= TIMEOUT_MAX;
    ensure!(
        in_range,
        "timeout_ms is out of 1 to {}",
        TIMEOUT_MAX.as_millis()
    );
    let text = expand(template, variable)?;
    let url: Url = text.parse().with_context(|| format!("target {template}"))?;
    ensure!(
        matches!(url.scheme(), "http" | "https"),
        "target {template} is not http or https"
    );
    Ok(TargetConfig {
        url,
        timeout,
        bearer_token_file,
    })
}

/// Replaces each `${NAME}`. A base URL loses its last slash, so that `${BASE}/path` fits.
fn expand(template: &str, variable: impl Fn(&str) -> Option<String>) -> anyhow::Result<String> {
    let mut text = String::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once("${") {
        let (name, after) = after
            .split_once('}')
            .context("target has a ${ without its }")?;
        let value = variable(name)
            .with_context(|| format!("target names ${{{name}}}, which is not set"))?;
        text.push_str(before);
        text.push_str(value.strip_suffix('/').unwrap_or(&value));
        rest = after;
    }
    text.push_str(rest);
    Ok(text)
}

fn check_name(name: &str) -> anyhow::Result<()> {
    let characters = name
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte));
    ensure!(
        characters && !name.is_empty() && name.len() <= NAME_BYTES_MAX,
        "the name must have 1 to {NAME_BYTES_MAX} of the characters A-Z, a-z, 0-9, _ and -"
    );
    Ok(())
}

/// A topic pattern: words as in a routing key, or `*`, or `#`.
fn check_pattern(pattern: &str) -> anyhow::Result<()> {
    let fits = pattern.len() <= messaging::RoutingKey::MAX_BYTES;
    let words = pattern
        .split('.')
        .all(|word| matches!(word, "*" | "#") || word.parse::<messaging::RoutingKey>().is_ok());
    ensure!(
        fits && words,
        "\"{pattern}\" is no pattern such as order.*, or #"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> Config {
        Config {
            amqp_url: "amqp://localhost".parse().unwrap(),
            routes_file: None,
            logger_url: "http://logger:8082".parse().unwrap(),
            auth_url: "http://auth:8081".parse().unwrap(),
            http: service_kit::server::HttpConfig::default(),
        }
    }

    fn refused(text: &str) -> String {
        format!("{:#}", Routes::parse(text, &config()).unwrap_err())
    }

    #[test]
    fn the_default_routes_are_the_logger_and_the_authentications() {
        let mut config = config();
        config.http.api_token_file = Some("/token".into());
        let routes = Routes::load(&config).unwrap();
        let [logger] = routes.events.as_slice() else {
            panic!("{routes:?}");
        };
        assert_eq!(logger.name, "logger");
        assert_eq!(logger.bindings, ["#"]);
        assert_eq!(logger.target.url.as_str(), "http://logger:8082/log");
        assert_eq!(logger.target.bearer_token_file, Some("/token".into()));
        assert_eq!(
            routes.requests[0].target.url.as_str(),
            "http://auth:8081/authenticate/sealed"
        );
    }

    #[test]
    fn a_mistake_is_told_with_its_route() {
        let route = |line: &str| {
            format!(
                "[[route]]\nname = \"mailer\"\nbindings = [\"a\"]\ntarget = \"http://x/\"\n{line}\n"
            )
        };
        assert!(Routes::parse(&route(""), &config()).is_ok());
        for (line, said) in [
            ("concurrency = 0", "concurrency"),
            ("concurrency = 65\n", "prefetch"),
            ("timeout_ms = 0", "timeout_ms"),
            ("retry_ms = [0]", "retry_ms"),
            ("retries = [1]", "retries"),
        ] {
            let refusal = refused(&route(line));
            assert!(refusal.contains(said), "{line}: {refusal}");
        }
        let refusal = refused(&format!("{0}{0}", route("")));
        assert!(
            refusal.contains("mailer") && refusal.contains("taken"),
            "{refusal}"
        );
    }

    #[test]
    fn names_patterns_and_targets_are_checked() {
        let route = |name: &str, pattern: &str, target: &str| {
            format!(
                "[[route]]\nname = \"{name}\"\nbindings = [\"{pattern}\"]\ntarget = \"{target}\"\n"
            )
        };
        assert!(Routes::parse(&route("a-1", "a.*.#", "http://x/"), &config()).is_ok());
        for (name, pattern, target) in [
            ("a.b", "a", "http://x/"),
            ("", "a", "http://x/"),
            ("a", "", "http://x/"),
            ("a", "a..b", "http://x/"),
            ("a", "a*", "http://x/"),
            ("a", "a", "ftp://x/"),
            ("a", "a", "x"),
            ("a", "a", "${NO_SUCH_VARIABLE_SET}/"),
            ("a", "a", "http://x/${"),
        ] {
            refused(&route(name, pattern, target));
        }
        refused("");
    }
}
