//! Bodies that are compressed as kombu does it, which says so in the header `compression`.

use event::coding;

/// Most bytes of a body once it is read. A few kilobytes can hold a thousand times as much.
const BYTES_MAX: usize = 4 * 1024 * 1024;

/// How a stream of gzip begins (RFC 1952, 2.3.1).
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// The body that was compressed by what `name` names.
///
/// # Errors
/// Why it cannot be read.
pub(super) fn decompress(name: &str, body: &[u8]) -> Result<Vec<u8>, String> {
    // What kombu calls gzip is zlib (RFC 1950). Other programs mean what they say.
    let is_zlib = matches!(
        name.to_ascii_lowercase().as_str(),
        "application/x-gzip" | "application/gzip" | "application/zlib" | "gzip" | "zlib"
    );
    if !is_zlib {
        let known = "zlib and gzip are";
        return Err(format!(
            "the compression of the task cannot be read, only {known}"
        ));
    }
    let decompressed = if body.starts_with(&GZIP) {
        coding::gunzip(body, BYTES_MAX)
    } else {
        coding::inflate(body, BYTES_MAX)
    };
    decompressed.map_err(|reason| format!("the task cannot be decompressed: {reason}"))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::{
        Compression,
        write::{GzEncoder, ZlibEncoder},
    };

    use super::*;

    fn zlib(data: &[u8]) -> Vec<u8> {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(data).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn reads_what_kombu_and_others_call_gzip() {
        let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
        gzip.write_all(b"body").unwrap();
        for body in [zlib(b"body"), gzip.finish().unwrap()] {
            for name in ["application/x-gzip", "gzip", "zlib", "GZIP"] {
                assert_eq!(decompress(name, &body).unwrap(), b"body");
            }
        }
    }

    #[test]
    fn what_cannot_be_read_is_an_error_and_a_bomb_stops_at_the_bound() {
        let body = zlib(b"body");
        for name in [
            "application/x-bz2",
            "application/x-lzma",
            "application/zstd",
            "brotli",
            "",
        ] {
            assert!(
                decompress(name, &body).unwrap_err().contains("only zlib"),
                "{name}"
            );
        }
        let cut = &body[..body.len() - 3];
        for broken in [&b""[..], b"{}", cut, &GZIP, b"\x1f\x8b\x08\x00"] {
            assert!(decompress("gzip", broken).is_err(), "{broken:?}");
        }
        let at_most = vec![0; BYTES_MAX];
        assert_eq!(decompress("gzip", &zlib(&at_most)).unwrap(), at_most);
        let bomb = zlib(&vec![0; 64 * 1024 * 1024]);
        assert!(bomb.len() < 100_000);
        assert!(decompress("gzip", &bomb).unwrap_err().contains("more than"));
    }
}
