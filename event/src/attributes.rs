//! The attributes of an event under construction, by name.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::{Event, Invalid, attribute};

pub(crate) const SPEC_VERSION: &str = "1.0";
/// The most bytes of all attributes as request headers, which many HTTP servers limit to about 8
/// KiB. This leaves room for the headers that are not attributes.
const BYTES_MAX: usize = 7 * 1024;
const ATTRIBUTES_MAX: usize = 64;
/// Bytes of a header line besides name and value.
const HEADER_OVERHEAD: usize = "ce-: \r\n".len();

/// Attributes by name, as text, including `datacontenttype`. Optional attributes may be missing.
pub type Attributes = BTreeMap<String, String>;

/// Makes an event of its attributes and its data.
///
/// # Errors
/// Names the attribute that is missing or wrong.
pub(crate) fn into_event(mut attributes: Attributes, data: Bytes) -> Result<Event, Invalid> {
    for (name, value) in &attributes {
        attribute::check_name(name)?;
        attribute::check(name, value)?;
    }
    check_size(&attributes)?;
    check_spec_version(&mut attributes)?;
    Ok(Event {
        id: required(&mut attributes, "id")?,
        source: required(&mut attributes, "source")?,
        event_type: required(&mut attributes, "type")?,
        subject: attributes.remove("subject"),
        time: attributes.remove("time"),
        content_type: attributes.remove("datacontenttype"),
        content_encoding: None,
        extensions: attributes,
        data,
    })
}

/// Removes the attribute `specversion`, which must be 1.0.
///
/// # Errors
/// When it is missing or different.
pub fn check_spec_version(attributes: &mut Attributes) -> Result<(), Invalid> {
    match required(attributes, "specversion")?.as_str() {
        SPEC_VERSION => Ok(()),
        _ => Err(attribute::wrong("specversion", "must be 1.0")),
    }
}

/// Removes an attribute that every event has.
///
/// # Errors
/// When it is missing.
pub fn required(attributes: &mut Attributes, name: &str) -> Result<String, Invalid> {
    let value = attributes.remove(name);
    value.ok_or_else(|| Invalid::new(format!("the attribute {name} is missing")))
}

/// No attribute is ever dropped later, so an event that is too large is refused here.
fn check_size(attributes: &Attributes) -> Result<(), Invalid> {
    let bytes: usize = attributes
        .iter()
        .map(|(name, value)| name.len() + attribute::header_bytes(value) + HEADER_OVERHEAD)
        .sum();
    if attributes.len() > ATTRIBUTES_MAX || bytes > BYTES_MAX {
        return Err(Invalid::new(format!(
            "an event may have at most {ATTRIBUTES_MAX} attributes, \
             which take at most {BYTES_MAX} bytes as headers"
        )));
    }
    Ok(())
}
