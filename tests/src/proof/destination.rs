//! Where the messages of a trial go.

/// What is at the end of a routing key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Destination {
    /// A quorum queue, which takes everything.
    Bound,
    /// No queue.
    Nowhere,
    /// A quorum queue with a limit, which refuses publishes while it is full.
    FullQuorum,
    /// A classic queue with a limit, which refuses publishes while it is full.
    FullClassic,
}

impl Destination {
    /// All of them, in the order of a table.
    pub const ALL: [Self; 4] = [
        Self::Bound,
        Self::Nowhere,
        Self::FullQuorum,
        Self::FullClassic,
    ];
    /// The queues that can be full.
    pub const FULL: [Self; 2] = [Self::FullQuorum, Self::FullClassic];

    /// The routing key, which is the queue's name too where there is a queue.
    pub fn key(self) -> &'static str {
        match self {
            Self::Bound => "proof.bound",
            Self::Nowhere => "proof.nowhere",
            Self::FullQuorum => "proof.full.quorum",
            Self::FullClassic => "proof.full.classic",
        }
    }

    /// Whether a queue is bound.
    pub fn has_queue(self) -> bool {
        self != Self::Nowhere
    }

    /// Whether the queue may refuse a publish.
    pub fn can_be_full(self) -> bool {
        Self::FULL.contains(&self)
    }

    /// `x-queue-type`.
    pub(super) fn queue_type(self) -> &'static str {
        match self {
            Self::Bound | Self::Nowhere | Self::FullQuorum => "quorum",
            Self::FullClassic => "classic",
        }
    }
}
