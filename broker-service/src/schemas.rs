//! What the data of an event must look like, by its type: a folder of JSON Schemas.

mod folder;
mod strict;
mod violation;

use std::{collections::HashMap, path::Path, sync::Arc};

use bytes::Bytes;
use event::{Event, media_type};
use jsonschema::Validator;
use serde_json::{Value, json};
use service_kit::{json::shown, problem::Problem};
use tracing::info;

use self::strict::Strict;

/// Data up to this size is checked at once and for all its violations. Larger data is checked beside
/// the async threads and for its first violation, as the others may take many times its size.
const SMALL_BYTES_MAX: usize = 64 * 1024;
/// Violations that a client is told.
const VIOLATIONS_MAX: usize = 10;

/// The schemas by the event type that they are for.
#[derive(Clone, Default)]
pub(crate) struct Schemas {
    by_type: Arc<HashMap<String, Arc<Validator>>>,
}

impl Schemas {
    /// Reads and compiles every `<type>.json` of a folder.
    ///
    /// # Errors
    /// With the name of the file that is no schema, and the reason.
    pub(crate) fn load(folder: &Path) -> anyhow::Result<Self> {
        let by_type = folder::load(folder)?;
        info!(folder = %folder.display(), types = by_type.len(), "schemas loaded");
        Ok(Self {
            by_type: Arc::new(by_type),
        })
    }

    /// 422 when the data of an event violates the schema of its type, if there is one.
    pub(crate) async fn check(&self, event: &Event) -> Result<(), Problem> {
        let Some(validator) = self.by_type.get(&event.event_type) else {
            return Ok(());
        };
        let is_json = event
            .content_type
            .as_deref()
            .is_some_and(media_type::is_json);
        if !is_json {
            let content_type = event.content_type.as_deref().map_or("missing", shown);
            return Err(violated(&[no_json(&format!(
                "events of this type have a schema, so their data must be JSON, and the Content-Type is \
                 {content_type}: send application/json, in UTF-8"
            ))]));
        }
        let data = event.data.clone();
        let violations = if data.len() <= SMALL_BYTES_MAX {
            violations(validator, &data)
        } else {
            let validator = validator.clone();
            tokio::task::spawn_blocking(move || violations(&validator, &data))
                .await
                .map_err(|_panicked| Problem::internal("the data could not be checked"))?
        };
        if violations.is_empty() {
            return Ok(());
        }
        Err(violated(&violations))
    }
}

/// One place of the data, and what is wrong there.
#[derive(Debug, PartialEq, Eq)]
struct Violation {
    /// RFC 6901.
    pointer: String,
    message: String,
}

fn violations(validator: &Validator, data: &Bytes) -> Vec<Violation> {
    let value = match serde_json::from_slice(data) {
        Ok(Strict(value)) => value,
        // What is JSON all the same: the same member twice, numbers beyond a double, and escapes that
        // are no characters.
        Err(error) => {
            return vec![no_json(&format!(
                "the data is no JSON, or none that can be checked, line {} column {}",
                error.line(),
                error.column()
            ))];
        }
    };
    if validator.is_valid(&value) {
        return Vec::new();
    }
    if data.len() > SMALL_BYTES_MAX {
        let first = validator.validate(&value).err();
        return first.iter().map(violation::of).collect();
    }
    let errors = validator.iter_errors(&value).take(VIOLATIONS_MAX);
    errors.map(|error| violation::of(&error)).collect()
}

fn no_json(message: &str) -> Violation {
    Violation {
        pointer: String::new(),
        message: message.to_owned(),
    }
}

fn violated(violations: &[Violation]) -> Problem {
    let first = violations.first();
    let message = first.map_or_else(String::new, |Violation { pointer, message }| match pointer
        .as_str()
    {
        "" => message.clone(),
        _ => format!("{pointer}: {message}"),
    });
    let errors: Vec<_> = violations
        .iter()
        .map(|Violation { pointer, message }| json!({"pointer": pointer, "message": message}))
        .collect();
    Problem::new(
        axum::http::StatusCode::UNPROCESSABLE_ENTITY,
        "schema-violation",
        format!("the data violates the schema of its type: {message}"),
    )
    .with_extension("errors", Value::Array(errors))
}

#[cfg(test)]
mod tests;
