//! Which events a listing shows.

use jiff::Timestamp;
use serde::Deserialize;
use service_kit::problem::Problem;
use sha2::{Digest, Sha256};

use crate::cloud_event::parse_rfc3339;
use crate::event::check_text;

/// The query of `GET /logs`. An empty value counts as absent, as forms send it.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Parameters {
    #[serde(rename = "type")]
    event_type: String,
    source: String,
    name: String,
    q: String,
    since: String,
    until: String,
    pub(crate) limit: String,
    pub(crate) cursor: String,
}

/// Conditions that all hold for every event of a listing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Filter {
    pub(crate) event_type: Option<TypePattern>,
    pub(crate) source: Option<String>,
    pub(crate) name: Option<String>,
    /// Occurs in the text of the data; ASCII letters match in either case.
    pub(crate) text: Option<String>,
    /// Received at this time or later.
    pub(crate) since: Option<Timestamp>,
    /// Received before this time.
    pub(crate) until: Option<Timestamp>,
}

/// `order.placed` is that type; `order.*` is every type that begins with `order.`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum TypePattern {
    Exact(String),
    Prefix(String),
}

impl Filter {
    /// Checks the parameters; every fault is a 400 that names the parameter.
    pub(crate) fn parse(parameters: &Parameters) -> Result<Self, Problem> {
        let event_type = text("type", &parameters.event_type)?;
        Ok(Self {
            event_type: event_type.map(|pattern| match pattern.strip_suffix('*') {
                Some(prefix) => TypePattern::Prefix(prefix.to_owned()),
                None => TypePattern::Exact(pattern),
            }),
            source: text("source", &parameters.source)?,
            name: text("name", &parameters.name)?,
            text: text("q", &parameters.q)?,
            since: time("since", &parameters.since)?,
            until: time("until", &parameters.until)?,
        })
    }

    /// Identifies the filter in a cursor, which is good for the same listing only.
    pub(crate) fn fingerprint(&self) -> [u8; 32] {
        let (exact, prefix) = match &self.event_type {
            Some(TypePattern::Exact(exact)) => (Some(exact.clone()), None),
            Some(TypePattern::Prefix(prefix)) => (None, Some(prefix.clone())),
            None => (None, None),
        };
        let since = self.since.map(|time| time.to_string());
        let until = self.until.map(|time| time.to_string());
        let mut hash = Sha256::new();
        for part in [
            &exact,
            &prefix,
            &self.source,
            &self.name,
            &self.text,
            &since,
            &until,
        ] {
            // No part contains U+0000 or is empty but a prefix, whose place tells it apart.
            hash.update([u8::from(part.is_some())]);
            hash.update(part.as_deref().unwrap_or_default());
            hash.update([0]);
        }
        hash.finalize().into()
    }
}

fn text(parameter: &str, value: &str) -> Result<Option<String>, Problem> {
    if value.is_empty() {
        return Ok(None);
    }
    check_text(&format!("the parameter {parameter}"), value)?;
    Ok(Some(value.to_owned()))
}

fn time(parameter: &str, value: &str) -> Result<Option<Timestamp>, Problem> {
    if value.is_empty() {
        return Ok(None);
    }
    let fault = || format!("the parameter {parameter} is not an RFC 3339 timestamp");
    parse_rfc3339(value)
        .map(Some)
        .ok_or_else(|| Problem::bad_request(fault()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_final_asterisk_makes_a_prefix() {
        let parse = |event_type: &str| {
            let parameters = Parameters {
                event_type: event_type.to_owned(),
                ..Default::default()
            };
            Filter::parse(&parameters).unwrap().event_type
        };
        assert_eq!(parse(""), None);
        assert_eq!(parse("a.b"), Some(TypePattern::Exact("a.b".to_owned())));
        assert_eq!(parse("a.*"), Some(TypePattern::Prefix("a.".to_owned())));
        assert_eq!(parse("*"), Some(TypePattern::Prefix(String::new())));
    }

    #[test]
    fn different_filters_have_different_fingerprints() {
        let some = |text: &str| Some(text.to_owned());
        let prefix = |text: &str| Some(TypePattern::Prefix(text.to_owned()));
        let exact = |text: &str| Some(TypePattern::Exact(text.to_owned()));
        let filters = [
            Filter::default(),
            Filter {
                event_type: exact("a"),
                ..Filter::default()
            },
            Filter {
                event_type: prefix("a"),
                ..Filter::default()
            },
            Filter {
                event_type: prefix(""),
                ..Filter::default()
            },
            Filter {
                source: some("a"),
                ..Filter::default()
            },
            Filter {
                name: some("a"),
                ..Filter::default()
            },
            Filter {
                text: some("a"),
                ..Filter::default()
            },
            Filter {
                since: Some(Timestamp::UNIX_EPOCH),
                ..Filter::default()
            },
            Filter {
                until: Some(Timestamp::UNIX_EPOCH),
                ..Filter::default()
            },
        ];
        let distinct: std::collections::HashSet<_> =
            filters.iter().map(Filter::fingerprint).collect();
        assert_eq!(distinct.len(), filters.len());
    }
}
