//! A delivery that goes back to RabbitMQ instead of being acknowledged.

use std::sync::Arc;

use lapin::options::{BasicNackOptions, BasicRejectOptions};
use tracing::debug;

use crate::{
    acker::Acker,
    channel::{ChannelError, call},
    intake::Intake,
};

/// What it takes to give a delivery back. Its tag stays in hand until that is sent: no
/// acknowledgement of later ones may be ahead of it.
pub(crate) struct Returned {
    pub(crate) queue: String,
    pub(crate) raw: lapin::Acker,
    pub(crate) tag: u64,
    pub(crate) acker: Arc<Acker>,
}

impl Returned {
    /// To its queue, or to its dead letters.
    pub(crate) async fn reject(&self, requeue: bool) {
        // RabbitMQ 4.3 counts a reject against the limit, and no nack.
        self.gone(call(self.raw.reject(BasicRejectOptions { requeue })).await);
    }

    /// To its queue, since it came without its body; where it awaits room for so many bytes, once
    /// there is some.
    pub(crate) async fn once_there_is_room(self, room: Option<(Arc<Intake>, usize)>, channel: u16) {
        debug!(
            queue = self.queue,
            "a delivery found no room, and goes back to its queue"
        );
        metrics::counter!("memory_budget_given_back_total").increment(1);
        match room {
            Some((intake, bytes)) => intake.with_room(channel, bytes, || self.nack()).await,
            None => self.nack().await,
        }
    }

    async fn nack(&self) {
        let options = BasicNackOptions {
            multiple: false,
            requeue: true,
        };
        self.gone(call(self.raw.nack(options)).await);
    }

    fn gone(&self, answer: Result<bool, ChannelError>) {
        match answer {
            Ok(true) => self.acker.gone(self.tag),
            // The channel is gone: RabbitMQ delivers the event once more.
            Ok(false) => debug!(queue = self.queue, "too late to give back"),
            Err(error) => debug!(queue = self.queue, %error, "could not give back"),
        }
    }
}
