//! Which failures are an event's own and which its target's: events that only their target fails on,
//! connections that it closes, and a target that hangs as a whole.

mod alone;

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{http::StatusCode, response::IntoResponse as _};
use h2::Reason;
use lapin::BasicProperties;
use tests::{
    OrPanic as _, eventually,
    foreign::Foreign,
    http,
    rabbitmq::{VirtualHost, virtual_host},
    suite::{Service, listener_alone},
    target::Target,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    time::Instant,
};

/// What a target does with a request that it has read.
#[derive(Clone, Copy, Debug)]
enum Act {
    Ok,
    Close,
    Reset,
    Hang,
    Say(&'static str),
    /// It answers, and resets the connection as soon as it is used again.
    OkAndLast,
}

const KINDS: [(&str, Act); 6] = [
    ("close", Act::Close),
    ("reset", Act::Reset),
    ("hang", Act::Hang),
    ("garbage", Act::Say("SSH-2.0-surprise\r\n\r\n")),
    ("half", Act::Say("HTTP/1.1 200 OK\r\ncontent-")),
    (
        "busy",
        Act::Say("HTTP/1.1 503 Busy\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"),
    ),
];

/// One request that was read.
#[derive(Clone, Debug)]
struct Request {
    at: Instant,
    body: String,
    attempt: String,
}

/// A target without an HTTP server's manners.
struct RawTarget {
    addr: SocketAddr,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl RawTarget {
    /// One that acts by the body and by the number of the request on its connection.
    async fn start(act: impl Fn(&str, usize) -> Act + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.or_panic("a port");
        Self::on(listener, act)
    }

    fn on(listener: TcpListener, act: impl Fn(&str, usize) -> Act + Send + Sync + 'static) -> Self {
        let addr = listener.local_addr().or_panic("its address");
        let requests = Arc::<Mutex<Vec<Request>>>::default();
        let (act, all) = (Arc::new(act), requests.clone());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (act, all) = (act.clone(), all.clone());
                tokio::spawn(async move { connection(stream, &*act, &all).await });
            }
        });
        Self { addr, requests }
    }

    fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }

    /// The attempts that each body came in, as often as it came.
    fn attempts(&self) -> BTreeMap<String, Vec<String>> {
        let mut attempts = BTreeMap::<_, Vec<_>>::new();
        for Request { body, attempt, .. } in self.requests() {
            attempts.entry(body).or_default().push(attempt);
        }
        attempts
    }
}

async fn connection(
    mut stream: TcpStream,
    act: &(impl Fn(&str, usize) -> Act + Sync),
    requests: &Mutex<Vec<Request>>,
) -> Option<()> {
    for number in 0.. {
        let (attempt, body) = read(&mut stream).await?;
        let act = act(&body, number);
        requests.lock().unwrap().push(Request {
            at: Instant::now(),
            body,
            attempt,
        });
        let ok = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
        match act {
            Act::Ok => stream.write_all(ok.as_bytes()).await.ok()?,
            Act::Close => return None,
            Act::Reset => return stream.set_zero_linger().ok(),
            Act::Hang => while stream.read(&mut [0; 1024]).await.ok()? > 0 {},
            Act::Say(answer) => {
                stream.write_all(answer.as_bytes()).await.ok()?;
                return None;
            }
            Act::OkAndLast => {
                stream.write_all(ok.as_bytes()).await.ok()?;
                stream.readable().await.ok()?;
                return stream.set_zero_linger().ok();
            }
        }
    }
    None
}

/// The attempt and the body of a request.
async fn read(stream: &mut TcpStream) -> Option<(String, String)> {
    let mut read = String::new();
    loop {
        let mut some = [0; 4096];
        let bytes = stream
            .read(&mut some)
            .await
            .ok()
            .filter(|bytes| *bytes > 0)?;
        read += std::str::from_utf8(&some[..bytes]).ok()?;
        let Some((head, body)) = read.split_once("\r\n\r\n") else {
            continue;
        };
        let header = |name: &str| {
            let lines = head.lines().filter_map(|line| line.split_once(": "));
            lines
                .into_iter()
                .find(|(key, _)| key.eq_ignore_ascii_case(name))
        };
        let length: usize = header("content-length")?.1.parse().ok()?;
        if body.len() >= length {
            return Some((header("x-gw-attempt")?.1.to_owned(), body.to_owned()));
        }
    }
}

fn route(name: &str, addr: SocketAddr, lines: &str) -> String {
    format!(
        "[[route]]\nname = \"{name}\"\nbindings = [\"#\"]\ntarget = \"http://{addr}/\"\n\
         timeout_ms = 700\n{lines}\n"
    )
}

async fn publish(virtual_host: &VirtualHost, bodies: impl IntoIterator<Item = String>) {
    let publisher = Foreign::connect(&virtual_host.url).await;
    for body in bodies {
        let properties = BasicProperties::default().with_message_id(body.as_str().into());
        publisher
            .publish("events.topic.exchange", "a.b", properties, body.as_bytes())
            .await;
    }
    publisher.close().await;
}

/// Waits for all dead letters of a route; their ids and the headers.
async fn dead_letters(
    virtual_host: &VirtualHost,
    route: &str,
    count: usize,
) -> BTreeMap<String, serde_json::Value> {
    let queue = format!("events.topic.exchange.queue.{route}.dead");
    let dead = Mutex::new(BTreeMap::new());
    eventually(&queue, Duration::from_secs(30), || async {
        for message in virtual_host.management.take(&queue).await {
            let id = message["properties"]["message_id"].as_str().unwrap();
            let headers = message["properties"]["headers"].clone();
            dead.lock().unwrap().insert(id.to_owned(), headers);
        }
        (dead.lock().unwrap().len() >= count).then_some(())
    })
    .await;
    dead.into_inner().unwrap()
}

async fn is_paused(listener: &Service) -> bool {
    let routes = http::get(&listener.url("/routes")).await.text;
    routes.contains("\"paused\":true")
}

fn bodies(kind: &str, numbers: std::ops::Range<usize>) -> impl Iterator<Item = String> {
    numbers.map(move |number| format!("{kind}-{number}"))
}

/// Each of a few such events in a row makes its attempts and dies, and those behind it move.
#[tokio::test(flavor = "multi_thread")]
async fn an_ordered_route_gets_past_events_that_its_target_fails_on() {
    const POISON: usize = 3;
    let virtual_host = virtual_host().await;
    let dir = tempfile::tempdir().unwrap();
    let (mut routes, mut targets) = (String::new(), Vec::new());
    for (name, act) in KINDS {
        let by_body = move |body: &str, _| {
            if body.starts_with("poison") {
                act
            } else {
                Act::Ok
            }
        };
        let target = RawTarget::start(by_body).await;
        let lines = "ordered = true\nretry_ms = [300, 300]";
        routes += &route(name, target.addr, lines);
        targets.push((name, target));
    }
    let listener = listener_alone(&virtual_host.url, dir.path(), &routes).await;
    listener.ready().await;
    let begun = Instant::now();
    let expected: Vec<_> = bodies("before", 0..2)
        .chain(bodies("poison", 0..POISON))
        .chain(bodies("good", 0..5))
        .collect();
    publish(&virtual_host, expected.clone()).await;
    for (name, target) in targets {
        let dead = dead_letters(&virtual_host, name, POISON).await;
        assert!(
            dead.keys()
                .eq(&bodies("poison", 0..POISON).collect::<Vec<_>>()),
            "{name}: {dead:?}"
        );
        assert!(
            dead.values().all(|headers| headers["x-gw-attempt"] == 3),
            "{name}: {dead:?}"
        );
        eventually(name, Duration::from_secs(10), || async {
            target.attempts().contains_key("good-4").then_some(())
        })
        .await;
        let mut order: Vec<_> = target
            .requests()
            .into_iter()
            .map(|request| request.body)
            .collect();
        order.dedup();
        assert_eq!(order, expected, "{name}");
        for (body, mut attempts) in target.attempts() {
            // What a used connection did not answer goes again, in the same attempt.
            attempts.dedup();
            let all: &[&str] = if body.starts_with("poison") {
                &["1", "2", "3"]
            } else {
                &["1"]
            };
            assert_eq!(attempts, all, "{name}: {body}");
        }
    }
    // Three events, of which each waits 0.7 s for nothing three times, and 0.3 s between.
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(25), "{took:?}");
    listener.stop().await;
}

/// They die after their attempts, and what is behind them does not wait.
#[tokio::test(flavor = "multi_thread")]
async fn events_that_a_target_fails_on_hold_up_no_others() {
    const POISON: usize = 8;
    const GOOD: usize = 10;
    let virtual_host = virtual_host().await;
    let dir = tempfile::tempdir().unwrap();
    let (mut routes, mut targets) = (String::new(), Vec::new());
    for (name, act) in KINDS {
        let by_body = move |body: &str, _| {
            if body.starts_with("poison") {
                act
            } else {
                Act::Ok
            }
        };
        let target = RawTarget::start(by_body).await;
        routes += &route(name, target.addr, "retry_ms = [300, 300]");
        targets.push((name, target));
    }
    let listener = listener_alone(&virtual_host.url, dir.path(), &routes).await;
    listener.ready().await;
    let begun = Instant::now();
    let all = bodies("poison", 0..POISON).chain(bodies("good", 0..GOOD));
    publish(&virtual_host, all).await;
    for (name, target) in targets {
        let dead = dead_letters(&virtual_host, name, POISON).await;
        assert!(
            dead.keys()
                .eq(&bodies("poison", 0..POISON).collect::<Vec<_>>()),
            "{name}: {dead:?}"
        );
        assert!(
            dead.values().all(|headers| headers["x-gw-attempt"] == 3),
            "{name}: {dead:?}"
        );
        let good = target.requests();
        let good: Vec<_> = good
            .iter()
            .filter(|request| request.body.starts_with("good"))
            .collect();
        assert_eq!(good.len(), GOOD, "{name}");
        let waited = good.iter().map(|request| request.at - begun).max().unwrap();
        // Eight that hang take all that is tried at one time at first.
        assert!(waited < Duration::from_secs(5), "{name}: {waited:?}");
        for (body, mut attempts) in target.attempts() {
            attempts.dedup();
            let all: &[&str] = if body.starts_with("poison") {
                &["1", "2", "3"]
            } else {
                &["1"]
            };
            assert_eq!(attempts, all, "{name}: {body}");
        }
    }
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(25), "{took:?}");
    assert!(!is_paused(&listener).await);
    listener.stop().await;
}

/// HTTP/2 says of one request that it failed, and goes on with the others on the connection.
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_of_http_2_that_is_reset_is_an_attempt_of_its_event() {
    const GOOD: usize = 10;
    let virtual_host = virtual_host().await;
    let dir = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let (poison, good) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
    let counts = (poison.clone(), good.clone());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (poison, good) = counts.clone();
            tokio::spawn(async move {
                let mut connection = h2::server::handshake(stream).await.unwrap();
                while let Some(Ok((request, mut answer))) = connection.accept().await {
                    if request.headers()["ce-id"]
                        .to_str()
                        .unwrap()
                        .starts_with("poison")
                    {
                        poison.fetch_add(1, Ordering::SeqCst);
                        answer.send_reset(Reason::INTERNAL_ERROR);
                    } else {
                        good.fetch_add(1, Ordering::SeqCst);
                        let _ = answer.send_response(http_2_ok(), true);
                    }
                }
            });
        }
    });
    let lines = "http2 = true\nretry_ms = [300, 300]";
    let listener = listener_alone(&virtual_host.url, dir.path(), &route("two", addr, lines)).await;
    listener.ready().await;
    let all = bodies("poison", 0..3).chain(bodies("good", 0..GOOD));
    publish(&virtual_host, all).await;
    let dead = dead_letters(&virtual_host, "two", 3).await;
    assert!(
        dead.values().all(|headers| headers["x-gw-attempt"] == 3),
        "{dead:?}"
    );
    // Three attempts for each, and a few while the breaker was open.
    let tried = poison.load(Ordering::SeqCst);
    assert!((9..=18).contains(&tried), "{tried}");
    assert_eq!(good.load(Ordering::SeqCst), GOOD);
    listener.stop().await;
}

fn http_2_ok() -> ::http::Response<()> {
    ::http::Response::new(())
}

/// A connection that its target has closed meanwhile is no failure of anybody.
#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_closes_kept_connections_costs_no_attempts() {
    const EVENTS: usize = 40;
    let virtual_host = virtual_host().await;
    let dir = tempfile::tempdir().unwrap();
    let each = RawTarget::start(|_, _| Act::OkAndLast).await;
    let third = RawTarget::start(|_, number| {
        if number % 3 == 2 {
            Act::OkAndLast
        } else {
            Act::Ok
        }
    })
    .await;
    // It reads the request and hangs up all the same.
    let reads = RawTarget::start(|_, number| if number == 2 { Act::Close } else { Act::Ok }).await;
    let random = RawTarget::start(|_, number| match number {
        0 => Act::Ok,
        _ if rand::random_bool(0.5) => Act::OkAndLast,
        _ if rand::random_bool(0.5) => Act::Reset,
        _ => Act::Ok,
    })
    .await;
    let targets = [
        ("each", each),
        ("third", third),
        ("reads", reads),
        ("random", random),
    ];
    let lines = "retry_ms = []\nconcurrency = 2";
    let routes = targets
        .iter()
        .map(|(name, target)| route(name, target.addr, lines));
    let listener = listener_alone(&virtual_host.url, dir.path(), &routes.collect::<String>()).await;
    listener.ready().await;
    publish(&virtual_host, bodies("event", 0..EVENTS)).await;
    for (name, target) in targets {
        eventually(name, Duration::from_secs(20), || async {
            (target.attempts().len() == EVENTS).then_some(())
        })
        .await;
        let attempts = target.attempts();
        assert!(
            attempts.values().flatten().all(|attempt| attempt == "1"),
            "{name}: {attempts:?}"
        );
        assert!(
            attempts.values().all(|attempts| attempts.len() <= 2),
            "{name}: {attempts:?}"
        );
        let url = listener.url("/metrics");
        let series = format!("subscription_events_total{{route=\"{name}\",outcome=\"delivered\"}}");
        eventually(name, Duration::from_secs(20), || async {
            (http::metric(&url, &series).await == Some(EVENTS)).then_some(())
        })
        .await;
        let dead = format!("events.topic.exchange.queue.{name}.dead");
        assert!(
            virtual_host.management.take(&dead).await.is_empty(),
            "{name}"
        );
    }
    assert!(!is_paused(&listener).await);
    listener.stop().await;
}

/// While a target hangs as a whole its route pauses, and the outage makes no dead letters.
#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_hangs_as_a_whole_is_down() {
    const EVENTS: usize = 40;
    let virtual_host = virtual_host().await;
    let dir = tempfile::tempdir().unwrap();
    let hangs = Arc::new(AtomicBool::new(true));
    let target = Target::start_slow({
        let hangs = hangs.clone();
        move |_, _| {
            let hangs = hangs.clone();
            async move {
                if hangs.load(Ordering::SeqCst) {
                    std::future::pending::<()>().await;
                }
                StatusCode::OK.into_response()
            }
        }
    })
    .await;
    let routes = route("hangs", target.addr, "retry_ms = [100, 100]");
    let listener = listener_alone(&virtual_host.url, dir.path(), &routes).await;
    listener.ready().await;
    publish(&virtual_host, bodies("event", 0..EVENTS)).await;
    eventually("the route pauses", Duration::from_secs(10), || async {
        is_paused(&listener).await.then_some(())
    })
    .await;
    // A time in which each event could have died ten times.
    tokio::time::sleep(Duration::from_secs(8)).await;
    assert!(is_paused(&listener).await);
    let during = target.count();
    assert!(during < 30, "{during} requests to a target that hangs");
    hangs.store(false, Ordering::SeqCst);
    let url = listener.url("/metrics");
    let series = r#"subscription_events_total{route="hangs",outcome="delivered"}"#;
    eventually("all are delivered", Duration::from_secs(20), || async {
        (http::metric(&url, series).await == Some(EVENTS)).then_some(())
    })
    .await;
    listener.stop().await;
    let dead = "events.topic.exchange.queue.hangs.dead";
    assert!(virtual_host.management.take(dead).await.is_empty());
}
