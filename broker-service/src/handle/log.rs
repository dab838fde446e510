//! The action `log`: the entry becomes an event of the type `log.<LEVEL>`.

use std::{borrow::Cow, sync::Arc};

use axum::{http::HeaderMap, response::Response};
use bytes::Bytes;
use event::{Event, EventType};
use serde::Deserialize;
use serde_json::value::RawValue;
use service_kit::{json as body, problem::Problem};

use crate::{
    App, SOURCE,
    publication::{Accepted, Publication},
};

const NAME_BYTES_MAX: usize = 1024;
const LEVEL_BYTES_MAX: usize = 32;
const DEFAULT_LEVEL: &str = "INFO";

/// Only read to be checked: the event carries the bytes as they came.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
    #[serde(borrow)]
    #[expect(dead_code, reason = "must be there, whatever it is")]
    data: &'a RawValue,
    #[serde(borrow)]
    level: Option<Cow<'a, str>>,
}

pub(super) async fn log(
    app: &Arc<App>,
    headers: &HeaderMap,
    key: EventType,
    data: Bytes,
) -> Result<Response, Problem> {
    let event = Event::new(&key, SOURCE, "application/json", data);
    let publication = Publication::new(event, key);
    publication.publish(app, headers, Accepted::Logged).await
}

/// A smaller entry is copied: it would keep the whole buffer that the connection was read into.
const COPIED_BYTES: usize = 8 * 1024;

/// The routing key of an entry, and the entry itself as data, byte for byte. A large one stays a part
/// of its body, and so of the memory budget.
pub(super) fn read(request: &Bytes, entry: &RawValue) -> Result<(EventType, Bytes), Problem> {
    let routing_key = routing_key(&body::parse_part(entry)?)?;
    let data = entry.get().as_bytes();
    let data = if data.len() < COPIED_BYTES {
        Bytes::copy_from_slice(data)
    } else {
        request.slice_ref(data)
    };
    Ok((routing_key, data))
}

fn routing_key(entry: &Entry<'_>) -> Result<EventType, Problem> {
    let Entry { name, level, .. } = entry;
    if name.is_empty() || name.len() > NAME_BYTES_MAX || name.contains('\0') {
        return Err(Problem::bad_request(format!(
            "log.name must have 1 to {NAME_BYTES_MAX} bytes, and no U+0000"
        )));
    }
    let level = level.as_deref().unwrap_or(DEFAULT_LEVEL);
    let is_word = !level.contains('.') && level.len() <= LEVEL_BYTES_MAX;
    let key = format!("log.{}", level.to_ascii_uppercase()).parse();
    key.ok().filter(|_| is_word).ok_or_else(|| {
        Problem::bad_request(format!(
            "log.level must be one word of A-Z, a-z, 0-9, _ and - of at most {LEVEL_BYTES_MAX} bytes"
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(entry: &str) -> Result<String, String> {
        body::parse(entry.as_bytes())
            .and_then(|entry| routing_key(&entry))
            .map(|key| key.to_string())
            .map_err(|problem| problem.message().to_owned())
    }

    #[test]
    fn the_level_makes_the_routing_key() {
        assert_eq!(key(r#"{"name":"n","data":1}"#).unwrap(), "log.INFO");
        assert_eq!(
            key(r#"{"name":"n","data":null,"level":"warn"}"#).unwrap(),
            "log.WARN"
        );
        for level in ["", "a.b", "*", "#", "a b", &"x".repeat(33)] {
            assert!(
                key(&format!(r#"{{"name":"n","data":1,"level":"{level}"}}"#)).is_err(),
                "{level}"
            );
        }
    }

    #[test]
    fn an_entry_needs_a_name_and_data_and_nothing_else() {
        for entry in [
            r#"{"data":1}"#,
            r#"{"name":"n"}"#,
            r#"{"name":"","data":1}"#,
            r#"{"name":"a\u0000","data":1}"#,
            r#"{"name":1,"data":1}"#,
            r#"{"name":"n","name":"m","data":1}"#,
            r#"{"name":"n","data":1,"extra":1}"#,
            "[]",
        ] {
            assert!(key(entry).is_err(), "{entry}");
        }
        let long = format!(r#"{{"name":"{}","data":1}}"#, "n".repeat(1025));
        assert!(key(&long).is_err());
    }
}
