//! How a service serves HTTP: who may call it, and the limits of every call.

use std::path::PathBuf;
use std::time::Duration;

use clap::builder::BoolishValueParser;

/// Every service accepts bodies of this size, whatever it is configured to.
const BODY_BYTES_MIN: usize = 64 * 1024;

/// The HTTP side of a service. The defaults suit a service on a loopback address.
#[derive(clap::Args, Debug, Clone, PartialEq, Eq)]
pub struct HttpConfig {
    /// Serve without authentication on an address other than loopback (the network is private)
    #[arg(long, env, action = clap::ArgAction::SetTrue, value_parser = BoolishValueParser::new())]
    pub allow_anonymous: bool,

    /// File with the bearer token that every request must carry
    #[arg(long, env)]
    pub api_token_file: Option<PathBuf>,

    /// Web origins that may call the service from a browser, such as https://console.example.com
    #[arg(long, env, value_delimiter = ',')]
    pub allowed_origins: Vec<String>,

    /// Largest request body in bytes, at least 64 KiB
    #[arg(long, env, value_parser = body_bytes, default_value_t = 1024 * 1024)]
    pub max_body_bytes: usize,

    /// Open connections; further ones wait in the backlog
    #[arg(long, env, value_parser = at_least_one, default_value_t = 1024)]
    pub max_connections: usize,

    /// Requests worked on at once; further ones are answered 503
    #[arg(long, env, value_parser = at_least_one, default_value_t = 512)]
    pub max_in_flight: usize,

    /// Bytes that request bodies, answers and deliveries in memory share [default: a sixth of the
    /// memory limit of the cgroup; without a limit 256 MiB]
    #[arg(long, env, value_parser = budget_bytes)]
    pub memory_budget_bytes: Option<usize>,

    /// Time for the headers of a request to arrive, and again for its body
    #[arg(long = "read-timeout-ms", env = "READ_TIMEOUT_MS", value_parser = milliseconds,
          default_value = "10000")]
    pub read_timeout: Duration,

    /// Time to work on a request once it has arrived
    #[arg(long = "request-timeout-ms", env = "REQUEST_TIMEOUT_MS", value_parser = milliseconds,
          default_value = "30000")]
    pub request_timeout: Duration,

    /// A connection without a request for this long is closed
    #[arg(long = "idle-timeout-ms", env = "IDLE_TIMEOUT_MS", value_parser = milliseconds,
          default_value = "20000")]
    pub idle_timeout: Duration,

    /// While stopping: time between failing readiness and closing the listener
    #[arg(long = "drain-grace-ms", env = "DRAIN_GRACE_MS", value_parser = milliseconds,
          default_value = "1000")]
    pub drain_grace: Duration,

    /// While stopping: time for the requests in flight to finish
    #[arg(long = "drain-timeout-ms", env = "DRAIN_TIMEOUT_MS", value_parser = milliseconds,
          default_value = "15000")]
    pub drain_timeout: Duration,
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self {
            allow_anonymous: false,
            api_token_file: None,
            allowed_origins: Vec::new(),
            max_body_bytes: 1024 * 1024,
            max_connections: 1024,
            max_in_flight: 512,
            memory_budget_bytes: None,
            read_timeout: Duration::from_secs(10),
            request_timeout: Duration::from_secs(30),
            idle_timeout: Duration::from_secs(20),
            drain_grace: Duration::from_secs(1),
            drain_timeout: Duration::from_secs(15),
        }
    }
}

fn body_bytes(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(bytes) if bytes >= BODY_BYTES_MIN => Ok(bytes),
        _ => Err(format!(
            "not a number of bytes of at least {BODY_BYTES_MIN}"
        )),
    }
}

fn budget_bytes(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(bytes) if bytes >= budget::BYTES_MIN => Ok(bytes),
        _ => Err(format!(
            "not a number of bytes of at least {}",
            budget::BYTES_MIN
        )),
    }
}

fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        // Beyond this tokio's semaphore, which does the counting, would panic.
        Ok(count @ 1..=1_000_000) => Ok(count),
        _ => Err("not a number from 1 to 1000000".to_owned()),
    }
}

fn milliseconds(text: &str) -> Result<Duration, String> {
    let millis: u32 = text.parse().map_err(|_| "not a number of milliseconds")?;
    Ok(Duration::from_millis(millis.into()))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        http: HttpConfig,
    }

    fn parse(args: &[&str]) -> Result<HttpConfig, clap::Error> {
        Cli::try_parse_from(["service"].iter().chain(args)).map(|cli| cli.http)
    }

    #[test]
    fn the_default_is_what_the_command_line_defaults_to() {
        assert_eq!(parse(&[]).unwrap(), HttpConfig::default());
    }

    #[test]
    fn values_out_of_range_are_refused() {
        for args in [
            ["--max-body-bytes", "65535"],
            ["--max-in-flight", "0"],
            ["--memory-budget-bytes", "1048575"],
            ["--max-connections", "1000001"],
            ["--read-timeout-ms", "-1"],
        ] {
            assert!(parse(&args).is_err(), "{args:?}");
        }
        assert_eq!(
            parse(&["--max-body-bytes", "65536"])
                .unwrap()
                .max_body_bytes,
            65536
        );
    }
}
