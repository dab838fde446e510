//! Whether a publisher's verdicts are true: each against RabbitMQ's own account of the message.
//!
//! Every publish has a number, which is its message's id. What the publisher said of a number and
//! how often RabbitMQ gave it back are noted side by side, and judged at the end.

mod account;
mod callers;
mod destination;
mod judge;
mod losses;
mod plan;
mod queues;
mod trial;
mod verdict;

pub use account::Account;
pub use callers::{DEADLINE, message};
pub use destination::Destination;
pub use judge::{Judgement, Violation};
pub use plan::Plan;
pub use queues::Queues;
pub use trial::Trial;
pub use verdict::Verdict;
