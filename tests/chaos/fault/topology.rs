//! Queues and exchanges that somebody deletes.
//!
//! Whoever deletes the queue of a route deletes the events in it, and whoever deletes an exchange
//! deletes its bindings: until a route is bound again, what others accept is not for it. So these two
//! are done while nothing is under way, which is what an operator can do too. The queues of the
//! hand-off are deleted under load.

use std::time::Duration;

use messaging::topology::{EVENTS_EXCHANGE, RETRY_EXCHANGE, dead_queue, retry_queue, route_queue};
use tests::eventually;
use tokio::time::Instant;

use crate::stage::{SINK, Stage};

const REBUILT_DEADLINE: Duration = Duration::from_secs(30);

/// Deletes the queue of the sink's route.
pub(super) async fn route_queue_deleted(stage: &mut Stage<'_>) -> Instant {
    stage.drain().await;
    let queue = route_queue(SINK);
    let management = &stage.virtual_host.management;
    management.delete_queue(&queue).await;
    let healed = Instant::now();
    eventually("the queue is there again", REBUILT_DEADLINE, || async {
        let there = management.queues().await.contains(&queue);
        (there && stage.listener.is_ready().await).then_some(())
    })
    .await;
    rebound(stage).await;
    stage.load.resume();
    healed
}

/// Deletes a retry queue and the dead letters of the sink's route, and the exchange that leads there.
pub(super) async fn hand_off_deleted(stage: &mut Stage<'_>) -> Instant {
    let management = &stage.virtual_host.management;
    let queue = route_queue(SINK);
    let waiting = retry_queue(&queue, Duration::from_secs(1));
    management.delete_queue(&waiting).await;
    management.delete_queue(&dead_queue(&queue)).await;
    management.delete_exchange(RETRY_EXCHANGE).await;
    let healed = Instant::now();
    eventually("retries are there again", REBUILT_DEADLINE, || async {
        let queues = management.queues().await;
        let there = queues.contains(&waiting) && queues.contains(&dead_queue(&queue));
        // Of each of two routes: its queue, its dead letters, and five waits.
        (there && management.bindings(RETRY_EXCHANGE).await == 14).then_some(())
    })
    .await;
    healed
}

/// Deletes the exchange of all events.
pub(super) async fn exchanges_deleted(stage: &mut Stage<'_>) -> Instant {
    stage.drain().await;
    let management = &stage.virtual_host.management;
    management.delete_exchange(EVENTS_EXCHANGE).await;
    let healed = Instant::now();
    rebound(stage).await;
    stage.load.resume();
    healed
}

/// Waits until both routes are bound to the events.
async fn rebound(stage: &Stage<'_>) {
    eventually(
        "both bindings are there again",
        REBUILT_DEADLINE,
        || async {
            let bound = stage
                .virtual_host
                .management
                .bindings(EVENTS_EXCHANGE)
                .await;
            (bound == 2).then_some(())
        },
    )
    .await;
}
