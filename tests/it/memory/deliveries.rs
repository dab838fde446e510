//! Messages that are large, with targets that take their time, beside a route that is served all the
//! same.

use std::{
    collections::HashMap,
    net::SocketAddr,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{Router, body::Body, extract::State, http::StatusCode, routing::post};
use futures_util::StreamExt as _;
use lapin::{
    BasicProperties,
    types::{AMQPValue, FieldTable},
};
use serde_json::json;
use tests::{
    eventually,
    foreign::Foreign,
    rabbitmq::{VirtualHost, virtual_host},
};
use tokio::{net::TcpListener, sync::watch};

use super::{BUDGET, Confined, MIB, part_of, served};

const EXCHANGE: &str = "events.topic.exchange";

/// A target that reads everything, keeps nothing, and answers while it is open.
struct Sink {
    addr: SocketAddr,
    open: watch::Sender<bool>,
    taken: Arc<Taken>,
}

#[derive(Default)]
struct Taken {
    /// Bytes by the id of the event.
    events: Mutex<HashMap<String, usize>>,
    requests: AtomicUsize,
}

type Shared = (Arc<Taken>, watch::Receiver<bool>);

impl Sink {
    async fn start() -> Self {
        let (open, is_open) = watch::channel(true);
        let taken = Arc::<Taken>::default();
        let router = Router::new().route("/", post(take));
        let router = router.with_state((taken.clone(), is_open));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        #[expect(
            clippy::disallowed_methods,
            reason = "it takes bodies of any size, and has no memory budget"
        )]
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { addr, open, taken }
    }

    fn events(&self) -> usize {
        self.taken.events.lock().unwrap().len()
    }

    fn bytes_of(&self, id: &str) -> Option<usize> {
        self.taken.events.lock().unwrap().get(id).copied()
    }
}

async fn take(
    State((taken, mut is_open)): State<Shared>,
    request: axum::http::Request<Body>,
) -> StatusCode {
    taken.requests.fetch_add(1, Ordering::Relaxed);
    let id = request.headers()["ce-id"].to_str().unwrap().to_owned();
    let mut body = request.into_body().into_data_stream();
    let mut bytes = 0;
    while let Some(Ok(part)) = body.next().await {
        bytes += part.len();
    }
    is_open.wait_for(|is_open| *is_open).await.unwrap();
    taken.events.lock().unwrap().insert(id, bytes);
    StatusCode::OK
}

/// A confined listener with these routes, each to a sink of its own.
struct Routes {
    virtual_host: VirtualHost,
    foreign: Foreign,
    listener: Confined,
    sinks: HashMap<&'static str, Sink>,
    _dir: tempfile::TempDir,
}

impl Routes {
    async fn start(names: &[&'static str]) -> Self {
        Self::start_with(names, "", None).await
    }

    /// Each route with these fields besides, and the listener with so many bytes as its budget.
    async fn start_with(names: &[&'static str], fields: &str, budget: Option<usize>) -> Self {
        let virtual_host = virtual_host().await;
        let dir = tempfile::tempdir().unwrap();
        let (mut sinks, mut routes) = (HashMap::new(), String::new());
        for name in names {
            let sink = Sink::start().await;
            routes += &format!(
                "[[route]]\nname = \"{name}\"\nbindings = [\"{name}.#\"]\ntarget = \"http://{}/\"\n\
                 timeout_ms = 300000\n{fields}",
                sink.addr
            );
            sinks.insert(*name, sink);
        }
        let listener = listener(&virtual_host.url, dir.path(), &routes, budget).await;
        let foreign = Foreign::connect(&virtual_host.url).await;
        Self {
            virtual_host,
            foreign,
            listener,
            sinks,
            _dir: dir,
        }
    }

    async fn publish(&self, route: &str, id: &str, headers: FieldTable, bytes: usize) {
        let properties = BasicProperties::default()
            .with_message_id(id.into())
            .with_content_type("application/octet-stream".into())
            .with_delivery_mode(2)
            .with_headers(headers);
        let (key, body) = (format!("{route}.a"), vec![b'x'; bytes]);
        self.foreign
            .publish(EXCHANGE, &key, properties, &body)
            .await;
    }

    /// Publishes `count` events of `bytes` to each of `routes`.
    async fn publish_all(&self, routes: &[&str], count: usize, bytes: usize) {
        for number in 0..count {
            for route in routes {
                let id = format!("{route}-{bytes}-{number}");
                self.publish(route, &id, FieldTable::default(), bytes).await;
            }
        }
    }

    /// Asserts that the route "small" delivers each event in time, for `during`.
    async fn small_ones_are_delivered(&self, during: Duration) {
        let foreign = Foreign::connect(&self.virtual_host.url).await;
        let number = AtomicUsize::new(0);
        served(during, async || {
            let id = format!("small-{}", number.fetch_add(1, Ordering::Relaxed));
            let properties = BasicProperties::default()
                .with_message_id(id.as_str().into())
                .with_content_type("text/plain".into());
            foreign
                .publish(EXCHANGE, "small.a", properties, b"small")
                .await;
            eventually("its delivery", Duration::from_secs(5), async || {
                self.sinks["small"].bytes_of(&id)
            })
            .await;
        })
        .await;
        foreign.close().await;
    }

    /// Asserts that all have arrived, each once.
    async fn arrived(&self, route: &str, count: usize) {
        let sink = &self.sinks[route];
        let what = format!("{count} events of {route}");
        eventually(&what, Duration::from_secs(120), async || {
            (sink.events() == count).then_some(())
        })
        .await;
        assert_eq!(sink.taken.requests.load(Ordering::Relaxed), count);
    }
}

async fn listener(amqp_url: &str, dir: &Path, routes: &str, budget: Option<usize>) -> Confined {
    let file = dir.join("routes.toml");
    std::fs::write(&file, routes).unwrap();
    let mut environment = vec![
        ("AMQP_URL", amqp_url),
        ("ROUTES_FILE", file.to_str().unwrap()),
        ("DEAD_LETTERS", "queue"),
    ];
    let budget = budget.map(|bytes| bytes.to_string());
    environment.extend(budget.as_deref().map(|bytes| (BUDGET, bytes)));
    Confined::start("listener-service", dir, &environment).await
}

/// What 24 MiB are where the limit is 512 MiB.
fn large() -> usize {
    part_of(24 * MIB)
}

#[tokio::test(flavor = "multi_thread")]
async fn forty_large_ones_wait_for_a_target() {
    let routes = Routes::start(&["large", "small"]).await;
    routes.sinks["large"].open.send_replace(false);
    tokio::join!(
        routes.publish_all(&["large"], 40, large()),
        routes.small_ones_are_delivered(Duration::from_secs(15)),
    );
    routes.sinks["large"].open.send_replace(true);
    routes.arrived("large", 40).await;
    routes.listener.end().await;
}

/// The prefetch has grown by then.
#[tokio::test(flavor = "multi_thread")]
async fn large_ones_come_after_many_small_ones() {
    let routes = Routes::start(&["large", "small"]).await;
    routes.publish_all(&["large"], 500, 100).await;
    routes.arrived("large", 500).await;
    routes.sinks["large"].open.send_replace(false);
    tokio::join!(
        routes.publish_all(&["large"], 20, large()),
        routes.small_ones_are_delivered(Duration::from_secs(10)),
    );
    routes.sinks["large"].open.send_replace(true);
    routes.arrived("large", 520).await;
    routes.listener.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn three_routes_have_many_that_are_fairly_large() {
    let routes = Routes::start(&["one", "two", "three", "small"]).await;
    for name in ["one", "two", "three"] {
        routes.sinks[name].open.send_replace(false);
    }
    tokio::join!(
        routes.publish_all(&["one", "two", "three"], 67, part_of(4 * MIB)),
        routes.small_ones_are_delivered(Duration::from_secs(10)),
    );
    for name in ["one", "two", "three"] {
        routes.sinks[name].open.send_replace(true);
        routes.arrived(name, 67).await;
    }
    routes.listener.end().await;
}

/// Each is larger than what all deliveries may take, so it goes alone while their target waits. RabbitMQ
/// 4.3 takes no more than 16 MiB.
#[tokio::test(flavor = "multi_thread")]
async fn one_huge_one_is_beside_small_ones() {
    const HUGE: usize = 15 * MIB;
    let routes = Routes::start_with(&["huge", "small"], "", Some(HUGE)).await;
    routes.sinks["huge"].open.send_replace(false);
    tokio::join!(
        routes.publish_all(&["huge"], 7, HUGE),
        routes.small_ones_are_delivered(Duration::from_secs(5)),
    );
    routes.sinks["huge"].open.send_replace(true);
    routes.arrived("huge", 7).await;
    routes.listener.end().await;
}

/// Thousands of entries each, which take many times their bytes, on three routes: what these would be
/// sent ahead without a bound in bytes exceeds the limit.
#[tokio::test(flavor = "multi_thread")]
async fn headers_are_large() {
    const LARGE: [&str; 3] = ["a", "b", "c"];
    let routes = Routes::start(&[LARGE[0], LARGE[1], LARGE[2], "small"]).await;
    let mut headers = FieldTable::default();
    for number in 0..8_000 {
        headers.insert(format!("h{number}").into(), AMQPValue::ShortShortInt(1));
    }
    for route in LARGE {
        routes.sinks[route].open.send_replace(false);
    }
    let publish = async {
        for number in 0..300 {
            for route in LARGE {
                let id = format!("{route}-{number}");
                routes.publish(route, &id, headers.clone(), 1).await;
            }
        }
    };
    tokio::join!(
        publish,
        routes.small_ones_are_delivered(Duration::from_secs(10)),
    );
    for route in LARGE {
        routes.sinks[route].open.send_replace(true);
        routes.arrived(route, 300).await;
    }
    routes.listener.end().await;
}

/// What is given back counts against a limit of deliveries, which an operator may have set low. As many
/// as the prefetch come at one time, and there is room for those of two routes.
#[tokio::test(flavor = "multi_thread")]
async fn a_low_limit_of_deliveries_makes_no_dead_letters() {
    const LARGE: [&str; 3] = ["one", "two", "three"];
    const SMALL: usize = 40;
    const AHEAD: usize = 16;
    const ALL: usize = SMALL + 2 * AHEAD;
    let budget = 4 * MIB;
    let routes = Routes::start_with(&LARGE, "concurrency = 8\n", Some(budget)).await;
    let management = &routes.virtual_host.management;
    let limit = json!({"delivery-limit": 3});
    management.set_policy("low", "queue", limit).await;
    routes.publish_all(&LARGE, SMALL, 100).await;
    for route in LARGE {
        routes.arrived(route, SMALL).await;
        routes.sinks[route].open.send_replace(false);
    }
    routes.publish_all(&LARGE, AHEAD, 101).await;
    routes.publish_all(&LARGE, AHEAD, budget * 3 / 8).await;
    for route in LARGE {
        routes.sinks[route].open.send_replace(true);
    }
    for route in LARGE {
        routes.arrived(route, ALL).await;
    }
    routes.listener.end().await;
}
