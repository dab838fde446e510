//! What the value of an attribute may be (CloudEvents 1.0, 2.4, "Type System", and 3).

use crate::{Event, Invalid, media_type, time};

/// The specification recommends 20. A header of AMQP and of HTTP could have more than this.
const NAME_BYTES_MAX: usize = 64;
/// As much as logger-service stores.
const VALUE_BYTES_MAX: usize = 1024;

/// Refused unless this can be the name of an attribute.
pub fn check_name(name: &str) -> Result<(), Invalid> {
    let is_name = name
        .bytes()
        .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    if is_name && (1..=NAME_BYTES_MAX).contains(&name.len()) && name != "data" {
        return Ok(());
    }
    Err(wrong(
        name,
        &format!(
            "is not a valid name: it must have 1 to {NAME_BYTES_MAX} characters \
             of a-z and 0-9"
        ),
    ))
}

/// Refused unless the attribute `name` can have this value.
pub fn check(name: &str, value: &str) -> Result<(), Invalid> {
    if value.len() > VALUE_BYTES_MAX {
        let most = format!("has more than {VALUE_BYTES_MAX} bytes");
        return Err(wrong(name, &most));
    }
    if value.chars().any(is_disallowed) {
        return Err(wrong(name, "holds a control character or a noncharacter"));
    }
    let reason = match name {
        "id" if value.trim().is_empty() => "must be more than spaces",
        "id" if value.len() > Event::MAX_ID_BYTES => "must have at most 255 bytes",
        "type" | "subject" if value.is_empty() => "must not be empty",
        "source" if !is_uri_reference(value) => "must be a URI-reference, and not empty",
        "dataschema" if !is_uri(value) => "must be a URI with a scheme",
        "time" if !time::is_rfc3339(value) => "must be an RFC 3339 timestamp",
        "datacontenttype" if !media_type::is_media_type(value) => {
            "must be a media type of at most 255 bytes"
        }
        _ => return Ok(()),
    };
    Err(wrong(name, reason))
}

/// A refusal with the name of an attribute and never its value.
pub fn wrong(name: &str, reason: &str) -> Invalid {
    let name: String = name.chars().take(NAME_BYTES_MAX).collect();
    Invalid::new(format!("the attribute {} {reason}", name.escape_default()))
}

/// Bytes of a value as the value of a header (CloudEvents HTTP binding, 3.1.3.2).
pub(crate) fn header_bytes(value: &str) -> usize {
    let encoded = |byte: u8| !matches!(byte, b'!'..=b'~') || matches!(byte, b'"' | b'%');
    value
        .bytes()
        .map(|byte| if encoded(byte) { 3 } else { 1 })
        .sum()
}

/// Control characters and noncharacters, which the type String excludes.
fn is_disallowed(char: char) -> bool {
    let code = u32::from(char);
    char.is_control() || (0xFDD0..=0xFDEF).contains(&code) || code & 0xFFFE == 0xFFFE
}

/// RFC 3986, 4.1, as far as the characters tell.
pub(crate) fn is_uri_reference(text: &str) -> bool {
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        let allowed = match byte {
            b'%' => {
                let mut is_hex = || bytes.next().is_some_and(|byte| byte.is_ascii_hexdigit());
                is_hex() && is_hex()
            }
            _ => byte.is_ascii_alphanumeric() || b"-._~:/?#[]@!$&'()*+,;=".contains(&byte),
        };
        if !allowed {
            return false;
        }
    }
    !text.is_empty()
}

/// A reference with a scheme (RFC 3986, 3.1). A fragment is let through, as schemas often have one.
pub(crate) fn is_uri(text: &str) -> bool {
    let Some((scheme, rest)) = text.split_once(':') else {
        return false;
    };
    scheme.starts_with(|first: char| first.is_ascii_alphabetic())
        && scheme
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
        && is_uri_reference(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn all(name: &str, good: &[&str], bad: &[&str]) {
        for value in good {
            check(name, value).unwrap();
        }
        for value in bad {
            let problem = check(name, value).unwrap_err();
            assert!(problem.to_string().contains(name), "{problem:?}");
        }
    }

    #[test]
    fn text_has_no_control_characters() {
        all(
            "tenant",
            &["", "Größe 5 \u{1f600}", "\u{a0}"],
            &[
                "\0",
                "a\n",
                "\u{7f}",
                "\u{85}",
                "\u{fdd0}",
                "\u{fffe}",
                "\u{10ffff}",
            ],
        );
        assert!(check("tenant", &"x".repeat(1025)).is_err());
    }

    #[test]
    fn names_are_lower_case() {
        for name in ["a", "a1", "datacontenttype", &"n".repeat(64)] {
            check_name(name).unwrap();
        }
        for name in ["", "A", "a-b", "a_b", "é", "data", &"n".repeat(65)] {
            assert!(check_name(name).is_err(), "{name}");
        }
    }

    #[test]
    fn sources_are_references_and_schemas_are_uris() {
        let common: &[&str] = &["https://example.com/a?b#c", "urn:uuid:1", "mailto:a@b"];
        let wrong: &[&str] = &["", "a b", "a%2", "%zz", "<a>", "\u{e9}", "a\\b"];
        all(
            "source",
            &[common, &["/a", "a", "//b/c", "#f", "%20"]].concat(),
            wrong,
        );
        all(
            "dataschema",
            common,
            &[wrong, &["/a", "a", ":a", "1a:b", "a:"]].concat(),
        );
    }

    #[test]
    fn ids_and_media_types_fit_amqp() {
        let longest = "i".repeat(255);
        all(
            "id",
            &["1", "a b", &longest],
            &["", " ", "\u{2003}", &"i".repeat(256)],
        );
        all(
            "datacontenttype",
            &["text/plain"],
            &["", "text", "a/b\u{e9}"],
        );
        all("subject", &["s"], &[""]);
    }

    #[test]
    fn the_size_of_a_header_is_what_it_takes_encoded() {
        assert_eq!(header_bytes("a~!"), 3);
        assert_eq!(header_bytes("a b"), "a%20b".len());
        assert_eq!(header_bytes("\"%é"), "%22%25%C3%A9".len());
    }
}
