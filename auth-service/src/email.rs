//! An e-mail address as the name of a user.

use std::fmt;
use std::str::FromStr;

use crate::error::Invalid;

/// RFC 5321 leaves 254 bytes for an address (erratum 1690 to RFC 3696).
const BYTES_MAX: usize = 254;

/// Trimmed, in lower case, and of the form `local@domain`: enough to name a user by. Whether mail
/// arrives there is not this service's business.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Email(String);

impl Email {
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Email {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let email = text.trim().to_lowercase();
        if email.len() > BYTES_MAX {
            return Err(Invalid("email is longer than 254 bytes"));
        }
        // Control characters also because PostgreSQL stores no U+0000.
        let malformed = email.chars().any(|c| c.is_whitespace() || c.is_control())
            || !email
                .split_once('@')
                .is_some_and(|(local, domain)| is_local(local) && is_domain(domain));
        if malformed {
            return Err(Invalid("email is not of the form name@domain"));
        }
        Ok(Self(email))
    }
}

fn is_local(local: &str) -> bool {
    !local.is_empty()
}

fn is_domain(domain: &str) -> bool {
    !domain.contains('@') && domain.split('.').all(|label| !label.is_empty())
}

impl fmt::Display for Email {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trims_and_lowers() {
        let email: Email = " Ann.Lee+x@Example.COM\n".parse().unwrap();
        assert_eq!(email.as_str(), "ann.lee+x@example.com");
        assert!("root@localhost".parse::<Email>().is_ok());
    }

    #[test]
    fn refuses_what_is_not_an_address() {
        let long = format!("{}@example.com", "a".repeat(BYTES_MAX));
        let bad = [
            "", "a", "@b", "a@", "a@b@c", "a b@c", "a\0@c", "a@b..c", "a@.", &long,
        ];
        for text in bad {
            assert!(text.parse::<Email>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn the_longest_is_254_bytes() {
        let longest = format!(
            "{}@example.com",
            "a".repeat(BYTES_MAX - "@example.com".len())
        );
        assert!(longest.parse::<Email>().is_ok());
        assert!(format!("a{longest}").parse::<Email>().is_err());
    }
}
