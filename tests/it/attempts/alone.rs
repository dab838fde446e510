//! An event that its target fails on, with no other event that could show whose fault it is.

use tokio::{net::TcpSocket, sync::Notify, task::JoinSet};

use super::*;

const ATTEMPTS: [&str; 3] = ["1", "2", "3"];
const RETRIES: &str = "retry_ms = [300, 300]";
const ORDERED: &str = "ordered = true\nretry_ms = [300, 300]";

/// A port that refuses connections until somebody listens on it.
fn closed_port(addr: SocketAddr) -> TcpSocket {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_reuseaddr(true).unwrap();
    socket.bind(addr).unwrap();
    socket
}

fn any_port() -> SocketAddr {
    ([127, 0, 0, 1], 0).into()
}

/// A target that a poison crashes, all its connections with it, and that is started again a second
/// later, each time.
fn crashing() -> RawTarget {
    let mut socket = closed_port(any_port());
    let addr = socket.local_addr().unwrap();
    let requests = Arc::<Mutex<Vec<Request>>>::default();
    let all = requests.clone();
    tokio::spawn(async move {
        loop {
            until_it_crashes(socket.listen(64).unwrap(), &all).await;
            socket = closed_port(addr);
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    });
    RawTarget { addr, requests }
}

async fn until_it_crashes(listener: TcpListener, requests: &Arc<Mutex<Vec<Request>>>) {
    let crash = Arc::new(Notify::new());
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            () = crash.notified() => return,
            Ok((stream, _)) = listener.accept() => {
                let (requests, crash) = (requests.clone(), crash.clone());
                connections.spawn(async move {
                    let act = |body: &str, _| {
                        if body.starts_with("poison") {
                            crash.notify_one();
                            return Act::Close;
                        }
                        Act::Ok
                    };
                    connection(stream, &act, &requests).await
                });
            }
        }
    }
}

/// The poison makes its attempts and dies, what is behind it arrives, and the route is not paused
/// when it has nothing to do.
async fn outlives(virtual_host: &VirtualHost, listener: &Service, route: &str, target: &RawTarget) {
    let dead = dead_letters(virtual_host, route, 1).await;
    let headers = &dead["poison-0"];
    assert_eq!(headers["x-gw-attempt"], 3, "{route}: {dead:?}");
    eventually(route, Duration::from_secs(20), || async {
        let routes = http::get(&listener.url("/routes")).await.json();
        let routes = routes["routes"].as_array().unwrap().clone();
        let paused = routes
            .iter()
            .any(|one| one["name"] == route && one["paused"] == true);
        let arrived = bodies("good", 0..3).all(|body| target.attempts().contains_key(&body));
        (arrived && !paused).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_crashes_its_target_dies_though_the_target_is_away_after_it() {
    let virtual_host = virtual_host().await;
    let dir = tempfile::tempdir().unwrap();
    let (ordered, alone) = (crashing(), crashing());
    let routes = route("ordered", ordered.addr, ORDERED) + &route("alone", alone.addr, RETRIES);
    let listener = listener_alone(&virtual_host.url, dir.path(), &routes).await;
    listener.ready().await;
    let begun = Instant::now();
    publish(
        &virtual_host,
        bodies("poison", 0..1).chain(bodies("good", 0..3)),
    )
    .await;
    for (name, target) in [("ordered", &ordered), ("alone", &alone)] {
        outlives(&virtual_host, &listener, name, target).await;
    }
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(40), "{took:?}");
    // What makes a second attempt because the target was away is not asked for a second time.
    let poison = &ordered.attempts()["poison-0"];
    assert!(poison.len() <= ATTEMPTS.len(), "{poison:?}");
    listener.stop().await;
}

/// Nothing is behind it, and nothing else was ever answered.
#[tokio::test(flavor = "multi_thread")]
async fn an_only_event_that_crashes_its_target_dies() {
    let virtual_host = virtual_host().await;
    let dir = tempfile::tempdir().unwrap();
    let (ordered, alone) = (crashing(), crashing());
    let routes = route("ordered", ordered.addr, ORDERED) + &route("alone", alone.addr, RETRIES);
    let listener = listener_alone(&virtual_host.url, dir.path(), &routes).await;
    listener.ready().await;
    publish(&virtual_host, bodies("poison", 0..1)).await;
    for name in ["ordered", "alone"] {
        let dead = dead_letters(&virtual_host, name, 1).await;
        assert_eq!(dead["poison-0"]["x-gw-attempt"], 3, "{name}: {dead:?}");
    }
    assert!(!is_paused(&listener).await);
    listener.stop().await;
}

/// An outage of refused connections is over once a request was sent, whatever came of that.
#[tokio::test(flavor = "multi_thread")]
async fn the_first_event_after_an_outage_holds_up_no_others() {
    let virtual_host = virtual_host().await;
    let dir = tempfile::tempdir().unwrap();
    let denies = "HTTP/1.1 401 No\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
    let kinds = KINDS.into_iter().chain([("denies", Act::Say(denies))]);
    let mut routes = String::new();
    let mut targets = Vec::new();
    for (name, act) in kinds {
        let socket = closed_port(any_port());
        routes += &route(name, socket.local_addr().unwrap(), ORDERED);
        targets.push((name, act, socket));
    }
    let listener = listener_alone(&virtual_host.url, dir.path(), &routes).await;
    listener.ready().await;
    publish(
        &virtual_host,
        bodies("poison", 0..1).chain(bodies("good", 0..3)),
    )
    .await;
    eventually("all routes pause", Duration::from_secs(10), || async {
        let routes = http::get(&listener.url("/routes")).await.text;
        (routes.matches("\"paused\":true").count() == targets.len()).then_some(())
    })
    .await;
    let targets: Vec<_> = targets
        .into_iter()
        .map(|(name, act, socket)| {
            let by_body = move |body: &str, _| match body.starts_with("poison") {
                true => act,
                false => Act::Ok,
            };
            (name, RawTarget::on(socket.listen(64).unwrap(), by_body))
        })
        .collect();
    for (name, target) in &targets {
        outlives(&virtual_host, &listener, name, target).await;
    }
    listener.stop().await;
}
