//! The id of an event that any producer sent.
//!
//! Two messages are two events, however alike they are: a door that says "open", "closed" and "open"
//! says three things. So a message without an id gets one that no other message has, and never one
//! made of what it says. The copies of it carry that on; a message itself that comes a second time,
//! since its consumer went away, gets another one.

use event::Event;
use uuid::Uuid;

/// Under which ids are made of those that cannot be one (RFC 9562, 5.5).
const RAW_IDS: Uuid = Uuid::from_u128(0x6f0d_3c1e_52b7_4d0c_9a51_7be4_1d8c_2f66);

/// The first of `given` that is more than spaces, or a new id (UUIDv7). One that could not travel, as
/// a `message_id`, as a header of HTTP or into the logger's store, is replaced by its [`raw_id`].
pub(crate) fn id_of<'a>(given: impl IntoIterator<Item = Option<&'a [u8]>>) -> String {
    let mut given = given.into_iter().flatten();
    match given.find(|id| !is_blank(id)) {
        Some(id) => fit(id).map_or_else(|| raw_id(id), str::to_owned),
        None => Uuid::now_v7().to_string(),
    }
}

/// An id in place of one that is no text, is too long or holds control characters. It is made from
/// all of its bytes: the same at each redelivery, and another one for another id.
pub(crate) fn raw_id(id: &[u8]) -> String {
    Uuid::new_v5(&RAW_IDS, id).to_string()
}

fn is_blank(id: &[u8]) -> bool {
    std::str::from_utf8(id).is_ok_and(|id| id.trim().is_empty())
}

fn fit(id: &[u8]) -> Option<&str> {
    let id = std::str::from_utf8(id).ok()?;
    (id.len() <= Event::MAX_ID_BYTES && !id.chars().any(char::is_control)).then_some(id)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn texts(given: impl IntoIterator<Item = Option<&'static str>>) -> String {
        id_of(given.into_iter().map(|id| id.map(str::as_bytes)))
    }

    #[test]
    fn what_is_given_stays_and_nothing_gets_one_of_its_own() {
        assert_eq!(texts([Some("a"), Some("b")]), "a");
        assert_eq!(texts([None, Some(" b ")]), " b ");
        assert_eq!(texts([Some(" \t"), Some("b")]), "b");
        let long = ["x".repeat(256), "y".repeat(256)];
        assert_eq!(
            id_of([Some(long[0].as_bytes()), Some(b"b")]),
            id_of([Some(long[0].as_bytes())])
        );
        assert_ne!(
            id_of([Some(long[0].as_bytes())]),
            id_of([Some(long[1].as_bytes())])
        );
        let nothing = [None, Some(""), Some("  "), Some("\u{a0}")];
        let ids: HashSet<_> = (0..1_000).map(|n| texts([nothing[n % 4]])).collect();
        assert_eq!(ids.len(), 1_000);
    }
}
