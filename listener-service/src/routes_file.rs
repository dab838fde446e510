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

use std::{path::PathBuf, time::Duration};

use anyhow::{Context as _, ensure};
use messaging::RoutingKey;
use serde::Deserialize;
use url::Url;

use crate::{
    routes::{EventRoute, Flow, RequestRoute},
    target::TargetConfig,
    template::expand,
};

const NAME_BYTES_MAX: usize = 100;
const RETRIES_MAX: usize = 20;
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const TIMEOUT_MAX: Duration = Duration::from_secs(10 * 60);
const CONCURRENCY_MAX: u16 = 1024;

/// The file as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct File {
    #[serde(default)]
    pub(crate) route: Vec<EventEntry>,
    #[serde(default)]
    pub(crate) request: Vec<RequestEntry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct EventEntry {
    pub(crate) name: String,
    bindings: Vec<String>,
    pub(crate) target: String,
    pub(crate) bearer_token_file: Option<PathBuf>,
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
pub(crate) struct RequestEntry {
    pub(crate) service: String,
    key: String,
    pub(crate) target: String,
    pub(crate) bearer_token_file: Option<PathBuf>,
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
    pub(crate) fn check(
        self,
        variable: impl Fn(&str) -> Option<String>,
    ) -> anyhow::Result<EventRoute> {
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
    pub(crate) fn check(
        self,
        variable: impl Fn(&str) -> Option<String>,
    ) -> anyhow::Result<RequestRoute> {
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
        ensure!(
            prefetch >= concurrency,
            "prefetch ({prefetch}) is less than concurrency ({concurrency}): set both"
        );
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
    let fits = pattern.len() <= RoutingKey::MAX_BYTES;
    let words = pattern
        .split('.')
        .all(|word| matches!(word, "*" | "#") || word.parse::<RoutingKey>().is_ok());
    ensure!(
        fits && words,
        "\"{pattern}\" is no pattern such as order.*, or #"
    );
    Ok(())
}
