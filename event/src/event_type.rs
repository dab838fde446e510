//! The routing key of an event, which is also its type.

use std::{borrow::Cow, fmt, str::FromStr};

/// Words of `[A-Za-z0-9_-]` joined by dots, at most 255 bytes in all (AMQP 0-9-1, 1.2: a short
/// string). The wildcards `*` and `#` belong to bindings and are refused.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct EventType(Cow<'static, str>);

/// Why a text is not an [`EventType`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EventTypeError {
    /// It is empty.
    #[error("an event type must not be empty")]
    Empty,
    /// It is longer than AMQP can carry.
    #[error("an event type may have at most 255 bytes")]
    TooLong,
    /// It begins or ends with a dot or has two in a row.
    #[error("an event type must not begin or end with a dot, nor have two in a row")]
    EmptyWord,
    /// It contains characters other than letters, digits, `_`, `-` and dots.
    #[error("an event type consists of words of A-Z, a-z, 0-9, _ and - joined by dots")]
    Character,
}

impl EventType {
    /// Most bytes of a routing key.
    pub const MAX_BYTES: usize = 255;

    /// A key that is a constant of the program.
    ///
    /// # Panics
    /// When `text` is not a routing key. In a constant this is a compile error.
    ///
    /// ```
    /// const PLACED: event::EventType = event::EventType::from_static("order.placed");
    /// ```
    ///
    /// ```compile_fail
    /// const PLACED: event::EventType = event::EventType::from_static("order placed");
    /// ```
    pub const fn from_static(text: &'static str) -> Self {
        match check(text) {
            Ok(()) => Self(Cow::Borrowed(text)),
            Err(_) => panic!("not words of A-Z, a-z, 0-9, _ and - joined by dots"),
        }
    }

    /// The key as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for EventType {
    type Err = EventTypeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        check(text)?;
        Ok(Self(Cow::Owned(text.to_owned())))
    }
}

const fn check(text: &str) -> Result<(), EventTypeError> {
    let bytes = text.as_bytes();
    if bytes.is_empty() {
        return Err(EventTypeError::Empty);
    }
    if bytes.len() > EventType::MAX_BYTES {
        return Err(EventTypeError::TooLong);
    }
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b'.' if at == 0 || at + 1 == bytes.len() || bytes[at - 1] == b'.' => {
                return Err(EventTypeError::EmptyWord);
            }
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' | b'.' => at += 1,
            _ => return Err(EventTypeError::Character),
        }
    }
    Ok(())
}

impl fmt::Display for EventType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_words_joined_by_dots() {
        for key in ["a", "order.placed", "log.INFO", "v1_2.some-thing.X"] {
            assert_eq!(key.parse::<EventType>().unwrap().as_str(), key);
        }
        assert!("a".repeat(255).parse::<EventType>().is_ok());
    }

    #[test]
    fn refuses_everything_else() {
        let refused = |key: &str| key.parse::<EventType>().unwrap_err();
        assert_eq!(refused(""), EventTypeError::Empty);
        assert_eq!(refused(&"a".repeat(256)), EventTypeError::TooLong);
        for key in [".a", "a.", "a..b", "."] {
            assert_eq!(refused(key), EventTypeError::EmptyWord);
        }
        for key in ["*", "order.#", "a b", "a\n", "a\0", "ä", "a/b", "a:b"] {
            assert_eq!(refused(key), EventTypeError::Character, "{key:?}");
        }
    }
}
