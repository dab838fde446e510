//! A real server on its own port. Tests write raw bytes where a client library would hide what is
//! tested.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a failed step fails the test"
)]

mod drain;
mod harness;
mod large_bodies;
mod memory;
mod operations;
mod refusals;
mod slowness;
