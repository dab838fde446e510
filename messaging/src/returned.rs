//! A delivery that goes back to RabbitMQ instead of being acknowledged.

use std::{sync::Arc, time::Duration};

use lapin::options::{BasicNackOptions, BasicRejectOptions};
use tokio::{
    sync::{Mutex, Notify},
    time::timeout,
};
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

/// Deliveries without room that were sent ahead, up to an earlier prefetch. They go back one by one:
/// RabbitMQ delivers what came back in turn, so each would take the room of the next, which goes back
/// again and again, up to the queue's limit of deliveries.
#[derive(Debug, Default)]
pub(crate) struct InTurn {
    turn: Mutex<()>,
    /// A delivery came with its body.
    came: Notify,
}

/// Those that wait longer for their turn go back without: RabbitMQ ends a consumer that holds one for
/// too long.
const TURN_MAX: Duration = Duration::from_secs(600);

impl InTurn {
    /// A delivery came with its body.
    pub(crate) fn came(&self) {
        self.came.notify_waiters();
    }

    /// Gives one back after those before it have come again.
    pub(crate) async fn give_back(
        &self,
        returned: &Returned,
        intake: &Intake,
        channel: u16,
        bytes: usize,
    ) {
        let turn = timeout(TURN_MAX, self.turn.lock()).await;
        if turn.is_err() {
            return returned.nack().await;
        }
        let came = self.came.notified();
        returned.once_there_is_room(intake, channel, bytes).await;
        let _elapsed = timeout(TURN_MAX, came).await;
    }
}

impl Returned {
    /// To its queue, or to its dead letters.
    pub(crate) async fn reject(&self, requeue: bool) {
        // RabbitMQ 4.3 counts a reject against the limit, and no nack.
        self.gone(call(self.raw.reject(BasicRejectOptions { requeue })).await);
    }

    /// To its queue, once there is room for so many bytes, since it came without its body.
    pub(crate) async fn once_there_is_room(&self, intake: &Intake, channel: u16, bytes: usize) {
        debug!(
            queue = self.queue,
            "a delivery found no room, and goes back to its queue"
        );
        metrics::counter!("memory_budget_given_back_total").increment(1);
        intake.with_room(channel, bytes, || self.nack()).await;
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
