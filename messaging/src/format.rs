//! How the messages of a subscription are read as events.

use crate::Delivery;

mod celery;

/// How the messages of a subscription are read as events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// CloudEvents where a message has their headers, else what its properties say.
    #[default]
    CloudEvents,
    /// Tasks of Celery that stand for events, in either protocol: the type is the first argument,
    /// the id that of the task. A message that is no task is read as any other.
    Celery,
}

impl Format {
    pub(crate) fn read(self, delivery: &mut Delivery) {
        match self {
            Self::CloudEvents => {}
            Self::Celery => celery::read(delivery),
        }
    }
}
