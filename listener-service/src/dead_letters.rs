//! Dead letters: the listener drains each route's queue of them into logger-service, where they
//! can be looked at without disturbing a queue, and brings back those that are to be replayed.
//!
//! The listener keeps nothing of them itself. While logger-service is away they wait in their
//! queues.

mod command;
mod drain;
mod filter;
mod letter;
mod patience;
mod replay;
mod replay_job;
mod routes;
mod store;

pub(crate) use command::DeadLettersCommand;
pub(crate) use drain::Drain;
pub(crate) use replay::Replayer;
pub(crate) use routes::{absent, routes};
pub(crate) use store::Store;
