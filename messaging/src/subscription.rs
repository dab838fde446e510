//! What to subscribe to, and what becomes of events that fail.

use std::{num::NonZeroU32, time::Duration};

use event::Pattern;

use crate::{format::Format, source::Source, topology::Topology};

/// How long deliveries are held while their target is down: less than RabbitMQ waits for an
/// acknowledgement (`consumer_timeout`, 30 minutes by default) before it closes the channel and
/// counts a failed delivery for each. At 50 of them it gives a message up.
const HOLD: Duration = Duration::from_secs(10 * 60);

/// What to subscribe to, and what becomes of events that fail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscription {
    /// Names it in logs and metrics.
    pub name: String,
    /// Where the events come from.
    pub source: Source,
    /// How its messages are read as events.
    pub format: Format,
    /// Types of the events to handle, all where there is none; others are acknowledged unseen.
    pub types: Vec<Pattern>,
    /// Waits between attempts. After the last one an event becomes a dead letter.
    pub retries: Vec<Duration>,
    /// Most handlers at work at one time.
    pub concurrency: u16,
    /// Deliveries that RabbitMQ sends ahead of their acknowledgements, those at work included.
    pub prefetch: u16,
    /// Most attempts in a second.
    pub rate_per_second: Option<NonZeroU32>,
    /// One event at a time, each after the one before it is done or dead.
    pub ordered: bool,
}

impl Subscription {
    /// Waits between attempts where nothing else is said: six attempts within a quarter of an hour.
    pub const RETRIES: [Duration; 5] = [
        Duration::from_secs(1),
        Duration::from_secs(5),
        Duration::from_secs(30),
        Duration::from_secs(120),
        Duration::from_secs(600),
    ];
    /// Most handlers at work where nothing else is said: enough for a target that gathers concurrent
    /// requests into one write.
    pub const CONCURRENCY: u16 = 64;

    /// To the events of this suite whose types match one of `patterns`, in a queue of its own.
    pub fn events(name: &str, patterns: impl IntoIterator<Item = String>) -> Self {
        Self {
            name: name.to_owned(),
            source: Source::events(name, patterns),
            format: Format::CloudEvents,
            types: Vec::new(),
            retries: Self::RETRIES.into(),
            concurrency: Self::CONCURRENCY,
            prefetch: Self::CONCURRENCY * 2,
            rate_per_second: None,
            ordered: false,
        }
    }

    /// Most time that all that is prefetched may take at the subscription's pace.
    pub const AHEAD_MAX: Duration = HOLD;

    /// Most time that the attempts of one event may take where it [waits in
    /// hand](Self::waits_in_hand).
    pub const IN_HAND_MAX: Duration = Duration::from_secs(15 * 60);

    /// Whether events of this type are handled.
    pub fn wants(&self, event_type: &str) -> bool {
        self.types.is_empty() || self.types.iter().any(|types| types.matches(event_type))
    }

    /// Whether an event waits in the listener for its next attempt: one that went through a retry
    /// queue would lose its place, or come to another instance.
    pub fn waits_in_hand(&self) -> bool {
        self.ordered || self.source.queue.is_exclusive()
    }

    /// How long one event may be in hand: such that all that is prefetched has had its turn within
    /// [`HOLD`], and what waits in hand all its attempts besides.
    pub(crate) fn hold(&self) -> Duration {
        if self.waits_in_hand() {
            return Self::IN_HAND_MAX + HOLD;
        }
        HOLD * u32::from(self.concurrency) / u32::from(self.prefetch)
    }

    /// What is declared for it.
    pub fn topology(&self) -> Topology {
        let retries = if self.waits_in_hand() {
            &[]
        } else {
            self.retries.as_slice()
        };
        Topology::subscription(&self.source, retries, self.ordered)
    }
}
