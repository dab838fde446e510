//! Compressed data: stored as it came, shown and searched decompressed.

use std::io::Write as _;

use flate2::{
    Compression,
    write::{DeflateEncoder, GzEncoder, ZlibEncoder},
};
use tests::http::Answer;

use super::server::{Logger, Site};

const DATA: &[u8] = br#"{"name":"Placed","n":18446744073709551617,"text":"needle"}"#;
const MIB: usize = 1024 * 1024;

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

/// So many mebibytes of zeros, each a member of its own (RFC 1952, 2.2).
fn bomb(mebibytes: usize) -> Vec<u8> {
    gzip(&vec![0; MIB]).repeat(mebibytes)
}

async fn post(logger: &Logger, id: &str, codings: &[&str], data: &[u8]) -> Answer {
    let mut headers = vec![
        ("ce-specversion", "1.0"),
        ("ce-id", id),
        ("ce-type", "order.placed"),
        ("ce-source", "/shop"),
        ("content-type", "application/json"),
    ];
    headers.extend(codings.iter().map(|coding| ("content-encoding", *coding)));
    logger.post(&headers, data).await
}

pub async fn compressed_data_is_shown_and_searched_as_what_it_holds(site: Site) {
    let logger = site.start().await;
    let twice = gzip(&gzip(DATA));
    for (id, codings, data) in [
        ("gzip", &["gzip"][..], gzip(DATA)),
        ("x-gzip", &["X-GZip"], gzip(DATA)),
        (
            "members",
            &["gzip"],
            [gzip(&DATA[..9]), gzip(&DATA[9..])].concat(),
        ),
        ("deflate", &["deflate"], zlib(DATA)),
        ("raw", &["deflate"], raw_deflate(DATA)),
        ("twice", &["gzip, gzip"], twice.clone()),
        ("two headers", &["gzip", "gzip"], twice),
        ("mixed", &["deflate, identity, gzip"], gzip(&zlib(DATA))),
        ("identity", &["identity"], DATA.to_vec()),
        ("empty", &["gzip"], gzip(b"")),
    ] {
        let answer = post(&logger, id, codings, &data).await;
        assert_eq!(answer.status, 201, "{id}: {}", answer.text);
        // What came is what counts: the same bytes are the same event, others are another one.
        assert_eq!(post(&logger, id, codings, &data).await.status, 200, "{id}");
        assert_eq!(
            post(&logger, id, codings, b"other").await.status,
            409,
            "{id}"
        );
        let event = logger.get(&format!("/logs/{id}")).await.text;
        let shown = match id {
            "empty" => r#""data":"","#.to_owned(),
            _ => format!(r#""data":{},"#, String::from_utf8_lossy(DATA)),
        };
        assert!(event.contains(&shown), "{id}: {event}");
        assert!(
            !event.contains("undecoded") && !event.contains("data_base64"),
            "{event}"
        );
        let listing = logger.get("/logs?limit=1").await.text;
        assert!(listing.contains(&event), "{listing}");
    }
    let found = [
        "identity",
        "mixed",
        "two headers",
        "twice",
        "raw",
        "deflate",
        "members",
        "x-gzip",
        "gzip",
    ];
    assert_eq!(logger.ids("q=NEEDLE").await, found);
    assert_eq!(logger.ids("name=Placed").await, found);
    assert!(logger.ids("q=haystack").await.is_empty());
    let event = logger.get_json("/logs/mixed").await;
    assert_eq!(event["content_encoding"], "deflate, gzip");
    logger.stop().await;
}

pub async fn what_cannot_be_decompressed_is_shown_as_it_came_with_the_reason(site: Site) {
    let logger = site.start().await;
    let packed = gzip(DATA);
    // Of a gigabyte, which fits a body only when it is compressed twice.
    let twice = gzip(&bomb(1024));
    assert!(twice.len() < 100_000 && bomb(900).len() < MIB);
    for (id, coding, data, reason) in [
        (
            "cut",
            "gzip",
            packed[..packed.len() - 3].to_vec(),
            "not compressed as declared",
        ),
        (
            "no gzip",
            "gzip",
            DATA.to_vec(),
            "not compressed as declared",
        ),
        (
            "none at all",
            "gzip",
            Vec::new(),
            "not compressed as declared",
        ),
        (
            "once only",
            "gzip, gzip",
            packed.clone(),
            "not compressed as declared",
        ),
        (
            "no deflate",
            "deflate",
            packed.clone(),
            "not compressed as declared",
        ),
        ("brotli", "br", packed.clone(), "br is not supported"),
        ("zstd", "zstd", packed.clone(), "zstd is not supported"),
        (
            "compress",
            "compress",
            packed.clone(),
            "compress is not supported",
        ),
        ("bomb", "gzip", bomb(900), "more than 1048576 bytes"),
        (
            "nested bomb",
            "gzip, gzip",
            twice,
            "more than 1048576 bytes",
        ),
        (
            "one byte more",
            "gzip",
            gzip(&vec![0; MIB + 1]),
            "more than 1048576 bytes",
        ),
        (
            "one member",
            "gzip",
            gzip(&vec![0; 64 * MIB]),
            "more than 1048576 bytes",
        ),
        ("no text", "gzip", gzip(b"\xff\xfe"), "no text"),
        ("a nul", "gzip", gzip(b"\"a\0b\""), "no text"),
    ] {
        let answer = post(&logger, id, &[coding], &data).await;
        assert_eq!(answer.status, 201, "{id}: {}", answer.text);
        for event in [
            logger.get_json(&format!("/logs/{id}")).await,
            logger.get_json("/logs?limit=1").await["events"][0].clone(),
        ] {
            let undecoded = event["undecoded"].as_str().unwrap();
            assert!(undecoded.contains(reason), "{id}: {undecoded}");
            assert_eq!(event["content_encoding"], coding);
            assert!(
                event["data_base64"].is_string() && event["data"].is_null(),
                "{id}"
            );
        }
    }
    assert!(logger.ids("q=needle").await.is_empty());
    logger.stop().await;
}
