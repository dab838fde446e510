//! CloudEvents 1.0 as clients send them over HTTP: structured, binary, and as items of a batch.
//!
//! Past this module each attribute has a value that the specification allows and that gets through
//! to a target: over AMQP and as a header of an HTTP request.

mod attribute;
mod binary;
mod members;
#[cfg(test)]
mod properties;
mod structured;

use std::collections::BTreeMap;

use bytes::Bytes;
use event::{Event, EventType};
use service_kit::problem::Problem;

pub(crate) use self::{
    binary::{is_binary, read as read_binary},
    structured::{id_of, read as read_structured},
};
use crate::publication::Publication;

const SPEC_VERSION: &str = "1.0";
/// Bytes of all attributes as headers of a request, which many HTTP servers limit to 8 KiB or little
/// more. This leaves room for the headers that are not attributes.
const ATTRIBUTES_BYTES_MAX: usize = 7 * 1024;
const ATTRIBUTES_MAX: usize = 64;
/// What the prefix and the line of a header need besides name and value.
const HEADER_OVERHEAD: usize = "ce-: \r\n".len();

/// Attributes by name, as text; of those that clients may leave out, only the ones that are there.
type Attributes = BTreeMap<String, String>;

/// Makes an event of its attributes, `datacontenttype` among them, and its data.
///
/// # Errors
/// 400 which names the attribute that is missing or wrong.
fn publication(mut attributes: Attributes, data: Bytes) -> Result<Publication, Problem> {
    for (name, value) in &attributes {
        attribute::check_name(name)?;
        attribute::check(name, value)?;
    }
    check_size(&attributes)?;
    let spec_version = required(&mut attributes, "specversion")?;
    if spec_version != SPEC_VERSION {
        return Err(attribute::wrong("specversion", "must be 1.0"));
    }
    let id = required(&mut attributes, "id")?;
    let source = required(&mut attributes, "source")?;
    let event_type = required(&mut attributes, "type")?;
    let routing_key: EventType = event_type
        .parse()
        .map_err(|error| attribute::wrong("type", &format!("is no event type here: {error}")))?;
    let event = Event {
        id,
        event_type,
        source,
        subject: attributes.remove("subject"),
        time: attributes.remove("time"),
        content_type: attributes.remove("datacontenttype"),
        extensions: attributes,
        data,
    };
    Ok(Publication {
        event,
        routing_key,
        id_is_given: true,
    })
}

fn required(attributes: &mut Attributes, name: &str) -> Result<String, Problem> {
    let value = attributes.remove(name);
    value.ok_or_else(|| Problem::bad_request(format!("the attribute {name} is missing")))
}

/// None is ever dropped on the way, so what does not fit is refused here.
fn check_size(attributes: &Attributes) -> Result<(), Problem> {
    let bytes: usize = attributes
        .iter()
        .map(|(name, value)| name.len() + attribute::header_bytes(value) + HEADER_OVERHEAD)
        .sum();
    if attributes.len() > ATTRIBUTES_MAX || bytes > ATTRIBUTES_BYTES_MAX {
        return Err(Problem::bad_request(format!(
            "an event may have at most {ATTRIBUTES_MAX} attributes, \
             which take at most {ATTRIBUTES_BYTES_MAX} bytes as headers"
        )));
    }
    Ok(())
}
