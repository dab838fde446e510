//! Passwords, and the rules that they must meet. Every character counts: nothing is trimmed,
//! truncated or forbidden, U+0000 included.

use secrecy::{ExposeSecret as _, SecretString};

use crate::error::Invalid;

/// Bounds the work of hashing. NIST SP 800-63B asks for at least 64 characters to be accepted.
const BYTES_MAX: usize = 1024;
const CHOSEN_CHARS_MIN: usize = 12;

/// A password of 1 to 1024 bytes, kept out of logs and wiped from memory when dropped.
#[derive(Clone, Debug)]
pub(crate) struct Password(SecretString);

impl Password {
    /// One that somebody presents to log in.
    pub(crate) fn presented(password: SecretString) -> Result<Self, Invalid> {
        match password.expose_secret().len() {
            0 => Err(Invalid("password is empty")),
            1..=BYTES_MAX => Ok(Self(password)),
            _ => Err(Invalid("password is longer than 1024 bytes")),
        }
    }

    /// One for a new user.
    pub(crate) fn chosen(password: SecretString) -> Result<Self, Invalid> {
        let password = Self::presented(password)?;
        if password.0.expose_secret().chars().count() < CHOSEN_CHARS_MIN {
            return Err(Invalid("password is shorter than 12 characters"));
        }
        Ok(password)
    }

    pub(crate) fn expose_bytes(&self) -> &[u8] {
        self.0.expose_secret().as_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(text: &str) -> SecretString {
        SecretString::from(text)
    }

    #[test]
    fn a_presented_password_has_1_to_1024_bytes() {
        for (length, accepted) in [(0, false), (1, true), (1024, true), (1025, false)] {
            let password = Password::presented(secret(&"x".repeat(length)));
            assert_eq!(password.is_ok(), accepted, "{length}");
        }
    }

    #[test]
    fn a_chosen_password_has_12_characters_and_at_most_1024_bytes() {
        let accepted = ["\0".repeat(12), "é".repeat(12), "x".repeat(1024)];
        let refused = ["x".repeat(11), "é".repeat(11), "x".repeat(1025)];
        for text in accepted {
            assert!(
                Password::chosen(secret(&text)).is_ok(),
                "{} bytes",
                text.len()
            );
        }
        for text in refused {
            assert!(
                Password::chosen(secret(&text)).is_err(),
                "{} bytes",
                text.len()
            );
        }
    }

    #[test]
    fn debug_does_not_show_it() {
        let password = Password::presented(secret("hunter2")).unwrap();
        assert!(!format!("{password:?}").contains("hunter2"));
    }
}
