//! Envelopes of NestJS (`@nestjs/microservices`, `Transport.RMQ`, versions 10 and 11). An event is
//! `{"pattern": …, "data": …}`. A request has the member `id` besides, and its sender waits in `reply_to`
//! for `{"response": …, "isDisposed": true}` or `{"err": …}`.
//!
//! The pattern becomes the type of an event and `data` its data, as it was written.

use event::{json, media_type};
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json, value::RawValue};

use super::says_what_it_is;
use crate::{Delivery, Reply, event::attribute_prefix, identity::id_of};

/// Attribute that says which of the two a message was: its copies have the data alone.
const KIND: &str = "nestjs";
const EVENT: &str = "event";
const REQUEST: &str = "request";

const JSON: &str = "application/json";
/// Most bytes of a pattern, as broker-service has it for attributes.
const PATTERN_BYTES_MAX: usize = 1024;

/// A member that is null is there. (Of an id it makes no difference.)
#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow, default, deserialize_with = "present")]
    pattern: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    data: Option<&'a RawValue>,
    #[serde(borrow)]
    id: Option<&'a RawValue>,
}

fn present<'de: 'a, 'a, D: Deserializer<'de>>(parser: D) -> Result<Option<&'a RawValue>, D::Error> {
    <&RawValue>::deserialize(parser).map(Some)
}

/// Reads an event.
///
/// # Errors
/// Why it is none.
pub(super) fn read(delivery: &mut Delivery) -> Result<(), String> {
    let is_copy = delivery.handed_off && delivery.event.extensions.contains_key(KIND);
    if is_copy {
        return Ok(());
    }
    let id = match open(delivery) {
        Ok(id) => id,
        Err(_) if says_what_it_is(delivery) => return Ok(()),
        Err(reason) => return Err(reason),
    };
    let is_awaited = delivery.reply_to().is_some_and(|queue| !queue.is_empty());
    if id.is_some() && is_awaited {
        return Err(
            "it is a request of NestJS, whose sender waits: a [[request]] with format = \"nestjs\" answers it"
                .to_owned(),
        );
    }
    Ok(())
}

/// Puts what an envelope holds in its place, and returns the id of a request.
///
/// # Errors
/// Why it is no envelope.
pub(super) fn open(delivery: &mut Delivery) -> Result<Option<Box<RawValue>>, String> {
    if delivery.event.content_encoding.is_some() {
        return Err(no_envelope("it is compressed"));
    }
    let body = delivery.event.data.clone();
    let envelope: Envelope<'_> = json::parse(&body).map_err(no_envelope)?;
    let pattern = envelope.pattern.ok_or("it has no pattern");
    let event_type = pattern.and_then(pattern_of).map_err(no_envelope)?;
    let has_own_id = delivery.properties.message_id().is_some()
        || (delivery.properties.headers().as_ref())
            .is_some_and(|all| attribute_prefix(all).is_some());
    let event = &mut delivery.event;
    if let Some(id) = envelope.id.filter(|_| !has_own_id) {
        let text = serde_json::from_str::<String>(id.get());
        let text = text.unwrap_or_else(|_| id.get().to_owned());
        event.id = id_of([Some(text.as_bytes())]);
    }
    let kind = envelope.id.map_or(EVENT, |_| REQUEST);
    event.extensions.insert(KIND.to_owned(), kind.to_owned());
    event.event_type = event_type;
    event.content_type = envelope.data.map(|_| JSON.to_owned());
    event.data = envelope
        .data
        .map(|data| body.slice_ref(data.get().as_bytes()))
        .unwrap_or_default();
    Ok(envelope.id.map(RawValue::to_owned))
}

fn no_envelope(reason: impl std::fmt::Display) -> String {
    format!("the body is no envelope of NestJS: {reason}")
}

/// A pattern as text. NestJS finds the handler of one that is an object by its members in their
/// order, and takes a number for its digits.
fn pattern_of(pattern: &RawValue) -> Result<String, &'static str> {
    let text = match serde_json::from_str(pattern.get()) {
        Ok(Value::String(text)) => text,
        Ok(Value::Number(_)) => pattern.get().to_owned(),
        // The members of a map are in order here.
        Ok(object @ Value::Object(_)) => object.to_string(),
        _ => return Err("its pattern is neither a text, nor a number, nor an object"),
    };
    match text.len() {
        0 => Err("its pattern is empty"),
        1..=PATTERN_BYTES_MAX => Ok(text),
        _ => Err("its pattern has more than 1024 bytes"),
    }
}

/// What a client of NestJS reads as the answer to the request with this id.
pub(super) fn answer(id: &RawValue, reply: Reply) -> Reply {
    let is_json = (reply.content_type.as_deref()).is_some_and(media_type::is_json);
    let text = std::str::from_utf8(&reply.body).ok();
    let json = text.filter(|_| is_json && json::check(&reply.body).is_ok());
    let (member, value) = match (reply.status, json, text) {
        // Not undefined, which would complete the client's observable without a value.
        (200..=299, _, Some("")) => ("response", "null".to_owned()),
        (200..=299, Some(json), _) => ("response", json.to_owned()),
        (200..=299, None, Some(text)) => ("response", Value::from(text).to_string()),
        (200..=299, None, None) => return failure(id, 502, "the answer of the target is no text"),
        // A member that is false, as null or "" is, would be no error.
        (_, Some(json), _) if json.trim_ascii_start().starts_with('{') => ("err", json.to_owned()),
        (status, _, text) => {
            let message = text.filter(|text| !text.is_empty());
            let said = format!("the target answered {status}");
            return failure(id, status, message.unwrap_or(&said));
        }
    };
    envelope(id, reply.status, member, &value)
}

/// An error in the form of NestJS's own for HTTP.
pub(super) fn failure(id: &RawValue, status: u16, message: &str) -> Reply {
    let error = json!({ "statusCode": status, "message": message });
    envelope(id, status, "err", &error.to_string())
}

fn envelope(id: &RawValue, status: u16, member: &str, json: &str) -> Reply {
    let id = id.get();
    let body = format!("{{\"id\":{id},\"{member}\":{json},\"isDisposed\":true}}");
    Reply {
        status,
        content_type: Some(JSON.to_owned()),
        body: body.into(),
    }
}

#[cfg(test)]
mod tests {
    use event::Event;
    use lapin::{BasicProperties, message::Delivery as Raw};

    use super::*;

    fn delivery(properties: BasicProperties, body: &str) -> Delivery {
        let mut raw = Raw::mock(1, "".into(), "orders".into(), false, body.into());
        raw.properties = properties;
        Delivery::read("orders", raw)
    }

    fn event(body: &str) -> Result<Event, String> {
        let mut delivery = delivery(BasicProperties::default(), body);
        read(&mut delivery).map(|()| delivery.event)
    }

    #[test]
    fn a_pattern_is_the_type_and_the_data_stays_as_it_was_written() {
        for (pattern, event_type) in [
            (r#""order.created""#, "order.created"),
            (r#""Gr\u00f6\u00dfe""#, "Größe"),
            ("5", "5"),
            ("-1.50", "-1.50"),
            (r#"{"cmd":"sum"}"#, r#"{"cmd":"sum"}"#),
            (
                r#"{ "b": {"d":1,"c":"x"}, "a": 2 }"#,
                r#"{"a":2,"b":{"c":"x","d":1}}"#,
            ),
        ] {
            let body = format!(r#"{{"pattern":{pattern},"data": {{ "n":1e400, "a":"\u00e9"}} }}"#);
            let event = event(&body).unwrap();
            assert_eq!(event.event_type, event_type);
            assert_eq!(event.data, r#"{ "n":1e400, "a":"\u00e9"}"#);
            assert_eq!(event.content_type.as_deref(), Some(JSON));
            assert_eq!(event.extensions[KIND], EVENT);
        }
        for (data, expected) in [("null", "null"), ("\"x\"", "\"x\""), ("[1]", "[1]")] {
            let body = format!(r#"{{"data":{data},"pattern":"a","options":{{}},"id":null}}"#);
            assert_eq!(event(&body).unwrap().data, expected);
        }
        let without = event(r#"{"pattern":"a"}"#).unwrap();
        assert_eq!((without.data.len(), without.content_type), (0, None));
    }

    #[test]
    fn what_is_no_envelope_is_an_error_without_any_of_its_data() {
        let long = "x".repeat(PATTERN_BYTES_MAX + 1);
        let deep = format!("{}1{}", "[".repeat(200), "]".repeat(200));
        for (body, reason) in [
            ("", "the body is empty"),
            ("secret", "not valid JSON"),
            ("[\"secret\",1]", "not a JSON object"),
            ("{\"data\":\"secret\"}", "it has no pattern"),
            ("{\"pattern\":null,\"data\":\"secret\"}", "neither a text"),
            ("{\"pattern\":true}", "neither a text"),
            ("{\"pattern\":[\"secret\"]}", "neither a text"),
            ("{\"pattern\":1e999}", "neither a text"),
            ("{\"pattern\":\"\"}", "empty"),
            (&format!("{{\"pattern\":\"{long}\"}}"), "more than 1024"),
            (&format!("{{\"pattern\":\"a\",\"data\":{deep}}}"), "deeper"),
            ("{\"pattern\":\"a\",\"pattern\":\"b\"}", "duplicate field"),
            ("{\"pattern\":\"a\",\"data\":1", "not valid JSON"),
        ] {
            let refusal = event(body).unwrap_err();
            assert!(refusal.contains(reason), "{body}: {refusal}");
            assert!(!refusal.contains("secret"), "{refusal}");
        }
    }

    #[test]
    fn what_is_no_envelope_and_says_what_it_is_is_read_as_that() {
        let properties = BasicProperties::default().with_type("order.placed".into());
        let mut other = delivery(properties, "{}");
        read(&mut other).unwrap();
        assert_eq!(other.event.event_type, "order.placed");
        assert!(!other.event.extensions.contains_key(KIND));
    }

    #[test]
    fn a_request_has_the_id_of_its_envelope_unless_the_message_has_one() {
        let body = r#"{"pattern":"sum","data":[1,2],"id":"r-1"}"#;
        let mut request = delivery(BasicProperties::default(), body);
        assert_eq!(open(&mut request).unwrap().unwrap().get(), "\"r-1\"");
        assert_eq!(request.event.id, "r-1");
        assert_eq!(request.event.extensions[KIND], REQUEST);
        let named = BasicProperties::default().with_message_id("m-1".into());
        let mut named = delivery(named, body);
        assert_eq!(open(&mut named).unwrap().unwrap().get(), "\"r-1\"");
        assert_eq!(named.event.id, "m-1");
        let mut number = delivery(BasicProperties::default(), r#"{"pattern":"a","id":7}"#);
        assert_eq!(open(&mut number).unwrap().unwrap().get(), "7");
        assert_eq!(number.event.id, "7");
        // Where no answer can be sent it is no event.
        let asked = BasicProperties::default().with_reply_to("replies".into());
        let refusal = read(&mut delivery(asked, body)).unwrap_err();
        assert!(refusal.contains("[[request]]"), "{refusal}");
        assert!(event(body).is_ok());
    }

    #[test]
    fn a_client_reads_a_response_or_an_error() {
        let id: Box<RawValue> = serde_json::from_str("\"r-1\"").unwrap();
        let said = |status, content_type: &str, body: &'static [u8]| {
            let reply = answer(
                &id,
                Reply {
                    status,
                    content_type: Some(content_type.to_owned()),
                    body: bytes::Bytes::from_static(body),
                },
            );
            let text = String::from_utf8(reply.body.to_vec()).unwrap();
            let inner = text.strip_prefix("{\"id\":\"r-1\",").unwrap();
            let inner = inner.strip_suffix(",\"isDisposed\":true}").unwrap();
            inner.to_owned()
        };
        assert_eq!(
            said(200, JSON, b"{\"n\":1e400}"),
            "\"response\":{\"n\":1e400}"
        );
        assert_eq!(said(201, JSON, b"false"), "\"response\":false");
        assert_eq!(said(200, JSON, b"{broken"), "\"response\":\"{broken\"");
        assert_eq!(said(200, "text/plain", b"3"), "\"response\":\"3\"");
        assert_eq!(said(204, "", b""), "\"response\":null");
        let binary = said(200, "image/png", b"\xff");
        assert!(
            binary.starts_with("\"err\":{") && binary.contains("502"),
            "{binary}"
        );
        assert_eq!(
            said(422, "application/problem+json", b"{\"a\":1}"),
            "\"err\":{\"a\":1}"
        );
        for body in [&b"null"[..], b"\"\"", b"0", b"false"] {
            let error = said(400, JSON, body);
            assert!(error.contains("\"statusCode\":400"), "{error}");
        }
        let empty = said(503, "", b"");
        assert!(
            empty.contains("\"message\":\"the target answered 503\""),
            "{empty}"
        );
        let text = said(404, "text/plain", b"no such \"order\"");
        assert!(text.contains(r#""message":"no such \"order\"""#), "{text}");
    }
}
