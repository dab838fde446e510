//! How data is compressed, in HTTP's terms (RFC 9110, 8.4.1).

use std::io::Read;

use flate2::read::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};

/// Codings that are passed on: those of HTTP, and what else message producers compress with.
const CODINGS: [&str; 15] = [
    "gzip",
    "x-gzip",
    "deflate",
    "zlib",
    "compress",
    "x-compress",
    "br",
    "brotli",
    "zstd",
    "bzip2",
    "x-bzip2",
    "lz4",
    "snappy",
    "lzma",
    "xz",
];
/// Data that was compressed more often is not decompressed.
const DECODED_MAX: usize = 4;

/// The compression codings in a list such as `gzip, br`, in small letters; `None` where there are none.
///
/// What else stands in AMQP's `content_encoding` is left out: Celery writes the charset there, and Spring
/// AMQP puts it behind the coding, as `gzip, UTF-8` or `gzip:UTF-8`.
pub fn codings(text: &str) -> Option<String> {
    let names: Vec<_> = text
        .split([',', ':'])
        .map(|name| name.split(';').next().unwrap_or_default().trim())
        .map(str::to_ascii_lowercase)
        .filter(|name| CODINGS.contains(&name.as_str()))
        .collect();
    (!names.is_empty()).then(|| names.join(", "))
}

/// Why compressed data cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Undecoded {
    /// This coding is not supported.
    #[error("{0} is not supported")]
    Unknown(String),
    /// It is truncated, damaged, or not compressed like this.
    #[error("it is not compressed as declared")]
    Broken,
    /// A few kilobytes can hold a thousand times as much.
    #[error("it has more than {0} bytes when decompressed")]
    TooLarge(usize),
}

/// Decompresses data with these codings, as [`codings`] lists them: the last one first.
///
/// # Errors
/// See [`Undecoded`]. Decompresses at most `bytes_max` bytes per coding.
pub fn decode(codings: &str, data: &[u8], bytes_max: usize) -> Result<Vec<u8>, Undecoded> {
    if codings.split(',').count() > DECODED_MAX {
        return Err(Undecoded::Unknown(codings.to_owned()));
    }
    let mut decoded: Option<Vec<u8>> = None;
    for coding in codings.rsplit(',').map(str::trim) {
        let data = decoded.as_deref().unwrap_or(data);
        decoded = Some(match coding {
            "gzip" | "x-gzip" => gunzip(data, bytes_max)?,
            "deflate" | "zlib" => match inflate(data, bytes_max) {
                // Some senders call data deflate that has no zlib frame around it.
                Err(Undecoded::Broken) => read(DeflateDecoder::new(data), bytes_max)?,
                inflated => inflated?,
            },
            other => return Err(Undecoded::Unknown(other.to_owned())),
        });
    }
    Ok(decoded.unwrap_or_else(|| data.to_vec()))
}

/// Decompresses gzip (RFC 1952), with one or several members.
///
/// # Errors
/// When the data is not in this format, or is larger.
pub fn gunzip(data: &[u8], bytes_max: usize) -> Result<Vec<u8>, Undecoded> {
    read(MultiGzDecoder::new(data), bytes_max)
}

/// Decompresses zlib (RFC 1950).
///
/// # Errors
/// When the data is not in this format, or is larger.
pub fn inflate(data: &[u8], bytes_max: usize) -> Result<Vec<u8>, Undecoded> {
    read(ZlibDecoder::new(data), bytes_max)
}

fn read(decoder: impl Read, bytes_max: usize) -> Result<Vec<u8>, Undecoded> {
    let mut decoded = Vec::new();
    let mut bounded = decoder.take((bytes_max as u64).saturating_add(1));
    let read = bounded.read_to_end(&mut decoded);
    read.map_err(|_broken| Undecoded::Broken)?;
    if decoded.len() > bytes_max {
        return Err(Undecoded::TooLarge(bytes_max));
    }
    Ok(decoded)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::{
        Compression,
        write::{DeflateEncoder, GzEncoder, ZlibEncoder},
    };

    use super::*;

    const BYTES_MAX: usize = 1024;

    fn gzip(data: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(data).unwrap();
        encoder.finish().unwrap()
    }

    fn zlib(data: &[u8]) -> Vec<u8> {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(data).unwrap();
        encoder.finish().unwrap()
    }

    fn raw_deflate(data: &[u8]) -> Vec<u8> {
        let mut encoder = DeflateEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(data).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn codings_are_undone_from_the_last_to_the_first() {
        let text = b"{\"n\":1e400}";
        let two_members = [gzip(b"{\"n\":"), gzip(b"1e400}")].concat();
        for (codings, data) in [
            ("gzip", gzip(text)),
            ("x-gzip", gzip(text)),
            ("gzip", two_members),
            ("deflate", zlib(text)),
            ("deflate", raw_deflate(text)),
            ("gzip, gzip", gzip(&gzip(text))),
            ("deflate, gzip", gzip(&zlib(text))),
            ("gzip, deflate", zlib(&gzip(text))),
        ] {
            assert_eq!(
                decode(codings, &data, BYTES_MAX).unwrap(),
                text,
                "{codings}"
            );
        }
        assert_eq!(decode("gzip", &gzip(b""), BYTES_MAX).unwrap(), b"");
    }

    #[test]
    fn what_cannot_be_read_is_an_error_and_a_bomb_stops_at_the_bound() {
        let packed = gzip(b"some text of some length");
        let mut damaged = packed.clone();
        damaged[12] ^= 0xff;
        for (codings, data) in [
            ("gzip", &packed[..packed.len() - 1]),
            ("gzip", &packed[..5]),
            ("gzip", b""),
            ("gzip", b"{}"),
            ("gzip", &damaged),
            ("deflate", b"{}"),
            ("deflate", &packed),
            ("gzip, gzip", &packed),
        ] {
            assert_eq!(
                decode(codings, data, BYTES_MAX),
                Err(Undecoded::Broken),
                "{codings} {data:?}"
            );
        }
        let often = "gzip, ".repeat(4) + "gzip";
        for unknown in ["br", "zstd", "compress", "gzip, br", &often] {
            let Err(Undecoded::Unknown(_)) = decode(unknown, &packed, BYTES_MAX) else {
                panic!("{unknown}");
            };
        }
        let zeros = |bytes| vec![0; bytes];
        assert!(decode("gzip", &gzip(&zeros(BYTES_MAX)), BYTES_MAX).is_ok());
        for bomb in [
            gzip(&zeros(BYTES_MAX + 1)),
            gzip(&zeros(64 << 20)),
            gzip(&gzip(&zeros(64 << 20))),
        ] {
            let refused = decode("gzip, gzip", &bomb, BYTES_MAX);
            let once = decode("gzip", &bomb, BYTES_MAX);
            assert!(refused.is_err() && once != Ok(zeros(64 << 20)));
        }
        let bomb = gzip(&zeros(64 << 20));
        assert_eq!(
            decode("gzip", &bomb, BYTES_MAX),
            Err(Undecoded::TooLarge(BYTES_MAX))
        );
        assert_eq!(
            decode("deflate", &zlib(&zeros(64 << 20)), BYTES_MAX),
            Err(Undecoded::TooLarge(BYTES_MAX))
        );
    }

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
            ("gzip, UTF-8", Some("gzip")),
            ("gzip:UTF-8", Some("gzip")),
            ("gzip;q=1", Some("gzip")),
            ("lz4", Some("lz4")),
            ("gzip, snappy", Some("gzip, snappy")),
            ("utf-8, binary", None),
            ("", None),
            (
                "gzip,gzip,gzip,gzip,gzip",
                Some("gzip, gzip, gzip, gzip, gzip"),
            ),
        ] {
            assert_eq!(codings(text).as_deref(), expected, "{text}");
        }
    }
}
