//! What tells apart two requests with one key.

use event::trace::{TRACEPARENT, TRACESTATE};
use sha2::{Digest as _, Sha256};

use crate::publication::Publication;

/// SHA-256 of the event, byte for byte, without what was made
/// here for this request.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fingerprint(pub(super) [u8; 32]);

impl Fingerprint {
    pub(crate) fn of(publication: &Publication) -> Self {
        let Publication {
            event, id_is_given, ..
        } = publication;
        let given = |text: &Option<String>| text.clone().filter(|_| *id_is_given);
        let mut hash = Sha256::new();
        // Each with its length before it, so that no two lists look alike.
        let mut add = |bytes: &[u8]| {
            hash.update((bytes.len() as u64).to_be_bytes());
            hash.update(bytes);
        };
        add(event.event_type.as_bytes());
        add(event.source.as_bytes());
        for optional in [
            given(&Some(event.id.clone())),
            given(&event.time),
            event.subject.clone(),
            event.content_type.clone(),
        ] {
            add(if optional.is_some() { b"+" } else { b"-" });
            add(optional.unwrap_or_default().as_bytes());
        }
        add(&event.data);
        for (name, value) in &event.extensions {
            // Each attempt may be a trace of its own.
            if name != TRACEPARENT && name != TRACESTATE {
                add(name.as_bytes());
                add(value.as_bytes());
            }
        }
        Self(hash.finalize().into())
    }
}

#[cfg(test)]
mod tests {
    use event::trace::Trace;

    use super::*;

    fn fingerprint(change: impl Fn(&mut Publication)) -> Fingerprint {
        let key: event::EventType = "log.INFO".parse().unwrap();
        let event = event::Event::new(&key, "/a", "a/b", bytes::Bytes::from_static(b"1"));
        let mut publication = Publication::new(event, key);
        change(&mut publication);
        Fingerprint::of(&publication)
    }

    #[test]
    fn another_attribute_or_other_data_is_another_request() {
        // Each event has an id and a time of its own, which do not count.
        let first = fingerprint(|_| {});
        assert!(first == fingerprint(|_| {}));
        let changes: [fn(&mut Publication); 6] = [
            |other| other.event.data = bytes::Bytes::from_static(b"1 "),
            |other| other.event.event_type = "log.WARN".to_owned(),
            |other| other.event.source = "/".to_owned(),
            |other| other.event.content_type = None,
            |other| other.event.subject = Some(String::new()),
            |other| drop(other.event.extensions.insert("a".to_owned(), String::new())),
        ];
        for change in changes {
            assert!(first != fingerprint(change));
        }
        let traced = |other: &mut Publication| {
            let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
            other.carry_on(Trace::new(parent, "a=1").as_ref());
        };
        assert!(first == fingerprint(traced));
    }

    #[test]
    fn an_id_that_the_client_gave_counts() {
        let given = |id: &'static str| {
            fingerprint(move |publication| {
                publication.id_is_given = true;
                publication.event.id = id.to_owned();
                publication.event.time = None;
            })
        };
        assert!(given("1") == given("1"));
        assert!(given("1") != given("2"));
    }
}
