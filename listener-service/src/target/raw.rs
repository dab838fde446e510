//! Targets that misbehave: they close, reset, or answer with garbage.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use bytes::Bytes;
use messaging::{Delivery, Message};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

use super::*;

/// What a target does after reading a request.
#[derive(Clone)]
enum Act {
    /// It answers and keeps the connection.
    Answer(Vec<u8>),
    /// It sends this and closes the connection.
    Last(Vec<u8>),
    Reset,
    Hang,
    /// It answers, and closes the connection with the next request unread.
    LastOfAll(Vec<u8>),
}

const TIMED_OUT: &[u8] =
    b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\nConnection: Close\r\n\r\n";
const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";

/// Reads one request. None at the end of the connection.
async fn request(stream: &mut TcpStream) -> Option<()> {
    let mut read = Vec::new();
    while !read.ends_with(b"{\"end\":1}") {
        let mut some = [0; 4096];
        let bytes = stream
            .read(&mut some)
            .await
            .ok()
            .filter(|bytes| *bytes > 0)?;
        read.extend_from_slice(&some[..bytes]);
    }
    Some(())
}

async fn connection(
    mut stream: TcpStream,
    act: Arc<dyn Fn(usize) -> Act + Send + Sync>,
    requests: Arc<AtomicUsize>,
) {
    for number in 0.. {
        if request(&mut stream).await.is_none() {
            return;
        }
        requests.fetch_add(1, Ordering::SeqCst);
        match act(number) {
            Act::Answer(answer) => stream.write_all(&answer).await.unwrap(),
            Act::Last(answer) => {
                let _ = stream.write_all(&answer).await;
                return;
            }
            Act::Reset => {
                stream.set_zero_linger().unwrap();
                return;
            }
            Act::Hang => std::future::pending().await,
            Act::LastOfAll(answer) => {
                stream.write_all(&answer).await.unwrap();
                let _more = stream.readable().await;
                stream.set_zero_linger().unwrap();
                return;
            }
        }
    }
}

/// A target that acts by the number of a request on its connection, with a count of requests.
async fn start(act: impl Fn(usize) -> Act + Send + Sync + 'static) -> (Target, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = target(&format!("http://{}/", listener.local_addr().unwrap()));
    let requests = Arc::<AtomicUsize>::default();
    let (act, counted): (Arc<dyn Fn(usize) -> Act + Send + Sync>, _) =
        (Arc::new(act), requests.clone());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(connection(stream, act.clone(), counted.clone()));
        }
    });
    (target, requests)
}

fn target(url: &str) -> Target {
    let config = TargetConfig {
        url: url.parse().unwrap(),
        timeout: Duration::from_millis(1_500),
        headers: HeaderMap::new(),
        signing_secrets: Vec::new(),
        http2: false,
        mode: Mode::Binary,
        forward: Forward::default(),
    };
    Target::new(&config).unwrap()
}

fn delivery() -> Delivery {
    delivery_of(Bytes::from_static(b"{\"end\":1}"))
}

fn delivery_of(data: Bytes) -> Delivery {
    let event_type = "order.placed".parse().unwrap();
    let event = Event::new(&event_type, "/shop", "application/json", data);
    Delivery::of(Message::of(event, &event_type), "Q")
}

#[tokio::test]
async fn what_was_sent_and_not_answered_may_be_the_events_fault() {
    let large = format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "x".repeat(1024 * 1024));
    for (name, act) in [
        ("close", Act::Last(Vec::new())),
        ("reset", Act::Reset),
        ("hang", Act::Hang),
        ("garbage", Act::Last(b"SSH-2.0-surprise\r\n\r\n".to_vec())),
        (
            "half a head",
            Act::Last(b"HTTP/1.1 200 OK\r\ncontent-le".to_vec()),
        ),
        ("no status", Act::Last(b"HTTP/1.1 \r\n\r\n".to_vec())),
        ("a head without end", Act::Answer(large.into_bytes())),
        (
            "two lengths",
            Act::Answer(
                b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n".to_vec(),
            ),
        ),
    ] {
        let (target, requests) = start(move |_| act.clone()).await;
        let outcome = target.deliver(&delivery()).await;
        assert!(
            matches!(outcome, Outcome::Unclear(..)),
            "{name}: {outcome:?}"
        );
        assert_eq!(requests.load(Ordering::SeqCst), 1, "{name}");
        let outcome = target.deliver_and_read(&delivery()).await;
        assert!(
            matches!(outcome, Err(Outcome::Unclear(..))),
            "{name}: {outcome:?}"
        );
    }
}

#[tokio::test]
async fn a_target_that_is_not_reached_is_down() {
    // Connections beyond the backlog are not accepted, and unused addresses do not answer.
    let refusing = {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        format!("http://{}/", listener.local_addr().unwrap())
    };
    let plaintext = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let no_tls = format!("https://{}/", plaintext.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = plaintext.accept().await {
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        }
    });
    let full = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let full_addr = full.local_addr().unwrap();
    for url in [
        refusing.as_str(),
        no_tls.as_str(),
        "http://nowhere.invalid/",
    ] {
        let outcome = target(url).deliver(&delivery()).await;
        assert!(matches!(outcome, Outcome::Down(..)), "{url}: {outcome:?}");
    }
    // A full backlog of 128: connecting takes longer than an attempt may.
    let mut waiting = Vec::new();
    for _ in 0..400 {
        let connect = TcpStream::connect(full_addr);
        match tokio::time::timeout(Duration::from_millis(300), connect).await {
            Ok(stream) => waiting.push(stream),
            Err(_elapsed) => break,
        }
    }
    let outcome = target(&format!("http://{full_addr}/"))
        .deliver(&delivery())
        .await;
    assert!(matches!(outcome, Outcome::Down(..)), "{outcome:?}");
}

#[tokio::test]
async fn what_a_used_connection_did_not_answer_goes_again_at_once() {
    // Each connection accepts one event, and ends at the next one, in one way or another.
    for (name, second) in [
        ("close", Act::Last(Vec::new())),
        ("reset", Act::Reset),
        ("idle", Act::LastOfAll(OK.to_vec())),
        ("timed out", Act::Last(TIMED_OUT.to_vec())),
    ] {
        let first = if name == "idle" {
            second.clone()
        } else {
            Act::Answer(OK.to_vec())
        };
        let (target, _) = start(move |number| {
            if number == 0 {
                first.clone()
            } else {
                second.clone()
            }
        })
        .await;
        for number in 0..20 {
            let outcome = target.deliver(&delivery()).await;
            assert_eq!(outcome, Outcome::Delivered, "{name}: event {number}");
        }
    }
}

#[tokio::test]
async fn what_goes_again_does_so_once_and_within_one_deadline() {
    // The first event is answered; each later one ends its connection, even a new one.
    let answered = Arc::new(AtomicUsize::new(0));
    let (target, requests) = start(move |_| match answered.fetch_add(1, Ordering::SeqCst) {
        0 => Act::Answer(OK.to_vec()),
        _ => Act::Last(Vec::new()),
    })
    .await;
    assert_eq!(target.deliver(&delivery()).await, Outcome::Delivered);
    for expected in [3, 4] {
        // The second one finds no kept-alive connection.
        let outcome = target.deliver(&delivery()).await;
        assert!(matches!(outcome, Outcome::Unclear(..)), "{outcome:?}");
        assert_eq!(requests.load(Ordering::SeqCst), expected);
    }
    let answered = Arc::new(AtomicUsize::new(0));
    let (target, _) = start(move |_| match answered.fetch_add(1, Ordering::SeqCst) {
        0 => Act::Answer(OK.to_vec()),
        1 => Act::Last(Vec::new()),
        _ => Act::Hang,
    })
    .await;
    assert_eq!(target.deliver(&delivery()).await, Outcome::Delivered);
    let begun = Instant::now();
    let outcome = target.deliver(&delivery()).await;
    assert!(matches!(outcome, Outcome::Unclear(..)), "{outcome:?}");
    assert!(
        begun.elapsed() < Duration::from_millis(2_500),
        "{:?}",
        begun.elapsed()
    );
}

/// One that was waited for on a connection of its own, or that closes nothing, is an answer.
#[tokio::test]
async fn a_timeout_that_the_target_answers_goes_again_on_a_used_connection_only() {
    let (target, requests) = start(|_| Act::Last(TIMED_OUT.to_vec())).await;
    let outcome = target.deliver(&delivery()).await;
    assert!(matches!(outcome, Outcome::Retry(..)), "{outcome:?}");
    assert_eq!(requests.load(Ordering::SeqCst), 1);

    let kept = b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\n\r\n";
    let (target, requests) = start(|_| Act::Answer(kept.to_vec())).await;
    for expected in [1, 2] {
        let outcome = target.deliver(&delivery()).await;
        assert!(matches!(outcome, Outcome::Retry(..)), "{outcome:?}");
        assert_eq!(requests.load(Ordering::SeqCst), expected);
    }

    // Once, and then it is the answer.
    let answered = Arc::new(AtomicUsize::new(0));
    let (target, requests) = start(move |_| match answered.fetch_add(1, Ordering::SeqCst) {
        0 => Act::Answer(OK.to_vec()),
        _ => Act::Last(TIMED_OUT.to_vec()),
    })
    .await;
    assert_eq!(target.deliver(&delivery()).await, Outcome::Delivered);
    let outcome = target.deliver(&delivery()).await;
    assert!(matches!(outcome, Outcome::Retry(..)), "{outcome:?}");
    assert_eq!(requests.load(Ordering::SeqCst), 3);
}

/// Its target has done what it was asked for.
#[tokio::test]
async fn what_has_a_status_and_no_whole_answer_is_not_asked_again() {
    let long = format!(
        "HTTP/1.1 200 OK\r\ncontent-length: 70000\r\n\r\n{}",
        "x".repeat(70_000)
    );
    for (answer, reason) in [
        (long.as_str(), "more than 65536 bytes"),
        ("HTTP/1.1 200 OK\r\ncontent-length: 20\r\n\r\ntoo short", ""),
        (
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
            "",
        ),
    ] {
        let bytes = answer.as_bytes().to_vec();
        let (target, requests) = start(move |_| Act::Last(bytes.clone())).await;
        let outcome = target.deliver_and_read(&delivery()).await.unwrap_err();
        let Outcome::Reject(failure) = outcome else {
            panic!("{outcome:?}");
        };
        assert_eq!(failure.status, Some(200));
        assert!(failure.reason.contains(reason), "{failure:?}");
        let answer = target.ask(&delivery(), Duration::from_secs(1)).await;
        assert!(
            matches!(answer, Ok(Answer::Broken { status: 200, .. })),
            "{answer:?}"
        );
        assert_eq!(requests.load(Ordering::SeqCst), 2);
    }
}

#[tokio::test]
async fn a_2xx_delivers_whatever_comes_with_it() {
    let headers = |count| {
        let lines = (0..count).map(|number| format!("x-{number}: {number}\r\n"));
        format!(
            "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n{}\r\n",
            lines.collect::<String>()
        )
    };
    let long = format!(
        "HTTP/1.1 200 OK\r\ncontent-length: 0\r\nx: {}\r\n\r\n",
        "x".repeat(64 * 1024)
    );
    for answer in [
        headers(150),
        headers(1_000),
        headers(2_000),
        long,
        "HTTP/1.0 200 OK\r\n\r\nbody until the end".to_owned(),
        "HTTP/1.1 200\r\ncontent-length: 0\r\n\r\n".to_owned(),
        "HTTP/1.1 200 \r\ncontent-length: 0\r\n\r\n".to_owned(),
        "HTTP/1.1 299 whatever, really?\r\ncontent-length: 0\r\n\r\n".to_owned(),
        "HTTP/1.1 204 No Content\r\n\r\nbody".to_owned(),
        "HTTP/1.1 204 No Content\r\ncontent-length: 4\r\n\r\nbody".to_owned(),
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok and more".to_owned(),
        "HTTP/1.1 200 OK\r\ncontent-length: 20\r\n\r\ntoo short".to_owned(),
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\nbroken".to_owned(),
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhel".to_owned(),
        "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\n\r\nunknown".to_owned(),
        "HTTP/1.1 200 OK\r\ncontent-encoding: unknown\r\ncontent-length: 1\r\n\r\nx".to_owned(),
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n".to_owned(),
        "HTTP/1.1 200 OK\r\nx: caf\u{e9}\r\ncontent-length: 0\r\n\r\n".to_owned(),
        "HTTP/1.1 200 OK\r\nbad name: x\r\ncontent-length: 0\r\n\r\n".to_owned(),
        "HTTP/1.1 200 OK\r\nx : x\r\ncontent-length: 0\r\n\r\n".to_owned(),
        "HTTP/1.1 200 OK\r\nx: folded\r\n  further\r\ncontent-length: 0\r\n\r\n".to_owned(),
        "HTTP/1.1 200 OK\ncontent-length: 0\n\n".to_owned(),
    ] {
        let begin: String = answer.chars().take(120).collect();
        let (target, requests) = start(move |_| Act::Last(answer.clone().into_bytes())).await;
        let outcome = target.deliver(&delivery()).await;
        assert_eq!(outcome, Outcome::Delivered, "{begin}");
        assert_eq!(requests.load(Ordering::SeqCst), 1, "{begin}");
    }
}

/// Reads no more than this of a request, answers, and closes the connection.
async fn refuse_unread(bytes: usize, answer: &'static [u8]) -> Target {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = target(&format!("http://{}/", listener.local_addr().unwrap()));
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut read = vec![0; bytes];
                let _ = stream.read_exact(&mut read).await;
                let _ = stream.write_all(answer).await;
                let _ = stream.shutdown().await;
            });
        }
    });
    target
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_answer_of_a_target_that_does_not_read_the_body_counts() {
    let large = Bytes::from(vec![b'x'; 16 * 1024 * 1024]);
    for (bytes, answer, status) in [
        (
            100,
            &b"HTTP/1.1 413 Too Large\r\ncontent-length: 3\r\nconnection: close\r\n\r\nbig"[..],
            413,
        ),
        (
            50_000,
            b"HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\n\r\n",
            401,
        ),
        (1, b"HTTP/1.0 500 Oops\r\n\r\nuntil the end", 500),
    ] {
        let target = refuse_unread(bytes, answer).await;
        for number in 0..40 {
            let outcome = target.deliver(&delivery_of(large.clone())).await;
            let (Outcome::Reject(failure)
            | Outcome::Unclear(failure, _)
            | Outcome::Retry(failure, _)) = outcome
            else {
                panic!("{status}, event {number}: {outcome:?}");
            };
            assert_eq!(failure.status, Some(status), "event {number}: {failure:?}");
        }
    }
}
