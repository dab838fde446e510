//! Clients whose requests have large heads, come many at one time on a connection, or as HTTP has
//! them rarely.

use std::future::pending;

use bytes::Bytes;
use tests::rabbitmq::virtual_host;
use tokio::{io::AsyncWriteExt as _, net::TcpStream, task::JoinSet, time::sleep};

use super::{
    AGAIN, ATTACK, Confined, MIB, any_listener, attack, logger, part_of, post_log, served, store,
};

/// At full size.
const CLIENTS: usize = 700;
/// With HTTP/2, at full size: their heads alone are more than the limit.
const CLIENTS_2: usize = 450;
/// With pipelines, at full size: fewer than there are places for requests at work.
const PIPELINES: usize = 200;

/// HTTP/1.1 with so many bytes of headers, whose end does not come.
fn headers(name: &str, value: usize, bytes: usize) -> String {
    let mut head = "POST /log HTTP/1.1\r\nHost: localhost\r\n".to_owned();
    let mut number = 0;
    while head.len() + value < bytes {
        head += &format!("{name}{number}: {}\r\n", "x".repeat(value));
        number += 1;
    }
    head
}

/// HTTP/2 (RFC 9113): on each of 100 streams a request with `bytes` of headers, whose body does not come.
fn streams(bytes: usize) -> Bytes {
    let mut sent = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00".to_vec();
    // Literal fields without indexing (RFC 7541, 6.2.2).
    let mut block = Vec::new();
    let mut field = |name: &str, value: &[u8]| {
        block.extend([0, u8::try_from(name.len()).unwrap()]);
        block.extend(name.as_bytes());
        // An integer of 7 bits and what is above (RFC 7541, 5.1).
        if value.len() < 127 {
            block.push(u8::try_from(value.len()).unwrap());
        } else {
            let rest = value.len() - 127;
            block.extend([127, (rest % 128) as u8 | 128, (rest / 128) as u8]);
        }
        block.extend(value);
    };
    for (name, value) in [
        (":method", "POST"),
        (":scheme", "http"),
        (":authority", "localhost"),
        (":path", "/log"),
    ] {
        field(name, value.as_bytes());
    }
    for number in 0..bytes / 1_000 {
        field(&format!("x{number}"), &[b'x'; 990]);
    }
    const END_HEADERS: u8 = 4;
    for stream in 0..100_u32 {
        let length = u32::try_from(block.len()).unwrap().to_be_bytes();
        sent.extend(&length[1..]);
        sent.extend([1, END_HEADERS]);
        sent.extend((2 * stream + 1).to_be_bytes());
        sent.extend(&block);
    }
    sent.into()
}

#[tokio::test(flavor = "multi_thread")]
async fn heads_whose_end_is_held_back() {
    let dir = tempfile::tempdir().unwrap();
    let logger = logger(dir.path()).await;
    for request in [
        // Just below what a connection buffers, and many above.
        headers("x-a-", 900, 31 * 1024).into(),
        headers("x", 1, 60 * 1024).into(),
    ] {
        let _attack = attack(logger.process.addr, part_of(CLIENTS), &request);
        served(ATTACK / 2, async || {
            store(&logger.process, "small").await;
            assert!(logger.process.is_ready().await);
        })
        .await;
    }
    logger.end().await;
}

/// All heads are in memory before the first of them is looked at, where nothing bounds them.
#[tokio::test(flavor = "multi_thread")]
async fn streams_whose_bodies_are_held_back() {
    let dir = tempfile::tempdir().unwrap();
    let logger = logger(dir.path()).await;
    for request in [streams(14_000), streams(100)] {
        let mut clients = JoinSet::new();
        for _ in 0..part_of(CLIENTS_2) {
            let (addr, request) = (logger.process.addr, request.clone());
            clients.spawn(async move {
                let mut stream = TcpStream::connect(addr).await.unwrap();
                let _ = stream.write_all(&request).await;
                pending::<()>().await;
            });
        }
        served(ATTACK / 2, async || store(&logger.process, "small").await).await;
    }
    logger.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pipelines_whose_answers_nobody_reads() {
    let dir = tempfile::tempdir().unwrap();
    let logger = logger(dir.path()).await;
    let page = "GET /logs?limit=500 HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let event = "POST /log HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
                 Content-Length: 25\r\n\r\n{\"name\":\"x\",\"data\":\"xxx\"}";
    for _ in 0..20 {
        store(&logger.process, &"x".repeat(MIB - 1000)).await;
    }
    for request in [page.repeat(3_000), event.repeat(3_000)] {
        let _attack = attack(logger.process.addr, part_of(PIPELINES), &request.into());
        served(ATTACK / 2, async || {
            store(&logger.process, "small").await;
            assert!(logger.process.is_ready().await);
        })
        .await;
    }
    logger.end().await;
}

/// They always send something, so that none of them is the slowest.
#[tokio::test(flavor = "multi_thread")]
async fn bodies_that_come_slowly() {
    let virtual_host = virtual_host().await;
    let dir = tempfile::tempdir().unwrap();
    let (listener, _target) = any_listener(&virtual_host, dir.path()).await;
    let environment = [("AMQP_URL", virtual_host.url.as_str())];
    let broker = Confined::start("broker-service", dir.path(), &environment).await;
    let mut slow = JoinSet::new();
    for number in 0..part_of(CLIENTS) {
        let addr = broker.process.addr;
        let length = format!("Content-Length: {MIB}\r\n");
        let length = if number % 2 == 0 { length.as_str() } else { "" };
        let head = format!("POST /events/a.b HTTP/1.0\r\nContent-Type: text/plain\r\n{length}\r\n");
        slow.spawn(async move {
            loop {
                if let Ok(mut stream) = TcpStream::connect(addr).await
                    && stream.write_all(head.as_bytes()).await.is_ok()
                {
                    while stream.write_all(&[b'x'; 8 * 1024]).await.is_ok() {
                        sleep(AGAIN * 2).await;
                    }
                }
                sleep(AGAIN).await;
            }
        });
    }
    served(ATTACK, async || {
        let answer = post_log(&broker.process).await;
        assert_eq!(answer.status, 202, "{}", answer.text);
        assert!(broker.process.is_ready().await);
    })
    .await;
    broker.end().await;
    listener.stop().await;
}
