//! From an event to the answer to its request: the one way for all routes that publish one event.

use std::sync::Arc;

use axum::{
    Json,
    http::{HeaderMap, HeaderName, StatusCode},
    response::{IntoResponse as _, Response},
};
use event::{Event, EventType, trace::Trace};
use serde::Serialize;
use service_kit::problem::Problem;

use crate::{
    App,
    idempotency::{Fingerprint, Key, Published},
    problems,
};

/// Marks an answer to a request that was answered before.
const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// An event as a client wants it published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Publication {
    pub(crate) event: Event,
    /// The event's type as what it is routed by.
    pub(crate) routing_key: EventType,
    /// Whether the client chose id and time, or they were made here for this request.
    pub(crate) id_is_given: bool,
}

impl Publication {
    /// Of an event that was made here.
    pub(crate) fn new(event: Event, routing_key: EventType) -> Self {
        Self {
            event,
            routing_key,
            id_is_given: false,
        }
    }

    /// Carries on the trace of the request, unless the event has one of its own.
    pub(crate) fn carry_on(&mut self, trace: Option<&Trace>) {
        if let Some(trace) = trace {
            trace.carry_on(&mut self.event);
        }
    }

    /// Publishes, once for each `Idempotency-Key`, and answers with what `accepted` makes of the id.
    ///
    /// # Errors
    /// When the data violates its schema (422), and when RabbitMQ has not confirmed the event (503).
    pub(crate) async fn publish(
        mut self,
        app: &Arc<App>,
        headers: &HeaderMap,
        accepted: Accepted,
    ) -> Result<Response, Problem> {
        let idempotency_key = Key::read(headers)?;
        self.carry_on(Trace::read(headers).as_ref());
        app.schemas.check(&self.event).await?;
        let Some(key) = idempotency_key else {
            let answer = accepted.answer(&self.event);
            self.publish_now(app).await?;
            return Ok(answer);
        };
        let request = Fingerprint::of(&self);
        if !self.id_is_given {
            self.event.id = key.event_id();
        }
        let answer = accepted.answer(&self.event);
        let publishing = {
            let app = app.clone();
            async move { self.publish_now(&app).await }
        };
        // Boxed: few requests have a key, and all would carry room for it.
        match Box::pin(app.idempotency.once(key, request, publishing)).await? {
            Published::Now => Ok(answer),
            Published::Before => Ok(([(REPLAYED, "true")], answer).into_response()),
        }
    }

    async fn publish_now(self, app: &Arc<App>) -> Result<(), Problem> {
        let Self {
            event, routing_key, ..
        } = self;
        let id = event.id.clone();
        let published = app.publish(event, &routing_key, app.publish_timeout).await;
        published.map_err(|error| problems::publish(&error, &routing_key, &id))
    }
}

/// What the 202 says.
#[derive(Clone, Copy)]
pub(crate) enum Accepted {
    /// To the action `log`.
    Logged,
    /// To an event of any type, which is named.
    Published,
}

impl Accepted {
    fn answer(self, event: &Event) -> Response {
        #[derive(Serialize)]
        struct Answer<'a> {
            error: bool,
            message: &'static str,
            data: Data<'a>,
        }
        #[derive(Serialize)]
        struct Data<'a> {
            id: &'a str,
            #[serde(skip_serializing_if = "Option::is_none")]
            r#type: Option<&'a str>,
        }
        let (message, event_type) = match self {
            Self::Logged => ("logged via RabbitMQ", None),
            Self::Published => (PUBLISHED, Some(event.event_type.as_str())),
        };
        let answer = Answer {
            error: false,
            message,
            data: Data {
                id: &event.id,
                r#type: event_type,
            },
        };
        (StatusCode::ACCEPTED, Json(answer)).into_response()
    }
}

/// What is said of events that are durable.
pub(crate) const PUBLISHED: &str = "published via RabbitMQ";
