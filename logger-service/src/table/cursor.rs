//! Where the next page of a listing begins.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};

use crate::table::Filter;

const CHECK_BYTES: usize = 8;

/// The last row of a page; the next page is what arrived before it.
///
/// As text it is opaque: base64url of the row's number and a check value over number and filter.
/// The check is no secret. It catches cursors that were cut, made up, or taken to another listing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cursor(pub(crate) i64);

impl Cursor {
    pub(crate) fn encode(self, filter: &Filter) -> String {
        let number = self.0.to_be_bytes();
        URL_SAFE_NO_PAD.encode([number, self.check(filter)].concat())
    }

    /// `None` unless `text` was made by [`encode`](Self::encode) for the same filter.
    pub(crate) fn decode(text: &str, filter: &Filter) -> Option<Self> {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        let (number, check) = bytes.split_first_chunk()?;
        let cursor = Self(i64::from_be_bytes(*number));
        (check == cursor.check(filter)).then_some(cursor)
    }

    fn check(self, filter: &Filter) -> [u8; CHECK_BYTES] {
        let mut hash = Sha256::new();
        hash.update("logs cursor 1");
        hash.update(self.0.to_be_bytes());
        hash.update(filter.fingerprint());
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
        let filter = Filter::default();
        let other = Filter {
            name: Some("a".to_owned()),
            ..Filter::default()
        };
        let text = Cursor(42).encode(&filter);
        assert_eq!(Cursor::decode(&text, &filter), Some(Cursor(42)));
        assert_eq!(Cursor::decode(&text, &other), None);
        let forged = URL_SAFE_NO_PAD.encode([41i64.to_be_bytes(), [0; 8]].concat());
        for text in ["", "x", "42", &text[1..], &format!("{text}A"), &forged] {
            assert_eq!(Cursor::decode(text, &filter), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn of_all_texts_only_its_own_is_a_cursor(
            text in prop_oneof![any::<String>(), "[A-Za-z0-9_-]{22}", "[A-Za-z0-9_-]{0,30}"],
            number in any::<i64>(),
        ) {
            let filter = Filter::default();
            // A made-up text is one in 2^64.
            prop_assert_eq!(Cursor::decode(&text, &filter), None);
            let own = Cursor(number).encode(&filter);
            prop_assert_eq!(Cursor::decode(&own, &filter), Some(Cursor(number)));
        }
    }
}
