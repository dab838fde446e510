//! The event, as every service of this suite understands it. Pure: it knows neither AMQP nor a
//! server nor a client.

mod event;
mod event_type;
mod pattern;
mod payload;

pub use crate::{
    event::Event,
    event_type::{EventType, EventTypeError},
    pattern::Pattern,
    payload::Payload,
};
