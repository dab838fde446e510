//! What a connection, a publisher or a consumer can do at this moment.

use std::sync::Arc;

/// The truth that readiness is told from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Status {
    /// Able to do its job.
    Ready,
    /// Not able, for this reason; it is being tried again.
    Waiting(Arc<str>),
    /// RabbitMQ takes no publishes (a memory or disk alarm), for this reason.
    Blocked(Arc<str>),
}

impl Status {
    /// Waiting, for a reason.
    pub(crate) fn waiting(reason: impl Into<Arc<str>>) -> Self {
        Self::Waiting(reason.into())
    }

    /// That of a consumer whose handlers publish. While RabbitMQ only blocks publishes it goes on.
    #[must_use]
    pub fn and(self, publishing: Self) -> Self {
        match (self, publishing) {
            (Self::Ready, waiting @ Self::Waiting(_)) => waiting,
            (status, _) => status,
        }
    }

    /// `Ok` when ready, else the reason as text, as readiness checks want it.
    pub fn into_result(self) -> Result<(), String> {
        match self {
            Self::Ready => Ok(()),
            Self::Waiting(reason) => Err(reason.to_string()),
            Self::Blocked(reason) => Err(format!("RabbitMQ blocks publishing: {reason}")),
        }
    }
}
