//! Callers of a publisher, each of which waits for its verdict before it publishes again.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use event::{Event, EventType};
use messaging::{Message, Publisher};
use tokio::{sync::watch, task::JoinSet};

use crate::{
    OrPanic as _,
    proof::{Account, Destination, Verdict},
};

/// For one publish; what no broken connection takes.
pub const DEADLINE: Duration = Duration::from_secs(60);
/// Bytes of data of one event.
const DATA_BYTES: usize = 256;
/// After a publish that was not sent, so that an interruption does not use up all numbers.
const PAUSE: Duration = Duration::from_millis(20);

/// The message of a number, as a broker makes it.
pub fn message(number: usize, key: &EventType) -> Message {
    static DATA: [u8; DATA_BYTES] = [b'x'; DATA_BYTES];
    let event = Event {
        id: number.to_string(),
        ..Event::new(key, "/proof", "text/plain", Bytes::from_static(&DATA))
    };
    Message::of(event, key)
}

/// Publishes all numbers, but none before the `limit` has been raised above it. Returns once every
/// publish has returned.
pub(super) async fn publish_all(
    publishers: &[Publisher],
    account: &Arc<Account>,
    limit: &watch::Sender<usize>,
) {
    let mut callers = JoinSet::new();
    for publisher in publishers.iter().cycle().take(account.plan.in_flight) {
        callers.spawn(call(publisher.clone(), account.clone(), limit.subscribe()));
    }
    while let Some(ended) = callers.join_next().await {
        ended.or_panic("a caller");
    }
}

async fn call(publisher: Publisher, account: Arc<Account>, mut limit: watch::Receiver<usize>) {
    let keys = Destination::ALL.map(|destination| {
        let key: EventType = destination.key().parse().or_panic(destination.key());
        key
    });
    while let Some(number) = account.start() {
        let open = limit.wait_for(|limit| number < *limit).await;
        open.or_panic("the limit outlives the callers");
        let key = &keys[account.plan.destination(number) as usize];
        let message = message(number, key);
        // As the broker publishes.
        let published = publisher.publish_unless_blocked(message, DEADLINE).await;
        let verdict = Verdict::of(&published);
        account.tell(number, verdict);
        if verdict.is_unsent() {
            tokio::time::sleep(PAUSE).await;
        }
    }
}
