//! How data is compressed, in the words of HTTP (RFC 9110, 8.4.1).

/// Codings that are passed on. What else stands in AMQP's `content_encoding` is no compression: Celery
/// writes the charset there, for instance.
const CODINGS: [&str; 7] = [
    "gzip",
    "x-gzip",
    "deflate",
    "compress",
    "x-compress",
    "br",
    "zstd",
];
/// Data that was compressed more often is nobody's.
const CODINGS_MAX: usize = 4;

/// The compression codings in a list such as `gzip, br`, in small letters; `None` where something
/// else is named, or nothing.
pub fn codings(text: &str) -> Option<String> {
    let names: Vec<_> = text
        .split(',')
        .map(|name| name.trim().to_ascii_lowercase())
        .filter(|name| !name.is_empty() && name != "identity")
        .collect();
    let known = names.iter().all(|name| CODINGS.contains(&name.as_str()));
    (known && (1..=CODINGS_MAX).contains(&names.len())).then(|| names.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_compression_is_a_coding() {
        for (text, expected) in [
            ("gzip", Some("gzip")),
            ("GZIP", Some("gzip")),
            ("gzip,br", Some("gzip, br")),
            (" zstd , identity", Some("zstd")),
            ("deflate", Some("deflate")),
            ("identity", None),
            ("utf-8", None),
            ("binary", None),
            ("gzip, utf-8", None),
            ("", None),
            ("gzip,gzip,gzip,gzip,gzip", None),
        ] {
            assert_eq!(codings(text).as_deref(), expected, "{text}");
        }
    }
}
