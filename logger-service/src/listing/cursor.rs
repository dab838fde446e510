//! Where the next page of a listing begins.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};

const CHECK_BYTES: usize = 8;

/// The last row of a page; the next page is what arrived before it.
///
/// As text it is opaque: base64url of the row's number and a check value over number and listing.
/// The check is no secret. It catches cursors that were cut, made up, or taken to another listing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cursor(pub(crate) i64);

/// Identifies a listing with its filters; a cursor is good for the same one only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// Of the listing with this name, and its filters in a fixed order. No filter contains U+0000.
    pub(crate) fn new(listing: &str, filters: &[Option<&str>]) -> Self {
        let mut hash = Sha256::new();
        hash.update(listing);
        for filter in filters {
            // What is absent is not what is empty: an empty prefix is a filter.
            hash.update([0, u8::from(filter.is_some())]);
            hash.update(filter.unwrap_or_default());
        }
        Self(hash.finalize().into())
    }
}

impl Cursor {
    pub(crate) fn encode(self, listing: &Fingerprint) -> String {
        let number = self.0.to_be_bytes();
        URL_SAFE_NO_PAD.encode([number, self.check(listing)].concat())
    }

    /// `None` unless `text` was made by [`encode`](Self::encode) for the same listing.
    pub(crate) fn decode(text: &str, listing: &Fingerprint) -> Option<Self> {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        let (number, check) = bytes.split_first_chunk()?;
        let cursor = Self(i64::from_be_bytes(*number));
        (check == cursor.check(listing)).then_some(cursor)
    }

    fn check(self, listing: &Fingerprint) -> [u8; CHECK_BYTES] {
        let mut hash = Sha256::new();
        hash.update("cursor 1");
        hash.update(self.0.to_be_bytes());
        hash.update(listing.0);
        let mut check = [0; CHECK_BYTES];
        check.copy_from_slice(&hash.finalize()[..CHECK_BYTES]);
        check
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_a_cursor_of_the_same_listing_is_accepted() {
        let listing = Fingerprint::new("logs", &[None]);
        let text = Cursor(42).encode(&listing);
        assert_eq!(Cursor::decode(&text, &listing), Some(Cursor(42)));
        for other in [
            Fingerprint::new("logs", &[Some("a")]),
            Fingerprint::new("others", &[None]),
        ] {
            assert_eq!(Cursor::decode(&text, &other), None);
        }
        let forged = URL_SAFE_NO_PAD.encode([41i64.to_be_bytes(), [0; 8]].concat());
        for text in ["", "x", "42", &text[1..], &format!("{text}A"), &forged] {
            assert_eq!(Cursor::decode(text, &listing), None, "{text}");
        }
    }

    #[test]
    fn the_place_of_a_filter_counts() {
        let listings = [
            vec![None, None],
            vec![Some(""), None],
            vec![None, Some("")],
            vec![Some("a"), None],
            vec![None, Some("a")],
            vec![Some("a"), Some("a")],
        ];
        let distinct: std::collections::HashSet<_> = listings
            .iter()
            .map(|filters| Fingerprint::new("logs", filters))
            .collect();
        assert_eq!(distinct.len(), listings.len());
    }

    proptest! {
        #[test]
        fn of_all_texts_only_its_own_is_a_cursor(
            text in prop_oneof![any::<String>(), "[A-Za-z0-9_-]{22}", "[A-Za-z0-9_-]{0,30}"],
            number in any::<i64>(), filter in "[^\0]{0,20}", other in "[^\0]{0,20}",
        ) {
            let listing = Fingerprint::new("logs", &[Some(&filter), None]);
            // A made-up text is one in 2^64.
            prop_assert_eq!(Cursor::decode(&text, &listing), None);
            let own = Cursor(number).encode(&listing);
            prop_assert_eq!(Cursor::decode(&own, &listing), Some(Cursor(number)));
            let elsewhere = Fingerprint::new("logs", &[Some(&filter), Some(&other)]);
            prop_assert_eq!(Cursor::decode(&own, &elsewhere), None);
        }
    }
}
