//! The id of an event that any producer sent.
//!
//! Two messages are two events, however alike they are: a door that says "open", "closed" and "open"
//! says three things. So a message without an id gets one that no other message has, and never one
//! made of what it says. The copies of it carry that on; a message itself that comes a second time,
//! since its consumer went away, gets another one.

use event::Event;
use uuid::Uuid;

/// Under which ids are derived of those that are too long (RFC 9562, 5.5).
const LONG_IDS: Uuid = Uuid::from_u128(0x6f0d_3c1e_52b7_4d0c_9a51_7be4_1d8c_2f66);

/// The first of `given` that is more than spaces, or a new id (UUIDv7). One that is longer than an id
/// may be stands for itself by a digest: it stays the same at a redelivery.
pub(crate) fn id_of<'a>(given: impl IntoIterator<Item = Option<&'a str>>) -> String {
    let mut given = given.into_iter().flatten();
    match given.find(|id| !id.trim().is_empty()) {
        Some(id) if id.len() <= Event::MAX_ID_BYTES => id.to_owned(),
        Some(long) => Uuid::new_v5(&LONG_IDS, long.as_bytes()).to_string(),
        None => Uuid::now_v7().to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn what_is_given_stays_and_nothing_gets_one_of_its_own() {
        assert_eq!(id_of([Some("a"), Some("b")]), "a");
        assert_eq!(id_of([None, Some(" b ")]), " b ");
        assert_eq!(id_of([Some(" \t"), Some("b")]), "b");
        let long = ["x".repeat(256), "y".repeat(256)];
        assert_eq!(
            id_of([Some(&*long[0]), Some("b")]),
            id_of([Some(&*long[0])])
        );
        assert_ne!(id_of([Some(&*long[0])]), id_of([Some(&*long[1])]));
        let nothing = [None, Some(""), Some("  "), Some("\u{a0}")];
        let ids: HashSet<_> = (0..1_000).map(|n| id_of([nothing[n % 4]])).collect();
        assert_eq!(ids.len(), 1_000);
    }
}
