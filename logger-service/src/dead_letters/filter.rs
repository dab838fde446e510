//! Which dead letters are listed, or discarded together.

use jiff::Timestamp;
use serde::Deserialize;
use service_kit::problem::Problem;

use crate::dialect::Dialect;
use crate::listing::parameter::{text, time};
use crate::listing::{Conditions, Fingerprint, TypePattern};

/// The query of `GET /dead-letters` and of `POST /dead-letters/discard`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Parameters {
    route: String,
    #[serde(rename = "type")]
    event_type: String,
    event: String,
    status: String,
    q: String,
    since: String,
    until: String,
    pub(crate) state: String,
    pub(crate) limit: String,
    pub(crate) cursor: String,
    pub(crate) all: String,
}

/// Conditions that all hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Filter {
    route: Option<String>,
    event_type: Option<TypePattern>,
    event_id: Option<String>,
    status: Option<u16>,
    /// Occurs in the reason or the answer; ASCII letters match in either case.
    text: Option<String>,
    /// Died at this time or later.
    since: Option<Timestamp>,
    /// Died before this time.
    until: Option<Timestamp>,
}

/// What has become of a dead letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// Nothing yet.
    Dead,
    Replayed,
    Discarded,
}

impl State {
    /// The parameter `state`; `None` is any.
    pub(crate) fn parse(value: &str) -> Result<Option<Self>, Problem> {
        match value {
            "" | "dead" => Ok(Some(Self::Dead)),
            "replayed" => Ok(Some(Self::Replayed)),
            "discarded" => Ok(Some(Self::Discarded)),
            "any" => Ok(None),
            _ => Err(Problem::bad_request(
                "the parameter state is not dead, replayed, discarded or any",
            )),
        }
    }

    /// As it stands in the table and in answers.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Dead => "dead",
            Self::Replayed => "replayed",
            Self::Discarded => "discarded",
        }
    }
}

impl Filter {
    /// Checks the parameters; every fault is a 400 that names the parameter.
    pub(crate) fn parse(parameters: &Parameters) -> Result<Self, Problem> {
        Ok(Self {
            route: text("route", &parameters.route)?,
            event_type: TypePattern::parse("type", &parameters.event_type)?,
            event_id: text("event", &parameters.event)?,
            status: status(&parameters.status)?,
            text: text("q", &parameters.q)?,
            since: time("since", &parameters.since)?,
            until: time("until", &parameters.until)?,
        })
    }

    /// The dead letters of the event with this id, in whatever state.
    pub(crate) fn of_event(event_id: String) -> Self {
        Self {
            event_id: Some(event_id),
            ..Self::default()
        }
    }

    /// Whether every dead letter passes.
    pub(crate) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Identifies the listing in its cursors.
    pub(crate) fn fingerprint(&self, state: Option<State>) -> Fingerprint {
        let event_type = self.event_type.as_ref();
        let status = self.status.map(|status| status.to_string());
        let since = self.since.map(|time| time.to_string());
        let until = self.until.map(|time| time.to_string());
        Fingerprint::new(
            "dead letters",
            &[
                state.map(State::as_str),
                self.route.as_deref(),
                event_type.and_then(TypePattern::exact),
                event_type.and_then(TypePattern::prefix),
                self.event_id.as_deref(),
                status.as_deref(),
                self.text.as_deref(),
                since.as_deref(),
                until.as_deref(),
            ],
        )
    }

    pub(super) fn conditions(&self, state: Option<State>, dialect: Dialect) -> Conditions {
        let mut conditions = Conditions::none();
        conditions.text("state = $", state.map(State::as_str));
        conditions.text("route = $", self.route.as_deref());
        conditions.event_type(self.event_type.as_ref());
        conditions.text("event_id = $", self.event_id.as_deref());
        conditions.number("status = $", self.status.map(i64::from));
        let prose = [dialect.folded("reason"), dialect.folded("answer")];
        conditions.contains(&prose, self.text.as_deref());
        let since = self.since.map(Timestamp::as_microsecond);
        conditions.number("died_at >= $", since);
        let until = self.until.map(Timestamp::as_microsecond);
        conditions.number("died_at < $", until);
        conditions
    }
}

fn status(value: &str) -> Result<Option<u16>, Problem> {
    if value.is_empty() {
        return Ok(None);
    }
    value
        .parse()
        .map(Some)
        .map_err(|_| Problem::bad_request("the parameter status is not an HTTP status"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_parameter_makes_another_listing() {
        let time = || "2026-01-02T03:04:05Z".to_owned();
        let text = || "1".to_owned();
        let none = Parameters::default;
        #[rustfmt::skip]
        let filters = [
            none(),
            Parameters { route: text(), ..none() },
            Parameters { event_type: text(), ..none() },
            Parameters { event_type: "1*".to_owned(), ..none() },
            Parameters { event: text(), ..none() },
            Parameters { status: text(), ..none() },
            Parameters { q: text(), ..none() },
            Parameters { since: time(), ..none() },
            Parameters { until: time(), ..none() },
        ]
        .map(|parameters| Filter::parse(&parameters).unwrap());
        let states = [
            None,
            Some(State::Dead),
            Some(State::Replayed),
            Some(State::Discarded),
        ];
        let fingerprints = filters
            .iter()
            .flat_map(|filter| states.map(|state| filter.fingerprint(state)));
        let distinct: std::collections::HashSet<_> = fingerprints.collect();
        assert_eq!(distinct.len(), filters.len() * states.len());
        let empty = filters.iter().filter(|filter| filter.is_empty());
        assert_eq!(empty.count(), 1);
    }
}
