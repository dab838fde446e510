//! Messages that lapin cannot parse, on one route: they arrive cleaned, and the other route notices
//! nothing.

use std::{collections::BTreeSet, time::Duration};

use axum::http::StatusCode;
use lapin::types::{AMQPValue, FieldTable};
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use tests::{
    eventually,
    foreign::Foreign,
    rabbitmq::{VirtualHost, virtual_host},
    raw::{Raw, entry, long, nested, properties, short, with_text},
    suite::{Service, listener_alone},
    target::Target,
};

const EXCHANGE: &str = "events.topic.exchange";
/// Events of the healthy route while hostile messages come in.
const HEALTHY: usize = 60;
const FUZZED: usize = 3000;

/// A listener with a hostile and a healthy route.
struct Stage {
    virtual_host: VirtualHost,
    listener: Service,
    hostile: Target,
    healthy: Target,
    raw: Raw,
    connections: BTreeSet<String>,
    _dir: tempfile::TempDir,
}

impl Stage {
    async fn start(hostile: StatusCode, query: &str) -> Self {
        let virtual_host = virtual_host().await;
        let (hostile, healthy) = (
            Target::answering(hostile).await,
            Target::answering(StatusCode::OK).await,
        );
        let dir = tempfile::tempdir().unwrap();
        let mut routes = String::new();
        for (name, target) in [("hostile", &hostile), ("healthy", &healthy)] {
            routes += &format!(
                "[[route]]\nname = \"{name}\"\nbindings = [\"{name}.#\"]\ntarget = \"http://{}/\"\nretry_ms = [50]\n",
                target.addr
            );
        }
        let url = format!("{}{query}", virtual_host.url);
        let listener = listener_alone(&url, dir.path(), &routes).await;
        listener.ready().await;
        let connections = eventually("its connections", Duration::from_secs(20), || async {
            let connections = virtual_host.management.connections().await;
            (connections.len() == 2).then_some(connections)
        })
        .await;
        let raw = Raw::connect(&virtual_host.url).await;
        Self {
            virtual_host,
            listener,
            hostile,
            healthy,
            raw,
            connections,
            _dir: dir,
        }
    }

    /// Publishes hostile messages, properties and body, among healthy ones.
    async fn publish(&mut self, hostile: &[Vec<u8>]) {
        let rounds = hostile.len().max(HEALTHY);
        for round in 0..rounds {
            if let Some(properties) = hostile.get(round) {
                let key = b"hostile.caf\xe9";
                self.raw.publish(EXCHANGE, key, properties, b"{}").await;
            }
            if round < HEALTHY {
                let properties = properties(b"", format!("h-{round}").as_bytes());
                self.raw
                    .publish(EXCHANGE, b"healthy.one", &properties, b"{}")
                    .await;
            }
        }
        self.raw.confirmed().await;
    }

    /// Awaits all, and finds that the healthy route and both connections are as they were.
    async fn finish(self, hostile: usize) -> BTreeSet<String> {
        let received = eventually("all that is hostile", Duration::from_secs(60), || async {
            (self.hostile.count() >= hostile).then(|| self.hostile.received())
        })
        .await;
        let healthy = self.healthy.wait_for(HEALTHY).await;
        let ids: BTreeSet<_> = healthy
            .iter()
            .map(|event| event.header("ce-id").to_owned())
            .collect();
        assert_eq!((ids.len(), healthy.len()), (HEALTHY, HEALTHY));
        let now = self.virtual_host.management.connections().await;
        assert!(now.is_superset(&self.connections), "a connection was lost");
        self.listener.stop().await;
        assert_eq!(self.healthy.count(), HEALTHY, "a duplicate");
        let dead = "events.topic.exchange.queue.healthy.dead";
        assert_eq!(self.virtual_host.left(dead).await, 0);
        received
            .iter()
            .map(|event| event.header("ce-id").to_owned())
            .collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_that_are_not_utf8_arrive_replaced_under_ids_of_their_own() {
    let mut stage = Stage::start(StatusCode::OK, "").await;
    let mut hostile: Vec<_> = [
        &b"caf\xe9"[..],
        b"caf\xe8",
        b"\xff",
        b"caf?",
        b"a\nb",
        b"a\rb",
    ]
    .map(|id| properties(b"", id))
    .into();
    // content_type, content_encoding, correlation_id, reply_to, type, app_id, cluster_id
    for place in [0, 1, 5, 6, 10, 12, 13] {
        hostile.push(with_text(place, b"caf\xe9", &[b'p', b'a' + place]));
    }
    let inner = entry(b"deep\xff", b'S', &long(b"\xfe"));
    hostile.push(properties(&entry(b"caf\xe9", b'F', &long(&inner)), b"name"));
    for id in [b"caf\xe9", b"caf\xe8"] {
        let headers = [
            entry(b"cloudEvents:id", b'S', &long(id)),
            entry(b"cloudEvents:type", b'S', &long(b"\xff")),
        ];
        hostile.push(properties(&headers.concat(), b"id of AMQP"));
    }
    let count = hostile.len();
    stage.publish(&hostile).await;
    let ids = stage.finish(count).await;
    // The two of CloudEvents are made from the same bytes as the two of AMQP.
    assert_eq!(ids.len(), count - 2);
    assert!(ids.contains("caf?") && ids.contains("pa"), "{ids:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_that_was_made_stays_over_attempts_and_in_the_dead_letter() {
    let mut stage = Stage::start(StatusCode::INTERNAL_SERVER_ERROR, "").await;
    stage
        .publish(&[properties(b"", b"caf\xe9"), properties(b"", b"caf\xe8")])
        .await;
    let dead = "events.topic.exchange.queue.hostile.dead";
    let mut found = Vec::new();
    eventually("two dead letters", Duration::from_secs(20), || {
        let management = &stage.virtual_host.management;
        async move { (management.depth(dead).await == 2).then_some(()) }
    })
    .await;
    found.extend(stage.virtual_host.management.empty(dead).await);
    let dead: BTreeSet<_> = found
        .iter()
        .map(|dead| {
            let headers = &dead["properties"]["headers"];
            assert_eq!(headers["x-gw-status"], 500);
            assert!(
                headers["x-gw-cleaned"]
                    .as_str()
                    .unwrap()
                    .contains("message_id")
            );
            dead["properties"]["message_id"]
                .as_str()
                .unwrap()
                .to_owned()
        })
        .collect();
    assert_eq!(stage.finish(4).await, dead);
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_nested_thousands_deep_are_delivered_as_bytes() {
    let mut stage = Stage::start(StatusCode::OK, "").await;
    let mut hostile = Vec::new();
    for (id, depth, tag) in [
        (b"1", 5_000, b'F'),
        (b"2", 5_000, b'A'),
        (b"3", 18_000, b'A'),
        (b"4", 40, b'F'),
        (b"5", 3, b'F'),
    ] {
        let header = entry(b"deep", tag, &nested(depth, tag));
        hostile.push(properties(&header, id));
    }
    let wide = entry(b"wide", b'A', &long(&[b'V'; 100_000]));
    hostile.push(properties(&wide, b"6"));
    stage.publish(&hostile).await;
    assert_eq!(stage.finish(6).await.len(), 6);
}

/// Larger than what was negotiated: headers that another program wrote, or RabbitMQ's own beside.
async fn too_large(query: &str, answer: StatusCode, deliveries: usize) {
    let mut stage = Stage::start(answer, query).await;
    let one = entry(b"large", b'S', &long(&[b'x'; 131_000]));
    let many: Vec<u8> = (0..900)
        .flat_map(|number| entry(format!("n{number}").as_bytes(), b'S', &long(&[b'x'; 100])))
        .collect();
    let some = entry(b"some", b'S', &long(&[b'x'; 10_000]));
    let hostile = [one, many, some].map(|headers| properties(&headers, &headers[1..6]));
    // Through a queue where they die at once, which adds headers of RabbitMQ's own.
    let foreign = Foreign::connect(&stage.virtual_host.url).await;
    let mut arguments = FieldTable::default();
    arguments.insert("x-message-ttl".into(), AMQPValue::LongInt(0));
    for (name, value) in [("exchange", EXCHANGE), ("routing-key", "hostile.dead")] {
        let value = AMQPValue::LongString(value.into());
        arguments.insert(format!("x-dead-letter-{name}").into(), value);
    }
    foreign.queue("dying", arguments).await;
    for properties in &hostile {
        stage.raw.publish("", b"dying", properties, b"{}").await;
    }
    stage.publish(&hostile).await;
    foreign.close().await;
    if answer != StatusCode::OK {
        let dead = "events.topic.exchange.queue.hostile.dead";
        let management = &stage.virtual_host.management;
        eventually("all dead letters", Duration::from_secs(20), || async {
            (management.depth(dead).await == 6).then_some(())
        })
        .await;
    }
    // The same message twice, each under the id it came with.
    assert_eq!(stage.finish(deliveries).await.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_above_frame_max_are_left_out() {
    too_large("", StatusCode::OK, 6).await;
}

/// The copies of it fit as well.
#[tokio::test(flavor = "multi_thread")]
async fn headers_above_a_small_frame_max_are_left_out_of_every_copy() {
    too_large("?frame_max=8192", StatusCode::INTERNAL_SERVER_ERROR, 12).await;
}

/// RabbitMQ 4 ends a connection that asks for less than 8192, and says nothing.
#[tokio::test(flavor = "multi_thread")]
async fn headers_above_the_smallest_frame_max_are_left_out_where_there_is_one() {
    let query = "?frame_max=4096";
    let virtual_host = virtual_host().await;
    let (version, _erlang) = virtual_host.management.versions().await;
    if version.starts_with("3.") {
        return too_large(query, StatusCode::INTERNAL_SERVER_ERROR, 12).await;
    }
    let dir = tempfile::tempdir().unwrap();
    let url = format!("{}{query}", virtual_host.url);
    let route = "[[route]]\nname = \"one\"\nbindings = [\"#\"]\ntarget = \"http://127.0.0.1:1/\"\n";
    let listener = listener_alone(&url, dir.path(), route).await;
    eventually("a reason", Duration::from_secs(20), || async {
        let reason = listener.not_ready().await;
        reason.contains("no connection to RabbitMQ").then_some(())
    })
    .await;
    listener.stop().await;
}

/// A table of random entries: names and texts of any bytes, values of any kind.
fn fuzzed_table(random: &mut StdRng, depth: usize) -> Vec<u8> {
    let mut table = Vec::new();
    for _ in 0..random.random_range(0..6) {
        let name = bytes(random, 12);
        let (tag, value) = fuzzed_value(random, depth);
        table.extend_from_slice(&entry(&name, tag, &value));
    }
    table
}

fn fuzzed_value(random: &mut StdRng, depth: usize) -> (u8, Vec<u8>) {
    let tags = if depth == 0 {
        &b"tbBsuIilfdDTSxV"[..]
    } else {
        b"tbBsuIilfdDTSxVFA"
    };
    let tag = tags[random.random_range(0..tags.len())];
    let fixed = |random: &mut StdRng, length| (0..length).map(|_| random.random()).collect();
    let value = match tag {
        b'V' => Vec::new(),
        b't' | b'b' | b'B' => fixed(random, 1),
        b's' | b'u' => fixed(random, 2),
        b'I' | b'i' | b'f' => fixed(random, 4),
        b'D' => fixed(random, 5),
        b'l' | b'd' | b'T' => fixed(random, 8),
        b'F' => long(&fuzzed_table(random, depth - 1)),
        b'A' if random.random_ratio(1, 20) => nested(random.random_range(1..9000), b'A'),
        b'A' => {
            let count = random.random_range(0..5);
            let values = (0..count).map(|_| fuzzed_value(random, depth - 1));
            long(
                &values
                    .flat_map(|(tag, value)| [vec![tag], value].concat())
                    .collect::<Vec<u8>>(),
            )
        }
        _ => long(&bytes(random, 60)),
    };
    (tag, value)
}

fn bytes(random: &mut StdRng, max: usize) -> Vec<u8> {
    let length = random.random_range(0..max);
    (0..length).map(|_| random.random()).collect()
}

/// Properties at random, but those that RabbitMQ itself checks, and an id of its own for each.
fn fuzzed_properties(random: &mut StdRng, number: usize) -> Vec<u8> {
    let checked: u16 = 1 << 8 | 1 << 4; // expiration, user_id
    let flags = (random.random::<u16>() & 0xfffc & !checked) | 1 << 7;
    let mut properties = flags.to_be_bytes().to_vec();
    for place in (0..14).filter(|place| flags & 1 << (15 - place) != 0) {
        match place {
            2 => properties.extend_from_slice(&long(&fuzzed_table(random, 4))),
            3 => properties.push(random.random_range(1..3)),
            4 => properties.push(random.random()),
            8 => {
                let mut id = bytes(random, 30);
                id.extend_from_slice(format!("#{number}").as_bytes());
                properties.extend_from_slice(&short(&id));
            }
            9 => properties.extend_from_slice(&random.random::<u64>().to_be_bytes()),
            _ => properties.extend_from_slice(&short(&bytes(random, 255))),
        }
    }
    properties
}

#[tokio::test(flavor = "multi_thread")]
async fn thousands_of_random_messages_arrive_and_disturb_nobody() {
    let seed = 0x0016_000a;
    let mut random = StdRng::seed_from_u64(seed);
    let hostile: Vec<_> = (0..FUZZED)
        .map(|number| fuzzed_properties(&mut random, number))
        .collect();
    let mut stage = Stage::start(StatusCode::OK, "").await;
    stage.publish(&hostile).await;
    assert_eq!(stage.finish(FUZZED).await.len(), FUZZED, "seed {seed}");
}
