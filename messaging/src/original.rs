//! What a message carries beside its event, for the copies that follow it.

use bytes::Bytes;
use lapin::{
    BasicProperties,
    protocol::basic::{gen_properties, parse_properties},
    types::{AMQPValue, FieldTable},
};

use crate::{
    Delivery,
    event::{attribute_prefix, is_attribute},
    handoff::{EXPIRES_AT, OWN_PREFIX},
    headers::{DROPPED, Headers, entries, text},
    wire::{CLEANED, parsable},
};

/// Headers that must not be copied: RabbitMQ routes by CC and BCC, and counts in `x-death`.
pub(crate) const STRIPPED: [&str; 3] = ["CC", "BCC", "x-death"];

impl Delivery {
    /// Adds what a copy keeps of the original's headers. What does not fit any more is named.
    pub(crate) fn carry_headers(&self, headers: &mut Headers) {
        if let Some(expiry) = self.expiry {
            headers.insert(EXPIRES_AT, AMQPValue::LongLongInt(expiry.0));
        }
        let Some(originals) = self.properties.headers() else {
            return;
        };
        if let Some(dropped) = text(originals, DROPPED).filter(|_| self.handed_off) {
            headers.dropped_before(dropped);
        }
        let attributes = attribute_prefix(originals);
        if !self.handed_off {
            name_lost(originals, attributes, headers);
        }
        carry(originals, attributes, headers);
    }

    /// What a copy keeps, as AMQP writes properties: for who keeps it without knowing AMQP.
    pub(crate) fn original(&self) -> Bytes {
        let mut headers = Headers::new();
        self.carry_headers(&mut headers);
        let kept = BasicProperties::default().with_headers(headers.into_table());
        let kept = keep_properties(&self.properties, kept);
        match gen_properties(&kept)(Vec::new().into()) {
            Ok(written) => Bytes::from(written.into_inner().0),
            Err(_) => Bytes::new(), // a list of bytes has room for all
        }
    }
}

/// Reads what [`Delivery::original`] wrote; what nobody wrote is none. It comes from a store, where
/// somebody else may have put it, and lapin's parser goes as deep as it is nested.
pub(crate) fn read_original(bytes: &[u8]) -> Option<BasicProperties> {
    let (_rest, properties) = parse_properties(&*parsable(bytes)?).ok()?;
    Some(properties)
}

/// Adds the headers that are no attributes, whose prefix is `attributes`. Those and our own are written
/// anew: an old one must not stay beside a new one.
pub(crate) fn carry(originals: &FieldTable, attributes: Option<&str>, headers: &mut Headers) {
    for (name, value) in entries(originals) {
        let name = name.as_str();
        let is_kept = !STRIPPED.contains(&name) && !name.starts_with(OWN_PREFIX);
        if is_kept && !is_attribute(attributes, name, value) {
            headers.insert(name, value.clone());
        }
    }
}

/// Names the headers of a producer that no copy can keep, since what they would say there is ours to
/// say: those with our own prefix, and those that the copy would make an attribute of.
fn name_lost(originals: &FieldTable, attributes: Option<&str>, headers: &mut Headers) {
    for (name, value) in entries(originals) {
        let name = name.as_str();
        // The note of what was replaced as the message came in is ours, and goes on.
        let is_own = name.starts_with(OWN_PREFIX) && name != CLEANED;
        let is_read = attributes.is_some_and(|prefix| name.starts_with(prefix));
        let is_written_new = !is_read && is_attribute(attributes, name, value);
        if is_own || is_written_new && !headers.has(name, value) {
            headers.dropped_before(name);
        }
    }
}

/// Adds the properties that a copy keeps to its own. Left behind: `user_id`, which RabbitMQ checks against the
/// publishing user, `expiration`, which would begin again, and `content_type`, which may say that the
/// body holds the attributes too: that of the event counts. A copy is persistent, whatever its original
/// was.
pub(crate) fn keep_properties(
    original: &BasicProperties,
    mut properties: BasicProperties,
) -> BasicProperties {
    macro_rules! keep {
        ($($get:ident => $with:ident),* $(,)?) => {
            $(if let Some(value) = original.$get() {
                properties = properties.$with(value.clone());
            })*
        };
    }
    keep! {
        content_encoding => with_content_encoding,
        priority => with_priority,
        correlation_id => with_correlation_id,
        reply_to => with_reply_to,
        timestamp => with_timestamp,
        kind => with_type,
        app_id => with_app_id,
        cluster_id => with_cluster_id,
    }
    properties
}
