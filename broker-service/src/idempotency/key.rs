//! The header `Idempotency-Key` (draft-ietf-httpapi-idempotency-key-header).

use axum::http::{HeaderMap, HeaderName};
use service_kit::problem::Problem;
use uuid::Uuid;

const HEADER: HeaderName = HeaderName::from_static("idempotency-key");
const BYTES_MAX: usize = 255;
/// Under which ids are derived from keys (RFC 9562, 5.5). The same for every broker and version:
/// with another one an event whose request is sent again would be another event.
const NAMESPACE: Uuid = Uuid::from_u128(0x3729_c98b_d508_4e9f_b3e6_e9a7_6e01_bc48);

/// A client's key, known by the event id that is derived from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    event_id: Uuid,
}

impl Key {
    /// The key of a request, if it has one.
    ///
    /// # Errors
    /// 400 for a key that is none, or more than one.
    pub(crate) fn read(headers: &HeaderMap) -> Result<Option<Self>, Problem> {
        let mut values = headers.get_all(HEADER).iter();
        match (values.next(), values.next()) {
            (None, _) => Ok(None),
            (Some(value), None) => match text(value.as_bytes()) {
                Some(text) => Ok(Some(Self::of(&text))),
                None => Err(Problem::bad_request(format!(
                    "the header Idempotency-Key must have 1 to {BYTES_MAX} visible ASCII characters"
                ))),
            },
            (Some(_), Some(_)) => Err(Problem::bad_request(
                "the header Idempotency-Key is there more than once",
            )),
        }
    }

    pub(crate) fn of(text: &str) -> Self {
        Self {
            event_id: Uuid::new_v5(&NAMESPACE, text.as_bytes()),
        }
    }

    /// The id of the event that is published for this key (UUIDv5).
    pub(crate) fn event_id(self) -> String {
        self.event_id.to_string()
    }
}

/// Whether a request has a key, well-formed or not.
pub(crate) fn is_asked_for(headers: &HeaderMap) -> bool {
    headers.contains_key(HEADER)
}

/// The characters of a key. The draft has it quoted (RFC 9651, 3.3.3), most clients send it bare.
fn text(value: &[u8]) -> Option<String> {
    let value = std::str::from_utf8(value).ok()?.trim_ascii();
    let text = match value.strip_prefix('"') {
        Some(quoted) => unquoted(quoted)?,
        None => value.to_owned(),
    };
    let visible = text.bytes().all(|byte| byte.is_ascii_graphic());
    (visible && (1..=BYTES_MAX).contains(&text.len())).then_some(text)
}

/// What follows an opening quote, up to a closing one that must be the end.
fn unquoted(quoted: &str) -> Option<String> {
    let mut text = String::new();
    let mut chars = quoted.chars();
    loop {
        match chars.next()? {
            '"' => return chars.as_str().is_empty().then_some(text),
            '\\' => text.push(chars.next().filter(|char| matches!(char, '"' | '\\'))?),
            char => text.push(char),
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn read(values: &[&[u8]]) -> Result<Option<Key>, Problem> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(HEADER, HeaderValue::from_bytes(value).unwrap());
        }
        Key::read(&headers)
    }

    #[test]
    fn the_event_id_is_derived_from_the_key_for_ever() {
        assert_eq!(
            Key::of("key").event_id(),
            "928708c6-6374-56b2-bec3-1f97df8a1d7d"
        );
    }

    #[test]
    fn a_key_is_taken_bare_or_quoted() {
        let longest = "k".repeat(255);
        for (value, text) in [
            ("key", "key"),
            ("  key\t", "key"),
            ("\"key\"", "key"),
            (r#""a\"b\\c""#, r#"a"b\c"#),
            (r#"a"b\c"#, r#"a"b\c"#),
            ("!", "!"),
            ("~", "~"),
            (&longest, &longest),
            (&format!("\"{longest}\""), &longest),
        ] {
            let key = read(&[value.as_bytes()]).unwrap();
            assert_eq!(key, Some(Key::of(text)), "{value}");
        }
        assert_eq!(read(&[]).unwrap(), None);
        assert_ne!(Key::of("key"), Key::of("Key"));
    }

    #[test]
    fn what_is_no_key_is_refused() {
        let long = "k".repeat(256);
        for value in [
            "".as_bytes(),
            b"  ",
            b"\"\"",
            b"\"",
            b"\"key",
            b"\"key\"x",
            b"\"key\";a=1",
            b"\"key\\",
            b"\"k\\ey\"",
            b"two words",
            b"\"two words\"",
            b"a\tb",
            "schlüssel".as_bytes(),
            b"\xff",
            long.as_bytes(),
            format!("\"{long}\"").as_bytes(),
        ] {
            let problem = read(&[value]).unwrap_err();
            assert_eq!(problem.status(), 400, "{value:?}");
            assert!(problem.message().contains("Idempotency-Key"));
        }
        let twice = read(&[b"key", b"key"]).unwrap_err();
        assert_eq!(twice.status(), 400);
        assert!(twice.message().contains("Idempotency-Key"));
    }

    proptest! {
        #[test]
        fn any_header_is_a_key_or_refused(
            value in prop_oneof![
                proptest::collection::vec(any::<u8>(), 0..300),
                r#"[ \t]{0,2}"?[ -~]{0,260}"?[ \t]{0,2}"#.prop_map(String::into_bytes),
            ],
        ) {
            let Ok(header) = HeaderValue::from_bytes(&value) else {
                return Ok(());
            };
            let headers = HeaderMap::from_iter([(HEADER, header)]);
            match Key::read(&headers) {
                Ok(key) => prop_assert!(key.is_some_and(|key| key.event_id().len() == 36)),
                Err(problem) => prop_assert_eq!(problem.status(), 400),
            }
        }

        #[test]
        fn quoting_a_key_changes_nothing(key in "[!#-\\[\\]-~]{1,255}") {
            let quoted = format!("\"{key}\"");
            let bare = read(&[key.as_bytes()]).unwrap();
            prop_assert_eq!(bare, Some(Key::of(&key)));
            prop_assert_eq!(read(&[quoted.as_bytes()]).unwrap(), bare);
        }
    }
}
