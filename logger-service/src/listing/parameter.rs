//! The parameters of a query. An empty value counts as absent, as forms send it; every fault is a
//! 400 that names the parameter.

use event::time;
use jiff::Timestamp;
use service_kit::problem::Problem;

use crate::event::check_text;
use crate::listing::{Cursor, Fingerprint};

const LIMIT_DEFAULT: usize = 50;
const LIMIT_MAX: usize = 500;

/// `order.placed` is that type; `order.*` is every type that begins with `order.`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum TypePattern {
    Exact(String),
    Prefix(String),
}

impl TypePattern {
    pub(crate) fn parse(parameter: &str, value: &str) -> Result<Option<Self>, Problem> {
        let pattern = text(parameter, value)?;
        Ok(pattern.map(|pattern| match pattern.strip_suffix('*') {
            Some(prefix) => Self::Prefix(prefix.to_owned()),
            None => Self::Exact(pattern),
        }))
    }

    pub(crate) fn exact(&self) -> Option<&str> {
        match self {
            Self::Exact(exact) => Some(exact),
            Self::Prefix(_) => None,
        }
    }

    pub(crate) fn prefix(&self) -> Option<&str> {
        match self {
            Self::Exact(_) => None,
            Self::Prefix(prefix) => Some(prefix),
        }
    }
}

pub(crate) fn text(parameter: &str, value: &str) -> Result<Option<String>, Problem> {
    if value.is_empty() {
        return Ok(None);
    }
    check_text(format_args!("the parameter {parameter}"), value)?;
    Ok(Some(value.to_owned()))
}

pub(crate) fn time(parameter: &str, value: &str) -> Result<Option<Timestamp>, Problem> {
    if value.is_empty() {
        return Ok(None);
    }
    let fault = || {
        format!(
            "the parameter {parameter} is not an RFC 3339 timestamp, such as 2026-01-31T23:59:59Z"
        )
    };
    time::microseconds(value)
        .map(|time| Timestamp::from_microsecond(time).unwrap_or(Timestamp::MAX))
        .map(Some)
        .ok_or_else(|| Problem::bad_request(fault()))
}

/// The length of a page.
pub(crate) fn limit(value: &str) -> Result<usize, Problem> {
    if value.is_empty() {
        return Ok(LIMIT_DEFAULT);
    }
    let limit = value
        .parse()
        .ok()
        .filter(|limit| (1..=LIMIT_MAX).contains(limit));
    limit.ok_or_else(|| {
        Problem::bad_request(format!(
            "the parameter limit is not a number from 1 to {LIMIT_MAX}"
        ))
    })
}

/// Where the page begins.
pub(crate) fn cursor(value: &str, listing: &Fingerprint) -> Result<Option<Cursor>, Problem> {
    if value.is_empty() {
        return Ok(None);
    }
    Cursor::decode(value, listing).map(Some).ok_or_else(|| {
        Problem::bad_request("the parameter cursor is not a next_cursor of the same filters")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_final_asterisk_makes_a_prefix() {
        let parse = |pattern| TypePattern::parse("type", pattern).unwrap();
        assert_eq!(parse(""), None);
        assert_eq!(parse("a.b"), Some(TypePattern::Exact("a.b".to_owned())));
        assert_eq!(parse("a.*"), Some(TypePattern::Prefix("a.".to_owned())));
        assert_eq!(parse("*"), Some(TypePattern::Prefix(String::new())));
    }
}
