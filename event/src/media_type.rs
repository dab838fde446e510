//! Media types, of requests and of the data of events.

/// Most bytes of a media type: AMQP carries it as a short string (AMQP 0-9-1, 4.2.5.3).
pub const BYTES_MAX: usize = 255;

/// What a form is, and what `curl -d` says that it sends.
pub const FORM: &str = "application/x-www-form-urlencoded";

/// Whether a text has the form of a media type with or without parameters (RFC 9110, 8.3.1) and
/// fits AMQP and a header.
pub fn is_media_type(text: &str) -> bool {
    let Some((kind, subtype)) = essence(text).split_once('/') else {
        return false;
    };
    let is_token = |word: &str| {
        !word.is_empty()
            && word
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
    };
    let visible = text.bytes().all(|byte| matches!(byte, b' '..=b'~'));
    is_token(kind) && is_token(subtype) && visible && text.len() <= BYTES_MAX
}

/// Type and subtype, without parameters.
pub fn essence(text: &str) -> &str {
    text.split(';').next().unwrap_or_default().trim()
}

/// Whether data of this type is JSON (CloudEvents JSON format, 3.1.1): `*/json` or `*/*+json`.
pub fn declares_json(text: &str) -> bool {
    let subtype = essence(text).split_once('/').map(|(_, subtype)| subtype);
    subtype.is_some_and(|subtype| {
        let suffix = subtype.rsplit('+').next().unwrap_or_default();
        suffix.eq_ignore_ascii_case("json")
    })
}

/// Whether data of this type is JSON that can be read here: JSON by its type, in UTF-8.
pub fn is_json(text: &str) -> bool {
    declares_json(text) && is_utf8(text)
}

/// Whether text of this type is UTF-8, as it is unless a charset says otherwise. US-ASCII is a part
/// of it.
pub fn is_utf8(text: &str) -> bool {
    let mut parameters = text.split(';').skip(1).map(str::trim);
    parameters.all(|parameter| match parameter.split_once('=') {
        Some((name, value)) if name.eq_ignore_ascii_case("charset") => {
            let value = value.trim_matches('"');
            // The second one is not registered, and common.
            ["utf-8", "utf8", "us-ascii"]
                .iter()
                .any(|charset| value.eq_ignore_ascii_case(charset))
        }
        _ => true,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_media_type_has_a_type_and_a_subtype() {
        for text in [
            "a/b",
            "application/vnd.x+json; charset=\"utf-8\"",
            "text/plain;charset=UTF-8",
        ] {
            assert!(is_media_type(text), "{text}");
        }
        let long = format!("a/{}", "b".repeat(254));
        for text in [
            "",
            "json",
            "a/",
            "/b",
            "a/b/c",
            "a b/c",
            "a/b; x=\n",
            "a/\u{e9}",
            "a/b; x=\u{e9}",
            &long,
        ] {
            assert!(!is_media_type(text), "{text:?}");
        }
    }

    #[test]
    fn json_is_told_by_the_subtype_or_its_suffix() {
        for text in ["application/json", "text/JSON; charset=utf-8", "a/b+json"] {
            assert!(declares_json(text), "{text}");
        }
        for text in [
            "application/jsonl",
            "text/plain; a/json",
            "json",
            "a/json+xml",
        ] {
            assert!(!declares_json(text), "{text}");
        }
    }

    #[test]
    fn text_is_utf8_unless_a_charset_says_otherwise() {
        assert!(is_utf8("text/plain") && is_utf8("text/plain; Charset=\"UTF-8\""));
        assert!(is_utf8("text/plain;charset=us-ascii;x=y") && is_utf8("text/plain; charset=UTF8"));
        assert!(!is_utf8("text/plain; x=y; charset=iso-8859-1"));
    }
}
