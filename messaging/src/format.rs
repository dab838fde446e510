//! How the messages of a subscription are read as events.

use event::Event;
use jiff::Timestamp;
use tracing::info;

use crate::Delivery;

mod celery;
mod compression;

/// How the messages of a subscription are read as events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// CloudEvents where a message has their headers, else what its properties say.
    #[default]
    CloudEvents,
    /// Tasks of Celery that stand for events, in either protocol: the type is the first argument,
    /// the id that of the task. What is no task and says what it is otherwise, by the property
    /// `type` or as a CloudEvent, is read as any other.
    Celery,
}

impl Format {
    /// Reads a message as an event, which may expire at some time.
    ///
    /// # Errors
    /// Why it cannot be read, in words without any of its data: whether anybody wants it is unknown.
    pub(crate) fn read(self, delivery: &mut Delivery) -> Result<Option<Timestamp>, String> {
        match self {
            Self::CloudEvents => Ok(None),
            Self::Celery => celery::read(delivery),
        }
    }
}

/// One line for what a subscription picks out of what everybody gets.
pub(crate) fn tell(what: &str, route: &str, event: &Event) {
    let attribute = |name| event.extensions.get(name).map(String::as_str);
    info!(
        route,
        event.id,
        event.r#type = event.event_type,
        task = attribute(celery::TASK),
        resource.r#type = attribute(celery::RESOURCE_TYPE),
        resource.id = attribute(celery::RESOURCE_ID),
        user.id = attribute(celery::USER_ID),
        "{what}"
    );
}
