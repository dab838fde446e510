//! How fast the publisher is, by the publishes on their way and by its channels.
//!
//! So many callers as a window has places are the same as a window of that size, as long as they are
//! no more than the publisher's own window (`IN_FLIGHT_MAX`): hence it is the callers that are varied,
//! and nobody has to configure a window. Beyond it they wait in the publisher's queue. A batch of 500
//! is `--publishes 500`: its time is by how many of it are on their way at once.

mod speeds;

use std::{
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use clap::Args;
use event::EventType;
use indicatif::ProgressBar;
use messaging::{Connection, Publisher, topology::Topology};
use tests::{
    OrPanic as _, eventually,
    proof::{DEADLINE, Destination, Queues, message},
    rabbitmq::VirtualHost,
};
use tokio::{task::JoinSet, time::Instant};

use self::speeds::Speeds;

#[derive(Args)]
pub struct Sweep {
    /// Messages of each measurement
    #[arg(long, default_value_t = 30_000)]
    publishes: usize,

    /// In each of which everything is measured once; one more at first does not count
    #[arg(long, default_value_t = 7)]
    rounds: usize,

    /// Publishes on their way at the same time
    #[arg(long, value_delimiter = ',', default_values_t = [64, 128, 256, 512, 1024])]
    callers: Vec<usize>,
}

/// How the publishes get to RabbitMQ.
pub struct Way {
    connections: usize,
    channels: usize,
    publishers: Vec<Publisher>,
    open: Vec<Connection>,
}

impl Sweep {
    pub async fn run(&self, virtual_host: &VirtualHost) -> ExitCode {
        let mut ways = Vec::new();
        for (connections, channels) in [(1, 1), (1, 2), (1, 4), (2, 1)] {
            ways.push(Way::open(&virtual_host.url, connections, channels).await);
        }
        let queues = Queues::connect(&virtual_host.url).await;
        queues.declare(Destination::Bound, None).await;

        let mut cells: Vec<_> = (0..ways.len())
            .flat_map(|way| self.callers.iter().map(move |callers| (way, *callers)))
            .collect();
        let mut speeds = Speeds::default();
        let bar = ProgressBar::new((cells.len() * (self.rounds + 1)) as u64);
        for round in 0..=self.rounds {
            for (way, callers) in &cells {
                let took = publish(&ways[*way].publishers, *callers, self.publishes).await;
                queues.purge(Destination::Bound).await;
                if round > 0 {
                    speeds.add(*way, *callers, took);
                }
                bar.inc(1);
            }
            // Whatever changes in the course of time then favours none of them.
            cells.reverse();
        }
        bar.finish_and_clear();
        let titles: Vec<_> = ways.iter().map(Way::title).collect();
        let Self {
            publishes, rounds, ..
        } = self;
        let table = speeds.table(&titles, &self.callers, *publishes);
        println!("{publishes} publishes each, medians of {rounds} rounds\n\n{table}");
        for connection in ways.iter().flat_map(|way| &way.open) {
            connection.close().await;
        }
        queues.close().await;
        ExitCode::SUCCESS
    }
}

impl Way {
    async fn open(url: &str, connections: usize, channels: usize) -> Self {
        let mut way = Self {
            connections,
            channels,
            publishers: Vec::new(),
            open: Vec::new(),
        };
        for _ in 0..connections {
            let connection = Connection::open("sweep", &url.parse().or_panic(url));
            let first = Publisher::start(&connection, Topology::events());
            let others = (1..channels).map(|_| first.on_another_channel());
            way.publishers.extend(others);
            way.publishers.push(first);
            way.open.push(connection);
        }
        for publisher in &way.publishers {
            eventually("the publisher", Duration::from_secs(60), || async {
                publisher.status().into_result().ok()
            })
            .await;
        }
        way
    }

    fn title(&self) -> String {
        let plural = |count: usize, noun: &str| match count {
            1 => format!("1 {noun}"),
            count => format!("{count} {noun}s"),
        };
        match self.connections {
            1 => plural(self.channels, "channel"),
            connections => plural(connections, "connection"),
        }
    }
}

/// Publishes so many messages, each of which must be taken.
async fn publish(publishers: &[Publisher], callers: usize, publishes: usize) -> Duration {
    let next = Arc::new(AtomicUsize::new(0));
    let begun = Instant::now();
    let mut tasks = JoinSet::new();
    for publisher in publishers.iter().cycle().take(callers) {
        let (publisher, next) = (publisher.clone(), next.clone());
        tasks.spawn(async move {
            let key: EventType = Destination::Bound.key().parse().or_panic("the key");
            loop {
                let number = next.fetch_add(1, Relaxed);
                if number >= publishes {
                    break;
                }
                let published = publisher.publish_unless_blocked(message(number, &key), DEADLINE);
                published.await.or_panic("a publish");
            }
        });
    }
    while let Some(ended) = tasks.join_next().await {
        ended.or_panic("a caller");
    }
    begun.elapsed()
}
