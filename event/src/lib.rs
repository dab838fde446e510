//! The event, as every service of this suite understands it: CloudEvents 1.0. Pure: it knows neither
//! AMQP nor a server nor a client.

pub mod attribute;
mod attributes;
pub mod binary;
pub mod coding;
pub mod dead_letter;
mod event;
mod event_type;
pub mod header_text;
mod invalid;
pub mod json;
pub mod media_type;
mod members;
mod pattern;
mod payload;
#[cfg(test)]
mod properties;
pub mod structured;
pub mod time;
pub mod trace;

pub use crate::{
    attributes::{Attributes, check_spec_version, required},
    event::Event,
    event_type::{EventType, EventTypeError},
    invalid::Invalid,
    pattern::Pattern,
    payload::Payload,
};
