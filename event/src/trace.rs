//! The trace that an event belongs to (W3C Trace Context, 3; CloudEvents distributed tracing extension).

use http::HeaderMap;

use crate::Event;

/// Name of the header, and of the attribute.
pub const TRACEPARENT: &str = "traceparent";
/// Vendor data; meaningless without a `traceparent`.
pub const TRACESTATE: &str = "tracestate";
/// Far more than version 00 has.
const PARENT_BYTES_MAX: usize = 256;
/// The least that everyone must pass on (3.3.1.5).
const STATE_BYTES_MAX: usize = 512;
const STATE_MEMBERS_MAX: usize = 32;

/// A position in a trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trace {
    parent: String,
    state: Option<String>,
}

impl Trace {
    /// Read from the headers of a request, if well-formed.
    pub fn read(headers: &HeaderMap) -> Option<Self> {
        let parent = headers.get(TRACEPARENT)?.to_str().ok()?;
        let states: Option<Vec<_>> = headers
            .get_all(TRACESTATE)
            .iter()
            .map(|value| value.to_str().ok())
            .collect();
        Self::new(parent, &states.unwrap_or_default().join(","))
    }

    /// From the values of both headers; ignores a malformed second one.
    pub fn new(parent: &str, state: &str) -> Option<Self> {
        let state = state.trim();
        is_parent(parent).then(|| Self {
            parent: parent.to_owned(),
            state: is_state(state).then(|| state.to_owned()),
        })
    }

    /// The trace that an event belongs to by its attributes, if they are well-formed.
    pub(crate) fn of(event: &Event) -> Option<Self> {
        let state = event.extensions.get(TRACESTATE).map(String::as_str);
        Self::new(
            event.extensions.get(TRACEPARENT)?,
            state.unwrap_or_default(),
        )
    }

    /// The headers of this trace with their values.
    pub(crate) fn headers(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let state = self.state.as_deref().map(|state| (TRACESTATE, state));
        [(TRACEPARENT, self.parent.as_str())]
            .into_iter()
            .chain(state)
    }

    /// Makes `event` a part of this trace, unless it has one of its own, or the rest of one.
    pub fn carry_on(&self, event: &mut Event) {
        let extensions = &mut event.extensions;
        if extensions.contains_key(TRACEPARENT) || extensions.contains_key(TRACESTATE) {
            return;
        }
        for (name, value) in self.headers() {
            extensions.insert(name.to_owned(), value.to_owned());
        }
    }
}

/// Trace Context, 3.2.2. Versions to come may add parts.
fn is_parent(text: &str) -> bool {
    let is_hex = |part: &str, bytes: usize| {
        let digits = part.bytes();
        part.len() == bytes
            && digits
                .into_iter()
                .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    };
    let is_id =
        |part: &str, bytes: usize| is_hex(part, bytes) && part.bytes().any(|byte| byte != b'0');
    let mut parts = text.split('-');
    let mut part = || parts.next().unwrap_or_default();
    let (version, trace, parent, flags) = (part(), part(), part(), part());
    is_hex(version, 2)
        && version != "ff"
        && is_id(trace, 32)
        && is_id(parent, 16)
        && is_hex(flags, 2)
        && (version != "00" || parts.next().is_none())
        && text.len() <= PARENT_BYTES_MAX
        && text.bytes().all(|byte| matches!(byte, b'!'..=b'~'))
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
        let later = format!("01{}-extra", &PARENT[2..]);
        assert!(Trace::new(&later, "").is_some());
        let (more, version) = (format!("{PARENT}-extra"), format!("ff{}", &PARENT[2..]));
        let (no_trace, no_parent) = (
            PARENT.replace("0af7651916cd43dd8448eb211c80319c", &"0".repeat(32)),
            PARENT.replace("b7ad6b7169203331", &"0".repeat(16)),
        );
        let cut = &PARENT[..PARENT.len() - 3];
        for wrong in [
            cut, &upper, &more, &version, &no_trace, &no_parent, "junk", "",
        ] {
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
    fn the_parts_of_two_traces_are_never_joined() {
        let key = "a.b".parse().unwrap();
        let event = || Event::new(&key, "/shop", "", bytes::Bytes::new());
        let trace = Trace::new(PARENT, "a=1").unwrap();
        let mut new = event();
        trace.carry_on(&mut new);
        assert_eq!(Trace::of(&new), Some(trace.clone()));
        for name in [TRACEPARENT, TRACESTATE] {
            let mut own = event();
            own.extensions.insert(name.to_owned(), "b=2".to_owned());
            let before = own.clone();
            trace.carry_on(&mut own);
            assert_eq!(own, before);
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
