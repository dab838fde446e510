//! The trace that an event belongs to (W3C Trace Context, 3; CloudEvents distributed tracing extension).

use http::HeaderMap;

use crate::Event;

/// Name of the header, and of the attribute.
pub const TRACEPARENT: &str = "traceparent";
/// What vendors add to it; without a `traceparent` it means nothing.
pub const TRACESTATE: &str = "tracestate";
/// What everybody must pass on (3.3.1.5).
const STATE_BYTES_MAX: usize = 512;
const STATE_MEMBERS_MAX: usize = 32;

/// A place in a trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trace {
    parent: String,
    state: Option<String>,
}

impl Trace {
    /// What the headers of a request say, if it is well-formed.
    pub fn read(headers: &HeaderMap) -> Option<Self> {
        let parent = headers.get(TRACEPARENT)?.to_str().ok()?;
        let states: Option<Vec<_>> = headers
            .get_all(TRACESTATE)
            .iter()
            .map(|value| value.to_str().ok())
            .collect();
        Self::new(parent, &states.unwrap_or_default().join(","))
    }

    /// Of the values of both headers; of the second one nothing if it is not well-formed.
    pub fn new(parent: &str, state: &str) -> Option<Self> {
        let lengths = [2, 32, 16, 2];
        let well_formed = parent.split('-').map(str::len).eq(lengths)
            && parent
                .bytes()
                .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f' | b'-'));
        let state = state.trim();
        well_formed.then(|| Self {
            parent: parent.to_owned(),
            state: is_state(state).then(|| state.to_owned()),
        })
    }

    /// Makes `event` a part of this trace, unless it has one of its own.
    pub fn carry_on(&self, event: &mut Event) {
        if event.extensions.contains_key(TRACEPARENT) {
            return;
        }
        let extensions = &mut event.extensions;
        extensions.insert(TRACEPARENT.to_owned(), self.parent.clone());
        if let Some(state) = &self.state {
            let attribute = extensions.entry(TRACESTATE.to_owned());
            attribute.or_insert_with(|| state.clone());
        }
    }
}

fn is_state(text: &str) -> bool {
    let members = text
        .split(',')
        .map(str::trim)
        .filter(|text| !text.is_empty());
    !text.is_empty()
        && text.len() <= STATE_BYTES_MAX
        && text.bytes().all(|byte| matches!(byte, b' '..=b'~'))
        && members.clone().count() <= STATE_MEMBERS_MAX
        && members.clone().all(|member| {
            member
                .split_once('=')
                .is_some_and(|(key, value)| !key.is_empty() && !value.is_empty())
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn only_a_well_formed_parent_is_carried_on() {
        let upper = PARENT.to_ascii_uppercase();
        assert!(Trace::new(PARENT, "").is_some());
        for wrong in [&PARENT[..PARENT.len() - 3], &upper, "junk", ""] {
            assert_eq!(Trace::new(wrong, "a=1"), None);
        }
    }

    #[test]
    fn the_state_is_a_short_list() {
        let state = |text: &str| Trace::new(PARENT, text).unwrap().state;
        for good in ["a=1", "rojo=00f067aa0ba902b7,congo@x=t61", "a=1, b=2"] {
            assert_eq!(state(good).as_deref(), Some(good));
        }
        let many = "a=1,".repeat(33);
        let long = format!("a={}", "x".repeat(511));
        for bad in ["", "a", "=1", "a=", "a=\u{e9}", &many, &long] {
            assert_eq!(state(bad), None, "{bad}");
        }
    }

    #[test]
    fn several_headers_are_one_list() {
        let mut headers = HeaderMap::new();
        headers.insert(TRACEPARENT, PARENT.parse().unwrap());
        headers.append(TRACESTATE, "a=1".parse().unwrap());
        headers.append(TRACESTATE, "b=2".parse().unwrap());
        assert_eq!(
            Trace::read(&headers).unwrap().state.as_deref(),
            Some("a=1,b=2")
        );
    }
}
