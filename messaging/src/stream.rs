//! Whether a queue is a stream, which AMQP does not say.
//!
//! A stream keeps no place for its consumers: what came before this one began, during a restart or
//! after a cut would never be delivered, and a retry would append a copy for every reader. RabbitMQ
//! counts the consumers of each queue, but none of a stream. A message cannot feign that, as it can
//! feign the header `x-stream-offset`, and to ask takes no permission.

use std::time::Duration;

use lapin::{options::QueueDeclareOptions, types::FieldTable};

use crate::channel::{ChannelError, call};

/// How often it is asked. A quorum queue that does not answer RabbitMQ within 250 ms has no
/// consumers by its word, so one answer is not enough.
const ASKED_MAX: usize = 10;
/// Between two questions.
const PAUSE: Duration = Duration::from_millis(100);

/// Fails with [`ChannelError::Stream`] where `queue`, which `channel` consumes, is a stream.
pub(crate) async fn refuse_stream(
    channel: &lapin::Channel,
    queue: &str,
) -> Result<(), ChannelError> {
    let look_up = QueueDeclareOptions {
        durable: true,
        passive: true,
        exclusive: false,
        auto_delete: false,
        nowait: false,
    };
    for _ in 0..ASKED_MAX {
        let known = call(channel.queue_declare(queue.into(), look_up, FieldTable::default()));
        if known.await?.consumer_count() > 0 {
            return Ok(());
        }
        tokio::time::sleep(PAUSE).await;
    }
    Err(ChannelError::Stream)
}
