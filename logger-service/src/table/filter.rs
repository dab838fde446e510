//! Which events a listing shows.

use jiff::Timestamp;
use serde::Deserialize;
use service_kit::problem::Problem;

use crate::listing::parameter::{text, time};
use crate::listing::{Fingerprint, TypePattern};

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

impl Filter {
    /// Checks the parameters; every fault is a 400 that names the parameter.
    pub(crate) fn parse(parameters: &Parameters) -> Result<Self, Problem> {
        Ok(Self {
            event_type: TypePattern::parse("type", &parameters.event_type)?,
            source: text("source", &parameters.source)?,
            name: text("name", &parameters.name)?,
            text: text("q", &parameters.q)?,
            since: time("since", &parameters.since)?,
            until: time("until", &parameters.until)?,
        })
    }

    /// Identifies the listing in its cursors.
    pub(crate) fn fingerprint(&self) -> Fingerprint {
        let event_type = self.event_type.as_ref();
        let since = self.since.map(|time| time.to_string());
        let until = self.until.map(|time| time.to_string());
        Fingerprint::new(
            "logs",
            &[
                event_type.and_then(TypePattern::exact),
                event_type.and_then(TypePattern::prefix),
                self.source.as_deref(),
                self.name.as_deref(),
                self.text.as_deref(),
                since.as_deref(),
                until.as_deref(),
            ],
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
