//! The faults: what each is called, how often it is injected, and how.

use std::{net::SocketAddr, time::Duration};

use rand::{Rng as _, rngs::StdRng, seq::IndexedRandom as _};

use crate::stage::Stage;

pub mod hostile;
mod injection;
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
    Hostile,
    Everything,
    TargetRefuses,
}

impl Fault {
    /// All of them, in the order of the table.
    pub const ALL: [Self; 21] = [
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
        Self::Hostile,
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
            Self::Hostile => "hostile messages on another route",
            Self::Everything => "everything at once",
            Self::TargetRefuses => "target refuses connections",
        }
    }

    /// How often it is injected.
    fn times(self, short: bool) -> u32 {
        let (full, few) = match self {
            Self::Control | Self::Poison | Self::Hostile => (0, 0),
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

    /// Whether it takes its time beside the others, with a node and services of its own.
    pub fn is_aside(self) -> bool {
        self == Self::TargetRefuses
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

    /// Routes beside those that every event takes.
    pub fn more_routes(self, target: SocketAddr) -> String {
        match self {
            Self::Hostile => hostile::route(target),
            _ => String::new(),
        }
    }

    /// The whole scenario, with the load running from before it to after it.
    pub async fn play(self, stage: &mut Stage<'_>, short: bool, random: &mut StdRng) {
        if self == Self::Poison {
            return poison::play(stage, short).await;
        }
        if self == Self::Hostile {
            return hostile::play(stage, short).await;
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
}

fn random_millis(random: &mut StdRng, range: std::ops::Range<u64>) -> Duration {
    Duration::from_millis(random.random_range(range))
}
