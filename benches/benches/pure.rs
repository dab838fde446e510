//! `cargo bench -p benches`: what an event costs before any I/O.

use std::hint::black_box;

use broker_service::Envelope;
use bytes::Bytes;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use event::{Event, EventType};
use messaging::{Delivery, Message};

const SOURCE: &str = "broker-service";
const DATA: Bytes = Bytes::from_static(&[b'x'; 256]);

fn routing_key(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("routing key");
    let longest = "word.".repeat(50) + "words";
    for (name, text) in [("log.INFO", "log.INFO"), ("255 bytes", longest.as_str())] {
        group.throughput(Throughput::Bytes(text.len() as u64));
        group.bench_function(name, |bench| {
            bench.iter(|| black_box(text).parse::<EventType>());
        });
    }
}

fn envelope(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("envelope");
    for (name, bytes) in [("256 bytes", 256), ("64 KiB", 64 << 10)] {
        let data = "x".repeat(bytes);
        let body = format!(r#"{{"action":"log","log":{{"name":"event","data":"{data}"}}}}"#);
        let body = Bytes::from(body);
        group.throughput(Throughput::Bytes(body.len() as u64));
        group.bench_function(name, |bench| {
            bench.iter(|| Envelope::read(black_box(&body)));
        });
    }
}

fn event(criterion: &mut Criterion) {
    const KEY: EventType = EventType::from_static("log.INFO");
    let new = || Event::new(&KEY, SOURCE, "application/json", DATA);
    let mut group = criterion.benchmark_group("event");
    group.bench_function("new", |bench| bench.iter(new));
    group.bench_function("into message", |bench| {
        bench.iter_batched(new, |event| Message::of(event, &KEY), BatchSize::SmallInput);
    });
    group.bench_function("with a trace into message", |bench| {
        let traced = || {
            let mut event = new();
            let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
            event.extensions.insert("traceparent".into(), trace.into());
            event
        };
        bench.iter_batched(
            traced,
            |event| Message::of(event, &KEY),
            BatchSize::SmallInput,
        );
    });
    group.bench_function("from a message", |bench| {
        let message = || Message::of(new(), &KEY);
        bench.iter_batched(
            message,
            |message| Delivery::of(message, "events.topic.exchange.queue.logs"),
            BatchSize::SmallInput,
        );
    });
}

criterion_group!(pure, routing_key, envelope, event);
criterion_main!(pure);
