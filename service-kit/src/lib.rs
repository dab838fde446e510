//! What every service of the suite shares besides RabbitMQ: telemetry, shutdown, and an HTTP
//! server whose limits and refusals are the same everywhere.
//!
//! A service builds an [`axum::Router`] of its own routes and hands it to [`server::serve`], which
//! adds health, readiness, metrics, the guards and the limits around it.

mod activity;
mod admission;
mod body;
mod config;
mod connection;
mod descriptors;
pub mod guard;
pub mod healthcheck;
pub mod json;
mod leaving;
mod limits;
mod log_writer;
pub mod memory;
mod metrics;
mod operations;
pub mod posted;
pub mod problem;
pub mod readiness;
pub mod routes;
pub mod secret_arg;
pub mod server;
pub mod shutdown;
pub mod telemetry;
