//! What of a message beside its event goes to a target, where its route names it.
//!
//! Any publisher chooses the values, so they are bounded, and nothing in them can end a header.

use event::header_text;

use messaging::{Delivery, Header};
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde::Deserialize;

/// Most bytes of one value as it is sent, as many as an attribute has.
const VALUE_BYTES_MAX: usize = 1024;
/// Most bytes of all names and values: with the attributes they must fit into what servers read,
/// 16 KiB in Node.js for instance.
const BYTES_MAX: usize = 4096;

/// Names the headers whose values had to be percent-encoded.
const ENCODED: HeaderName = HeaderName::from_static("x-gw-encoded-headers");
/// Names the headers that the message has and the request has not.
const DROPPED: HeaderName = HeaderName::from_static("x-gw-dropped-headers");

/// What a route forwards.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Forward {
    pub(crate) properties: Vec<Property>,
    /// The names of AMQP headers, and of those in HTTP, which know no case.
    pub(crate) headers: Vec<(String, HeaderName)>,
}

/// What a message says of itself outside its headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Property {
    CorrelationId,
    Priority,
    RoutingKey,
}

impl Property {
    fn header(self) -> HeaderName {
        HeaderName::from_static(match self {
            Self::CorrelationId => "x-gw-correlation-id",
            Self::Priority => "x-gw-priority",
            Self::RoutingKey => "x-gw-routing-key",
        })
    }

    fn of(self, delivery: &Delivery) -> Option<String> {
        match self {
            Self::CorrelationId => delivery.correlation_id().map(str::to_owned),
            Self::Priority => delivery.priority().map(|priority| priority.to_string()),
            Self::RoutingKey => Some(delivery.routing_key.clone()),
        }
    }
}

impl Forward {
    /// The names under which AMQP headers are sent.
    pub(crate) fn headers(&self) -> impl Iterator<Item = &HeaderName> {
        self.headers.iter().map(|(_, name)| name)
    }

    /// Adds what `delivery` has of it to the headers of a request.
    pub(crate) fn write(&self, delivery: &Delivery, headers: &mut HeaderMap) {
        if self.properties.is_empty() && self.headers.is_empty() {
            return;
        }
        let mut writing = Writing {
            headers,
            room: BYTES_MAX,
            encoded: Vec::new(),
            dropped: Vec::new(),
        };
        for property in &self.properties {
            if let Some(text) = property.of(delivery) {
                writing.add(&property.header(), &text);
            }
        }
        for (amqp, name) in &self.headers {
            match delivery.header(amqp) {
                Some(Header::Text(text)) => writing.add(name, &text),
                Some(Header::NoText) => writing.dropped.push(name.clone()),
                None => {}
            }
        }
        writing.finish();
    }
}

struct Writing<'a> {
    headers: &'a mut HeaderMap,
    room: usize,
    encoded: Vec<HeaderName>,
    dropped: Vec<HeaderName>,
}

impl Writing<'_> {
    fn add(&mut self, name: &HeaderName, text: &str) {
        // Before it is encoded, which would make a long text longer still.
        let fits = text.len() <= VALUE_BYTES_MAX;
        let is_plain = is_plain(text);
        let value = if !fits {
            None
        } else if is_plain {
            HeaderValue::from_str(text).ok()
        } else {
            HeaderValue::try_from(header_text::encode(text)).ok()
        };
        let fitting = value.filter(|value| {
            value.len() <= VALUE_BYTES_MAX && name.as_str().len() + value.len() <= self.room
        });
        let Some(value) = fitting else {
            self.dropped.push(name.clone());
            return;
        };
        self.room -= name.as_str().len() + value.len();
        self.headers.insert(name, value);
        if !is_plain {
            self.encoded.push(name.clone());
        }
    }

    fn finish(self) {
        for (header, names) in [(ENCODED, self.encoded), (DROPPED, self.dropped)] {
            let names: Vec<_> = names.iter().map(HeaderName::as_str).collect();
            if let Ok(value) = HeaderValue::try_from(names.join(", "))
                && !names.is_empty()
            {
                self.headers.insert(header, value);
            }
        }
    }
}

/// Whether a text arrives in a header as it is: receivers trim spaces at its ends, and read what is
/// not ASCII in one charset or another.
fn is_plain(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, b' '..=b'~')) && text.trim() == text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(values: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        let mut writing = Writing {
            headers: &mut headers,
            room: BYTES_MAX,
            encoded: Vec::new(),
            dropped: Vec::new(),
        };
        for (name, text) in values {
            writing.add(&HeaderName::from_static(name), text);
        }
        writing.finish();
        headers
    }

    #[test]
    fn what_a_header_can_hold_goes_as_it_is_and_the_rest_is_encoded_and_named() {
        let headers = written(&[
            ("a", "Blue Corp 100%20 \"x\""),
            ("b", "one\r\nAuthorization: two"),
            ("c", "Größe 5%"),
            ("d", " padded "),
            ("e", ""),
        ]);
        assert_eq!(headers["a"], "Blue Corp 100%20 \"x\"");
        assert_eq!(headers["b"], "one%0D%0AAuthorization:%20two");
        assert_eq!(headers["c"], "Gr%C3%B6%C3%9Fe%205%25");
        assert_eq!(headers["d"], "%20padded%20");
        assert_eq!(headers["e"], "");
        assert_eq!(headers[ENCODED], "b, c, d");
        assert_eq!(headers.len(), 6);
    }

    #[test]
    fn what_is_too_long_is_left_out_and_named() {
        let (most, more) = ("x".repeat(1024), "x".repeat(1025));
        let headers = written(&[
            ("a", &more),
            ("b", &"é".repeat(500)),
            ("c", &most),
            ("d", &most),
            ("e", &most),
            ("f", &most),
            ("g", "short"),
        ]);
        assert_eq!(headers[DROPPED], "a, b, f");
        assert_eq!(headers["g"], "short");
        let bytes: usize = ["c", "d", "e", "g"]
            .map(|name| headers[name].len())
            .iter()
            .sum();
        assert!(bytes <= BYTES_MAX, "{bytes}");
    }
}
