//! The routes of a listener, checked: past this point a route can be started as it is.

use std::{collections::HashSet, env, path::PathBuf, time::Duration};

use anyhow::{Context as _, ensure};

use crate::{Config, routes_file::File, target::TargetConfig};

const DEFAULT_ROUTES: &str = include_str!("default-routes.toml");

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
            return Self::parse(DEFAULT_ROUTES, config);
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
        for mut entry in file.route {
            let context = format!("route \"{}\"", entry.name);
            default_token(&mut entry.bearer_token_file, &entry.target, config);
            unique(&entry.name).context(context.clone())?;
            events.push(entry.check(variable).context(context)?);
        }
        let mut requests = Vec::new();
        for mut entry in file.request {
            let context = format!("request route of \"{}\"", entry.service);
            default_token(&mut entry.bearer_token_file, &entry.target, config);
            unique(&entry.service).context(context.clone())?;
            requests.push(entry.check(variable).context(context)?);
        }
        ensure!(
            !events.is_empty() || !requests.is_empty(),
            "there is no route in it"
        );
        Ok(Self { events, requests })
    }
}

/// The suite's own services share one token, so a route to one of them has it without being told.
fn default_token(token_file: &mut Option<PathBuf>, target: &str, config: &Config) {
    let own = ["${LOGGER_URL}", "${AUTH_URL}"];
    if token_file.is_none() && own.iter().any(|url| target.starts_with(url)) {
        token_file.clone_from(&config.http.api_token_file);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::DeadLetters;

    fn config() -> Config {
        Config {
            amqp_url: "amqp://localhost".parse().unwrap(),
            routes_file: None,
            logger_url: "http://logger:8082".parse().unwrap(),
            auth_url: "http://auth:8081".parse().unwrap(),
            dead_letters: DeadLetters::Logger,
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
        let other = "[[route]]\nname = \"a\"\nbindings = [\"#\"]\ntarget = \"http://x/\"";
        let other = Routes::parse(other, &config).unwrap();
        assert_eq!(other.events[0].target.bearer_token_file, None);
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
