//! The routes of a listener, checked: past this point a route can be started as it is.

use std::env;

use anyhow::{Context as _, anyhow};
use messaging::{Format, Source, Subscription};

use crate::{
    Config,
    routes_file::{self, Environment},
    target::TargetConfig,
};

const DEFAULT_ROUTES: &str = include_str!("default-routes.toml");

/// All routes of a listener, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Routes {
    /// Events to targets.
    pub(crate) events: Vec<EventRoute>,
    /// Requests to targets that answer them.
    pub(crate) requests: Vec<RequestRoute>,
}

/// From a queue of events to a target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct EventRoute {
    pub(crate) subscription: Subscription,
    pub(crate) target: TargetConfig,
    /// The service in whose name the target's answers are published, where the events are
    /// requests to it.
    pub(crate) answers_for: Option<String>,
}

/// From a queue of requests to a target, and its answer back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RequestRoute {
    pub(crate) name: String,
    pub(crate) source: Source,
    /// How its messages are read, and its answers written.
    pub(crate) format: Format,
    pub(crate) flow: Flow,
    pub(crate) target: TargetConfig,
}

/// How much of a queue is worked on at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Flow {
    pub(crate) prefetch: u16,
    pub(crate) concurrency: u16,
}

impl Routes {
    /// The routes of `ROUTES_FILE`, or the default ones.
    pub(crate) fn load(config: &Config) -> anyhow::Result<Self> {
        let Some(path) = &config.routes_file else {
            return Self::parse(DEFAULT_ROUTES, config);
        };
        let file = || format!("ROUTES_FILE {}", path.display());
        let text = std::fs::read_to_string(path).with_context(file)?;
        Self::parse(&text, config).map_err(|mistakes| anyhow!("{}:\n{mistakes}", file()))
    }

    fn parse(text: &str, config: &Config) -> anyhow::Result<Self> {
        let variable = |name: &str| match name {
            // These two have defaults that the environment does not show.
            "LOGGER_URL" => Some(config.logger_url.to_string()),
            "AUTH_URL" => Some(config.auth_url.to_string()),
            name => env::var(name).ok(),
        };
        let environment = Environment {
            variable: &variable,
            own_token_file: config.http.api_token_file.as_deref(),
            broker_url: &config.broker_url,
        };
        Ok(routes_file::read(text, &environment)?)
    }
}
