//! The harness of the end-to-end tests: real services on ports given by the system, a real
//! RabbitMQ node of the tests' own, and targets that do as they are told.
//!
//! Nothing here is mocked. What a test needs and cannot have makes it fail.

pub mod audit;
pub mod cgroup;
mod environment;
pub mod foreign;
pub mod gateway;
pub mod hostile;
pub mod http;
pub mod ledger;
pub mod load;
pub mod management;
pub mod node;
pub mod port;
pub mod postgres;
pub mod process;
pub mod program;
pub mod proof;
pub mod provided;
pub mod proxy;
pub mod python;
pub mod rabbitmq;
pub mod raw;
pub mod sink;
pub mod suite;
pub mod target;
pub mod tls;

use std::{fmt::Debug, future::Future, time::Duration};

use tokio::time::Instant;

/// Asks again and again until `probe` answers with `Some`, and panics after `deadline`.
pub async fn eventually<T, F>(what: &str, deadline: Duration, mut probe: impl FnMut() -> F) -> T
where
    F: Future<Output = Option<T>>,
{
    let end = Instant::now() + deadline;
    loop {
        if let Some(value) = probe().await {
            return value;
        }
        assert!(Instant::now() < end, "not within {deadline:?}: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Unwraps with the error shown in full; tests have nothing better to do with one.
pub trait OrPanic<T> {
    /// The value, or a panic that says what was being done.
    fn or_panic(self, doing: &str) -> T;
}

impl<T, E: Debug> OrPanic<T> for Result<T, E> {
    #[track_caller]
    fn or_panic(self, doing: &str) -> T {
        match self {
            Ok(value) => value,
            Err(error) => panic!("{doing}: {error:?}"),
        }
    }
}
