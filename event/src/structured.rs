//! One event in the JSON format: an object with the attributes and the data as its members.

use std::borrow::Cow;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::{
    Attributes, Event, Invalid, attribute, attributes, json, media_type, members::Members,
};

/// The media type of one event.
pub const MEDIA_TYPE: &str = "application/cloudevents+json";
/// What the media types of all formats of events, and of batches, begin with.
const MEDIA_TYPES: &str = "application/cloudevents";

const JSON: &str = "application/json";

/// Whether data of this media type is an event, or several, in whatever format.
pub fn is_event(media_type: &str) -> bool {
    let essence = media_type::essence(media_type);
    let prefix = essence.get(..MEDIA_TYPES.len());
    prefix.is_some_and(|prefix| prefix.eq_ignore_ascii_case(MEDIA_TYPES))
}

/// Whether data of this media type is what [`read`] reads.
pub fn is_structured(media_type: &str) -> bool {
    media_type::essence(media_type).eq_ignore_ascii_case(MEDIA_TYPE)
        && media_type::is_utf8(media_type)
}

/// Reads the event in `text`, a part of `body` or all of it.
///
/// # Errors
/// Names the attribute that is missing or wrong.
pub fn read(body: &Bytes, text: &[u8]) -> Result<Event, Invalid> {
    let Members(mut members) = json::parse(text)?;
    let data = members.remove("data");
    // A member that is null is one that is not there, save `data`.
    let base64 = members.remove("data_base64").filter(|raw| !is_null(raw));
    let mut attributes = Attributes::new();
    for (name, raw) in members {
        // Here, so that none that is null may have any name.
        attribute::check_name(&name)?;
        if let Some(value) = value(&name, raw)? {
            attributes.insert(name, value);
        }
    }
    let data = match (data, base64) {
        (None, None) => Bytes::new(),
        (Some(data), None) => {
            let declared = attributes.entry("datacontenttype".to_owned());
            plain(body, data, declared.or_insert_with(|| JSON.to_owned()))?
        }
        (None, Some(encoded)) => {
            let declared = attributes.get("datacontenttype").map(String::as_str);
            decoded(encoded, declared.unwrap_or_default())?
        }
        (Some(_), Some(_)) => {
            return Err(Invalid::new(
                "an event has either data or data_base64, not both",
            ));
        }
    };
    let declared = attributes.get("datacontenttype").map(String::as_str);
    if declared.is_some_and(is_event) {
        // On its way it would be taken for what it holds.
        return Err(attribute::wrong(
            "datacontenttype",
            "declares the data to be an event",
        ));
    }
    attributes::into_event(attributes, data)
}

/// Writes an event: data that is JSON as it is, other text as a string, anything else in base64.
pub fn write(event: &Event) -> Bytes {
    let mut text = String::from("{");
    let required = [
        ("specversion", attributes::SPEC_VERSION),
        ("id", &event.id),
        ("type", &event.event_type),
        ("source", &event.source),
    ];
    let optional = [
        ("subject", &event.subject),
        ("time", &event.time),
        ("datacontenttype", &event.content_type),
        // No attribute of the specification: the data in base64 is as compressed as it came.
        ("datacontentencoding", &event.content_encoding),
    ];
    let optional = optional
        .into_iter()
        .filter_map(|(name, value)| Some((name, value.as_deref()?)));
    let members: Vec<_> = required.into_iter().chain(optional).collect();
    for (name, value) in &members {
        member(&mut text, name, &Value::from(*value).to_string());
    }
    for (name, value) in &event.extensions {
        let is_taken = members.iter().any(|(taken, _)| taken == name);
        if !is_taken && attribute::check_name(name).is_ok() {
            member(&mut text, name, &Value::from(value.as_str()).to_string());
        }
    }
    if let Some((name, data)) = data(event) {
        member(&mut text, name, &data);
    }
    text.push('}');
    Bytes::from(text)
}

fn member(text: &mut String, name: &str, json: &str) {
    if text.len() > 1 {
        text.push(',');
    }
    text.push_str(&Value::from(name).to_string());
    text.push(':');
    text.push_str(json);
}

/// The member with the data; none where there is none.
fn data(event: &Event) -> Option<(&'static str, Cow<'_, str>)> {
    if event.data.is_empty() {
        return None;
    }
    let media_type = event.content_type.as_deref().unwrap_or_default();
    let text = std::str::from_utf8(&event.data).ok();
    let text = text.filter(|_| event.content_encoding.is_none() && !media_type.is_empty());
    match text {
        Some(text) if media_type::is_json(media_type) && json::check(&event.data).is_ok() => {
            Some(("data", Cow::Borrowed(text)))
        }
        Some(text) if !media_type::declares_json(media_type) && media_type::is_utf8(media_type) => {
            Some(("data", Cow::Owned(Value::from(text).to_string())))
        }
        _ => {
            let encoded = format!("\"{}\"", STANDARD.encode(&event.data));
            Some(("data_base64", Cow::Owned(encoded)))
        }
    }
}

/// The id in an event that may be wrong otherwise, if it is one.
pub fn id_of(text: &[u8]) -> Option<String> {
    let Members(members) = json::parse(text).ok()?;
    let id = value("id", members.get("id")?).ok()??;
    attribute::check("id", &id).is_ok().then_some(id)
}

/// The text of an attribute (JSON format, 2.2); `None` for one that is null and so not there.
fn value(name: &str, raw: &RawValue) -> Result<Option<String>, Invalid> {
    let is_text = matches!(
        name,
        "id" | "source"
            | "type"
            | "specversion"
            | "datacontenttype"
            | "dataschema"
            | "subject"
            | "time"
    );
    let text = raw.get();
    match text.as_bytes().first() {
        Some(b'"') => serde_json::from_str(text)
            .map(Some)
            .map_err(|_| attribute::wrong(name, "is not text")),
        Some(b'n') => Ok(None),
        Some(_) if is_text => Err(attribute::wrong(name, "must be a string")),
        Some(b't' | b'f') => Ok(Some(text.to_owned())),
        _ => match text.parse::<i32>() {
            Ok(integer) => Ok(Some(integer.to_string())),
            Err(_) => Err(attribute::wrong(
                name,
                "must be a string, a boolean, or an integer of 32 bits",
            )),
        },
    }
}

/// The member `data` (JSON format, 3.1.2): JSON as it was written, and any other text as the string
/// that it stands in.
fn plain(body: &Bytes, data: &RawValue, media_type: &str) -> Result<Bytes, Invalid> {
    if media_type::declares_json(media_type) {
        return Ok(body.slice_ref(data.get().as_bytes()));
    }
    let text: String = serde_json::from_str(data.get()).map_err(|_| {
        Invalid::new("data must be a string, as datacontenttype says that it is not JSON")
    })?;
    if !media_type::is_utf8(media_type) && !text.is_ascii() {
        return Err(Invalid::new(
            "data in another charset than UTF-8 must be sent as data_base64",
        ));
    }
    Ok(Bytes::from(text))
}

fn decoded(encoded: &RawValue, media_type: &str) -> Result<Bytes, Invalid> {
    let text: Option<String> = serde_json::from_str(encoded.get()).ok();
    let data = text.and_then(|text| STANDARD.decode(text).ok());
    let data = data.ok_or_else(|| {
        Invalid::new("data_base64 must be a string with base64 (RFC 4648, 4), padded")
    })?;
    if media_type::is_json(media_type) && !data.is_empty() {
        json::check(&data).map_err(|problem| {
            Invalid::new(format!(
                "data_base64 is not what datacontenttype says: {}",
                problem
            ))
        })?;
    }
    Ok(Bytes::from(data))
}

fn is_null(raw: &RawValue) -> bool {
    raw.get() == "null"
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An event with these members besides the four that each one has.
    fn event(more: &str) -> Bytes {
        let required = r#""specversion":"1.0","id":"1","type":"order.placed","source":"/shop""#;
        Bytes::from(format!("{{{required}{more}}}"))
    }

    fn read_with(more: &str) -> Result<Event, String> {
        let body = event(more);
        let read = read(&body, &body);
        read.map_err(|invalid| invalid.to_string())
    }

    #[test]
    fn attributes_of_other_types_become_text() {
        let event = read_with(r#","a":true,"b":-5,"c":null,"subject":null,"E":null"#);
        assert!(event.unwrap_err().contains("attribute E"));
        let event = read_with(r#","a":true,"b":-5,"c":null,"subject":null,"d":"\u00e9""#).unwrap();
        assert_eq!(event.subject, None);
        let extensions: Vec<_> = event.extensions.into_iter().collect();
        let expected = [("a", "true"), ("b", "-5"), ("d", "é")];
        assert_eq!(
            extensions,
            expected.map(|(name, text)| (name.to_owned(), text.to_owned()))
        );
        for wrong in ["1.5", "1e2", "2147483648", "{}", "[]"] {
            assert!(
                read_with(&format!(r#","a":{wrong}"#))
                    .unwrap_err()
                    .contains("attribute a")
            );
        }
        for name in ["subject", "time", "dataschema", "datacontenttype"] {
            assert!(
                read_with(&format!(r#","{name}":1"#))
                    .unwrap_err()
                    .contains(name)
            );
        }
    }

    #[test]
    fn data_is_taken_as_its_type_says() {
        let read = |more: &str| read_with(more).map(|event| (event.content_type, event.data));
        let typed = |content_type: &str, data: &'static [u8]| {
            Ok((Some(content_type.to_owned()), Bytes::from_static(data)))
        };
        assert_eq!(read(""), Ok((None, Bytes::new())));
        assert_eq!(
            read(r#","data": { "n":1e400} "#),
            typed(JSON, b"{ \"n\":1e400}")
        );
        assert_eq!(read(r#","data":null"#), typed(JSON, b"null"));
        assert_eq!(read(r#","data":"a""#), typed(JSON, b"\"a\""));
        let text = r#","datacontenttype":"text/plain","data":"a\né""#;
        assert_eq!(read(text), typed("text/plain", "a\né".as_bytes()));
        assert_eq!(
            read(r#","data_base64":"AP8="}"#.trim_end_matches('}')),
            Ok((None, Bytes::from_static(b"\0\xff")))
        );
        let escaped = r#","datacontenttype":"image\/png","data_base64":"\/\/8=""#;
        assert_eq!(read(escaped), typed("image/png", b"\xff\xff"));
        for wrong in [
            r#","data":1,"data_base64":"AA==""#,
            r#","data_base64":"AA""#,
            r#","data_base64":"!!!!""#,
            r#","data_base64":1"#,
            r#","datacontenttype":"text/plain","data":{}"#,
            r#","datacontenttype":"text/plain; charset=latin1","data":"é""#,
            r#","datacontenttype":"application/json","data_base64":"AA==""#,
        ] {
            assert!(read(wrong).unwrap_err().contains("data"), "{wrong}");
        }
    }

    #[test]
    fn what_is_missing_or_wrong_is_named() {
        for missing in ["specversion", "id", "type", "source"] {
            let body = String::from_utf8(event("").to_vec()).unwrap();
            let body = Bytes::from(body.replace(&format!("\"{missing}\""), "\"other\""));
            let problem = read(&body, &body).unwrap_err();
            assert_eq!(
                problem.to_string(),
                format!("the attribute {missing} is missing")
            );
        }
        for (more, named) in [
            (r#","id":"2""#, "duplicate field `id`"),
            (r#","a":"\u0000""#, "attribute a"),
            (r#","a":"\ud800""#, "attribute a"),
            (r#","a":"\u0007""#, "attribute a"),
            (r#","time":"now""#, "attribute time"),
            (r#","A":"x""#, "attribute A"),
            (r#","a_b":"x""#, "attribute a_b"),
        ] {
            let refusal = read_with(more).unwrap_err();
            assert!(refusal.contains(named), "{more}: {refusal}");
        }
        let many: String = (0..200)
            .map(|number| format!(r#","a{number}":"x""#))
            .collect();
        assert!(read_with(&many).unwrap_err().contains("members"));
        for body in ["", "[]", "1", "\u{feff}{}", "{\"a\":\"\u{1}\"}"] {
            assert!(read(&Bytes::from(body), body.as_bytes()).is_err());
        }
    }
}
