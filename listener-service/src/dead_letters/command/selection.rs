//! The filters of a command line.

use anyhow::ensure;
use clap::{Args, builder::NonEmptyStringValueParser};
use url::form_urlencoded;

/// Which dead letters to select; all given filters must match.
#[derive(Args, Debug)]
pub struct Selection {
    /// Of this route
    #[arg(long, value_parser = NonEmptyStringValueParser::new())]
    route: Option<String>,
    /// Of this event type; `order.*` for all that begins with `order.`
    #[arg(long = "type", value_parser = NonEmptyStringValueParser::new())]
    event_type: Option<String>,
    /// With this event id
    #[arg(long, value_parser = NonEmptyStringValueParser::new())]
    event: Option<String>,
    /// Whose target answered with this HTTP status
    #[arg(long)]
    status: Option<u16>,
    /// With this text in the reason or in the target's answer
    #[arg(long, value_parser = NonEmptyStringValueParser::new())]
    text: Option<String>,
    /// Dead since this time (RFC 3339)
    #[arg(long, value_parser = NonEmptyStringValueParser::new())]
    since: Option<String>,
    /// Dead before this time (RFC 3339)
    #[arg(long, value_parser = NonEmptyStringValueParser::new())]
    until: Option<String>,
}

impl Selection {
    pub(super) fn query(&self) -> form_urlencoded::Serializer<'static, String> {
        let status = self.status.map(|status| status.to_string());
        let mut query = form_urlencoded::Serializer::new(String::new());
        for (name, value) in [
            ("route", &self.route),
            ("type", &self.event_type),
            ("event", &self.event),
            ("status", &status),
            ("q", &self.text),
            ("since", &self.since),
            ("until", &self.until),
        ] {
            if let Some(value) = value {
                query.append_pair(name, value);
            }
        }
        query
    }

    /// With both ids and filters it would be unclear which is meant.
    pub(super) fn check(&self, ids: &[String], all: bool, discarded: bool) -> anyhow::Result<()> {
        let filters = !self.query().finish().is_empty();
        ensure!(ids.is_empty() || !filters, "give ids or filters, not both");
        ensure!(!all || !filters, "give filters or --all, not both");
        ensure!(
            !ids.is_empty() || filters || all || discarded,
            "give ids, a filter, or --all for every dead letter"
        );
        Ok(())
    }
}
