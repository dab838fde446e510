//! The faults: what each is called, how often it is injected, and how.

use std::time::Duration;

use rand::{Rng as _, rngs::StdRng, seq::IndexedRandom as _};
use tests::{
    proxy::{Cut, Mode},
    rabbitmq::signal,
};
use tokio::time::{Instant, sleep};

use crate::stage::Stage;

pub mod poison;
mod topology;

/// For the listener and the broker to notice that RabbitMQ is silent: two heartbeats of 10 s, and
/// what the operating system takes to schedule them.
const NOTICED: Duration = Duration::from_secs(30);
/// Longer than a publish waits for its confirm.
const ALARM: Duration = Duration::from_secs(8);
const SLOW: Duration = Duration::from_secs(10);

/// One row of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    Control,
    ListenerKilled,
    BrokerKilled,
    RabbitmqKilled,
    ConnectionsClosed,
    LoggerKilled,
    RabbitmqFrozen,
    RabbitmqFrozenLong,
    HalfOpen,
    Resets,
    Delay,
    Throttle,
    MemoryAlarm,
    DiskAlarm,
    RouteQueueDeleted,
    HandOffDeleted,
    ExchangeDeleted,
    Poison,
    Everything,
    TargetRefuses,
}

impl Fault {
    /// All of them, in the order of the table.
    pub const ALL: [Self; 20] = [
        Self::Control,
        Self::ListenerKilled,
        Self::BrokerKilled,
        Self::RabbitmqKilled,
        Self::ConnectionsClosed,
        Self::LoggerKilled,
        Self::RabbitmqFrozen,
        Self::RabbitmqFrozenLong,
        Self::HalfOpen,
        Self::Resets,
        Self::Delay,
        Self::Throttle,
        Self::MemoryAlarm,
        Self::DiskAlarm,
        Self::RouteQueueDeleted,
        Self::HandOffDeleted,
        Self::ExchangeDeleted,
        Self::Poison,
        Self::Everything,
        Self::TargetRefuses,
    ];

    /// What [`Self::Everything`] chooses from.
    const MIXED: [Self; 10] = [
        Self::ListenerKilled,
        Self::BrokerKilled,
        Self::LoggerKilled,
        Self::RabbitmqKilled,
        Self::ConnectionsClosed,
        Self::RabbitmqFrozen,
        Self::HalfOpen,
        Self::Resets,
        Self::Delay,
        Self::Throttle,
    ];

    /// Its name in the table.
    pub fn title(self) -> &'static str {
        match self {
            Self::Control => "control: no fault",
            Self::ListenerKilled => "kill -9 of the listener",
            Self::BrokerKilled => "kill -9 of the broker",
            Self::RabbitmqKilled => "kill -9 of RabbitMQ",
            Self::ConnectionsClosed => "all AMQP connections closed",
            Self::LoggerKilled => "kill -9 of the logger",
            Self::RabbitmqFrozen => "RabbitMQ frozen for 30 s",
            Self::RabbitmqFrozenLong => "RabbitMQ frozen for 90 s",
            Self::HalfOpen => "network half-open for 30 s",
            Self::Resets => "AMQP connections reset",
            Self::Delay => "network delayed by 200 ms",
            Self::Throttle => "network throttled to 50 kB/s",
            Self::MemoryAlarm => "memory alarm",
            Self::DiskAlarm => "disk alarm",
            Self::RouteQueueDeleted => "queue of a route deleted",
            Self::HandOffDeleted => "retry and dead-letter queues deleted",
            Self::ExchangeDeleted => "exchanges deleted",
            Self::Poison => "poison, one event in 100",
            Self::Everything => "everything at once",
            Self::TargetRefuses => "target refuses connections",
        }
    }

    /// How often it is injected.
    fn times(self, short: bool) -> u32 {
        let (full, few) = match self {
            Self::Control | Self::Poison => (0, 0),
            Self::ListenerKilled | Self::BrokerKilled => (50, 3),
            Self::RabbitmqKilled => (10, 1),
            Self::ConnectionsClosed | Self::LoggerKilled | Self::Resets => (20, 2),
            Self::RabbitmqFrozen | Self::HalfOpen => (3, 1),
            Self::RabbitmqFrozenLong => (1, 0),
            Self::Delay
            | Self::Throttle
            | Self::MemoryAlarm
            | Self::DiskAlarm
            | Self::RouteQueueDeleted
            | Self::HandOffDeleted
            | Self::ExchangeDeleted => (3, 1),
            Self::Everything => (30, 5),
            Self::TargetRefuses => (1, 1),
        };
        if short { few } else { full }
    }

    /// Events a second.
    pub fn rate(self) -> u32 {
        match self {
            // Its backlog is worked off after ten minutes.
            Self::TargetRefuses => 50,
            _ => 300,
        }
    }

    /// Whether the services reach RabbitMQ by the proxy.
    pub fn through_proxy(self) -> bool {
        matches!(
            self,
            Self::HalfOpen | Self::Resets | Self::Delay | Self::Throttle | Self::Everything
        )
    }

    /// Options of the route to the sink.
    pub fn route_options(self) -> &'static str {
        match self {
            // The ladder to its end in less than the poison's time.
            Self::Poison => "retry_ms = [200, 400, 800]",
            _ => "",
        }
    }

    /// The whole scenario, with the load running from before it to after it.
    pub async fn play(self, stage: &mut Stage<'_>, short: bool, random: &mut StdRng) {
        if self == Self::Poison {
            return poison::play(stage, short).await;
        }
        let calm = Duration::from_secs(if short { 5 } else { 10 });
        stage.run(calm).await;
        let times = self.times(short);
        for time in 1..=times {
            let fault = match self {
                Self::Everything => *Self::MIXED.choose(random).unwrap_or(&Self::Resets),
                fault => fault,
            };
            let healed = fault.inject(stage, self.length(fault, short, random)).await;
            stage.injected();
            // Where everything comes at once, the next fault does not wait for the last one's end.
            if self == Self::Everything && time < times {
                println!("   {time}/{times} {}", fault.title());
                stage.run(random_millis(random, 0..4_000)).await;
                continue;
            }
            let took = stage.recovered(healed).await;
            println!(
                "   {time}/{times} {}: whole again after {took:.1?}",
                fault.title()
            );
            stage.run(random_millis(random, 200..1_200)).await;
        }
        if self == Self::Control {
            stage.run(calm * 2).await;
        }
    }

    /// How long the fault lasts, for those that last.
    fn length(self, fault: Self, short: bool, random: &mut StdRng) -> Duration {
        match (self, fault) {
            (Self::Everything, _) => random_millis(random, 0..8_000),
            (_, Self::LoggerKilled) => random_millis(random, 0..3_000),
            (_, Self::ListenerKilled | Self::BrokerKilled) => random_millis(random, 0..500),
            (_, Self::RabbitmqFrozenLong) => Duration::from_secs(90),
            (_, Self::RabbitmqFrozen | Self::HalfOpen) => NOTICED,
            (_, Self::MemoryAlarm | Self::DiskAlarm) => ALARM,
            (_, Self::TargetRefuses) => Duration::from_secs(if short { 60 } else { 600 }),
            _ => SLOW,
        }
    }

    /// Injects the fault once, and heals it: the moment from which on all could be well again.
    async fn inject(self, stage: &mut Stage<'_>, length: Duration) -> Instant {
        match self {
            Self::ListenerKilled => {
                stage.listener.kill().await;
                sleep(length).await;
                stage.listener.start_again();
            }
            Self::BrokerKilled => {
                stage.broker.kill().await;
                sleep(length).await;
                stage.broker.start_again();
            }
            Self::LoggerKilled => {
                stage.logger.kill().await;
                sleep(length).await;
                stage.logger.start_again();
            }
            Self::RabbitmqKilled => {
                stage.node.kill().await;
                stage.node.start_again().await;
            }
            Self::ConnectionsClosed => {
                let virtual_host = stage.virtual_host.name.clone();
                let close = ["close_all_connections", "--vhost", &virtual_host, "chaos"];
                stage.node.ctl(&close).await;
            }
            Self::RabbitmqFrozen | Self::RabbitmqFrozenLong => {
                signal(stage.node.pid(), "STOP");
                let noticed = silence(stage, length).await;
                signal(stage.node.pid(), "CONT");
                stage.complain_unless(noticed, "a frozen RabbitMQ was not noticed");
            }
            Self::HalfOpen => {
                stage.amqp.set(Mode::HalfOpen).await;
                let noticed = silence(stage, length).await;
                stage.amqp.set(Mode::Pass).await;
                stage.complain_unless(noticed, "a half-open network was not noticed");
            }
            Self::Resets => {
                let cut = stage.amqp.cut(Cut::Reset);
                stage.complain_unless(cut > 0, "there was no connection to reset");
            }
            Self::Delay => {
                let (up, down) = (Duration::from_millis(200), Duration::from_millis(200));
                slow(stage, Mode::Delay { up, down }, length).await;
            }
            Self::Throttle => slow(stage, Mode::Throttle(50_000), length).await,
            Self::MemoryAlarm => {
                let watermark = "set_vm_memory_high_watermark";
                alarm(stage, [watermark, "0"], [watermark, "0.4"], length).await;
            }
            Self::DiskAlarm => {
                let limit = "set_disk_free_limit";
                alarm(stage, [limit, "1000000GB"], [limit, "50MB"], length).await;
            }
            Self::TargetRefuses => {
                stage.target.set(Mode::Refuse).await;
                stage.target.cut(Cut::Reset);
                stage.run(length).await;
                stage.target.set(Mode::Pass).await;
            }
            Self::RouteQueueDeleted => return topology::route_queue_deleted(stage).await,
            Self::HandOffDeleted => return topology::hand_off_deleted(stage).await,
            Self::ExchangeDeleted => return topology::exchanges_deleted(stage).await,
            Self::Control | Self::Poison | Self::Everything => {}
        }
        Instant::now()
    }
}

/// Whether broker and listener notice, where RabbitMQ is silent long enough to be noticed.
async fn silence(stage: &Stage<'_>, length: Duration) -> bool {
    stage.run(length).await;
    length < NOTICED || !(stage.broker.is_ready().await || stage.listener.is_ready().await)
}

/// A network that is slow but there: events are to come through it.
async fn slow(stage: &mut Stage<'_>, mode: Mode, length: Duration) {
    let began = Instant::now();
    stage.amqp.set(mode).await;
    stage.run(length).await;
    let delivered = stage.sink.delivered_since(began + length / 2);
    stage.amqp.set(Mode::Pass).await;
    let enough = length >= SLOW;
    stage.complain_unless(delivered || !enough, "nothing came through a slow network");
}

/// While RabbitMQ blocks publishers, the broker is to say so and to accept nothing.
async fn alarm(stage: &mut Stage<'_>, raise: [&str; 2], clear: [&str; 2], length: Duration) {
    stage.node.ctl(&raise).await;
    stage.run(length / 2).await;
    let raised = Instant::now();
    stage.run(length / 2).await;
    let accepted = stage.load.accepted_since(raised);
    let ready = stage.broker.is_ready().await;
    stage.node.ctl(&clear).await;
    stage.complain_unless(!accepted, "events were accepted during an alarm");
    stage.complain_unless(!ready, "the broker was ready during an alarm");
}

fn random_millis(random: &mut StdRng, range: std::ops::Range<u64>) -> Duration {
    Duration::from_millis(random.random_range(range))
}
