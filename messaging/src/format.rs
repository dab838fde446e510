//! How the messages of a subscription are read as events.

use event::Event;
use jiff::Timestamp;
use serde_json::value::RawValue;
use tracing::info;

use crate::{Delivery, Reply};

mod celery;
mod compression;
mod nestjs;

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
    /// Envelopes of NestJS: the type is the pattern, and the data the envelope's. What is none and says
    /// what it is otherwise is read as any other.
    NestJs,
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
            Self::NestJs => nestjs::read(delivery).map(|()| None),
        }
    }

    /// Reads a message as a request, and says how it is answered.
    ///
    /// # Errors
    /// Why it cannot be read, in words without any of its data.
    pub fn read_request(self, request: &mut Delivery) -> Result<Answering, String> {
        match self {
            Self::CloudEvents | Self::Celery => Ok(Answering::Plain),
            Self::NestJs => Ok(nestjs::open(request)?.map_or(Answering::None, Answering::NestJs)),
        }
    }
}

/// How a request is answered.
#[derive(Debug)]
pub enum Answering {
    /// By what the target answers, as it is.
    Plain,
    /// By an envelope of NestJS, under the id of the request's.
    NestJs(Box<RawValue>),
    /// Not at all: it is an event, whose sender waits for nothing.
    None,
}

impl Answering {
    /// The reply that holds an answer of the target.
    pub fn reply(&self, answer: Reply) -> Reply {
        match self {
            Self::Plain | Self::None => answer,
            Self::NestJs(id) => nestjs::answer(id, answer),
        }
    }

    /// What tells the sender that there is no answer, where its format has a way to say so.
    pub fn failure(&self, status: u16, reason: &str) -> Option<Reply> {
        match self {
            Self::Plain | Self::None => None,
            Self::NestJs(id) => Some(nestjs::failure(id, status, reason)),
        }
    }
}

/// Whether what a format does not know is meant for others.
fn says_what_it_is(delivery: &Delivery) -> bool {
    let headers = delivery.properties.headers().as_ref();
    let has = |name: &str| headers.is_some_and(|headers| headers.contains_key(name));
    // Our own copies are CloudEvents, whatever they are copies of.
    let is_original = !delivery.handed_off || delivery.attempt > 1;
    let is_cloud_event = ["cloudEvents:", "cloudEvents_"].iter().any(|prefix| {
        ["id", "type"]
            .iter()
            .all(|name| has(&format!("{prefix}{name}")))
    });
    delivery.properties.kind().is_some() || is_original && is_cloud_event
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
