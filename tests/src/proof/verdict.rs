//! What a publisher said of one publish, in one byte.

use messaging::PublishError;

/// A verdict, or that there was none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Verdict {
    /// The publish has not returned.
    Untold,
    /// `Ok`.
    Taken,
    /// [`PublishError::Unroutable`].
    Unroutable,
    /// [`PublishError::Nacked`].
    Nacked,
    /// [`PublishError::Forbidden`].
    Forbidden,
    /// [`PublishError::TooLarge`].
    TooLarge,
    /// [`PublishError::Blocked`].
    Blocked,
    /// [`PublishError::Disconnected`].
    Disconnected,
    /// [`PublishError::Overloaded`].
    Overloaded,
    /// [`PublishError::Stalled`].
    Stalled,
    /// [`PublishError::Timeout`].
    Timeout,
    /// [`PublishError::Unknown`].
    Unknown,
}

impl Verdict {
    /// All of them, each at the place of its number.
    pub const ALL: [Self; 12] = [
        Self::Untold,
        Self::Taken,
        Self::Unroutable,
        Self::Nacked,
        Self::Forbidden,
        Self::TooLarge,
        Self::Blocked,
        Self::Disconnected,
        Self::Overloaded,
        Self::Stalled,
        Self::Timeout,
        Self::Unknown,
    ];

    /// Whether the message was said to be in no queue.
    pub fn is_refusal(self) -> bool {
        matches!(self, Self::Unroutable | Self::Nacked) || self.is_unsent()
    }

    /// Whether RabbitMQ was said to have had no say.
    pub fn is_unsent(self) -> bool {
        matches!(
            self,
            Self::Forbidden
                | Self::TooLarge
                | Self::Blocked
                | Self::Disconnected
                | Self::Overloaded
        )
    }

    /// Whether the message's fate was left open.
    pub fn is_open(self) -> bool {
        matches!(self, Self::Stalled | Self::Timeout | Self::Unknown)
    }

    pub(super) fn of(published: &Result<(), PublishError>) -> Self {
        match published {
            Ok(()) => Self::Taken,
            Err(PublishError::Unroutable) => Self::Unroutable,
            Err(PublishError::Nacked) => Self::Nacked,
            Err(PublishError::Forbidden(_)) => Self::Forbidden,
            Err(PublishError::TooLarge(_)) => Self::TooLarge,
            Err(PublishError::Blocked(_)) => Self::Blocked,
            Err(PublishError::Disconnected(_)) => Self::Disconnected,
            Err(PublishError::Overloaded) => Self::Overloaded,
            Err(PublishError::Stalled(_)) => Self::Stalled,
            Err(PublishError::Timeout) => Self::Timeout,
            Err(PublishError::Unknown) => Self::Unknown,
        }
    }
}
