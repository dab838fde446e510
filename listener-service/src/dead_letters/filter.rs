//! Which dead letters a request for many of them means.

use url::form_urlencoded;

/// Dead letters replayed in a second, unless the request says otherwise.
const RATE_DEFAULT: u32 = 50;
const RATE_MAX: u32 = 1000;

/// A query of `GET /dead-letters`, checked as far as a mistake would replay too much. What else is
/// wrong with it logger-service says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Filter {
    query: String,
    /// Dead letters a second.
    pub(super) rate: u32,
}

impl Filter {
    /// Reads the query of `POST /dead-letters/replay`: the filters of a listing, and `rate`.
    ///
    /// # Errors
    /// What is wrong with it. One filter or `all=true` must be there, since nobody should replay
    /// everything by forgetting a parameter.
    pub(super) fn parse(query: &str) -> Result<Self, String> {
        check_given(query)?;
        let mut filters = form_urlencoded::Serializer::new(String::new());
        let mut rate = RATE_DEFAULT;
        let mut narrowed = false;
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            match (name.as_ref(), value.as_ref()) {
                ("rate", text) => rate = parse_rate(text)?,
                ("all", "true") => narrowed = true,
                ("all", _) => return Err("the parameter all can only be true".to_owned()),
                ("limit" | "cursor", _) => {
                    return Err(format!("the parameter {name} is for listing"));
                }
                ("state", "dead" | "discarded") => {
                    filters.append_pair(&name, &value);
                }
                ("state", _) => {
                    return Err("the parameter state is not dead or discarded".to_owned());
                }
                (name, value) => {
                    narrowed = true;
                    filters.append_pair(name, value);
                }
            }
        }
        if !narrowed {
            return Err("give a filter, or all=true for every dead letter".to_owned());
        }
        let query = filters.finish();
        Ok(Self { query, rate })
    }

    /// The query of one page, `cursor` being where the page before it ended.
    pub(super) fn page(&self, cursor: Option<&str>, limit: usize) -> String {
        let mut query = form_urlencoded::Serializer::new(self.query.clone());
        query.append_pair("limit", &limit.to_string());
        if let Some(cursor) = cursor {
            query.append_pair("cursor", cursor);
        }
        query.finish()
    }
}

/// Refuses a parameter without a value: it would count as absent, and mean more than was meant.
pub(super) fn check_given(query: &str) -> Result<(), String> {
    let mut parameters = form_urlencoded::parse(query.as_bytes());
    match parameters.find(|(_, value)| value.is_empty()) {
        Some((name, _)) => Err(format!("the parameter {name} has no value")),
        None => Ok(()),
    }
}

fn parse_rate(text: &str) -> Result<u32, String> {
    let rate = text.parse().ok();
    rate.filter(|rate| (1..=RATE_MAX).contains(rate))
        .ok_or_else(|| format!("the parameter rate is not a number from 1 to {RATE_MAX}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_pass_on_and_the_rate_does_not() {
        let filter = Filter::parse("route=mailer&rate=7&q=a%26b&state=discarded").unwrap();
        assert_eq!(filter.rate, 7);
        assert_eq!(
            filter.page(Some("x"), 2),
            "route=mailer&q=a%26b&state=discarded&limit=2&cursor=x"
        );
        let all = Filter::parse("all=true").unwrap();
        assert_eq!(all.rate, RATE_DEFAULT);
        assert_eq!(all.page(None, 5), "limit=5");
    }

    #[test]
    fn a_request_that_could_mean_too_much_is_refused() {
        for query in [
            "",
            "rate=5",
            "route=",
            "route=a&type=",
            "state=dead",
            "all=false",
            "all",
            "route=a&state=replayed",
            "route=a&state=any",
            "route=a&limit=1",
            "route=a&cursor=x",
            "route=a&rate=0",
            "route=a&rate=1001",
            "route=a&rate=-1",
            "route=a&rate=many",
        ] {
            assert!(Filter::parse(query).is_err(), "{query}");
        }
    }
}
