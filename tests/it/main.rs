//! The end-to-end tests, a file for each feature.

#![expect(
    unreachable_pub,
    reason = "modules of a test binary are reached by nobody else"
)]
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

mod auth_store;
mod authenticate;
mod bad_input;
mod dead_letter;
mod dead_letters;
mod idempotency;
mod log_event;
mod logger_store;
mod publisher;
mod rabbitmq_away;
mod retry;
mod rolling_restart;
mod topology;
