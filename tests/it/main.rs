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

mod acknowledgements;
mod alarms;
mod answers;
mod attempts;
mod auth_store;
mod authenticate;
mod bad_input;
mod bad_targets;
mod cloudevents;
mod consumer_timeout;
mod dead_letter;
mod dead_letters;
mod envelopes;
mod events;
mod examples;
mod foreign_messages;
mod forward;
mod frozen_rabbitmq;
mod full_queues;
mod hostile_dead_letters;
mod hostile_messages;
mod idempotency;
mod identity;
mod kill_between;
mod leaderless;
mod least_privilege;
mod log_event;
mod logger_store;
mod memory;
mod metrics;
mod network;
mod node;
mod originals;
mod overload;
mod panics;
mod producers;
mod publisher;
mod python;
mod rabbitmq_away;
mod replies;
mod reply_queues;
mod retry;
mod rolling_restart;
mod routes;
mod scripts;
mod starved;
mod streams;
mod suite_token;
mod tls;
mod too_large;
mod topology;
mod typed;
mod undeliverable;
mod words;
