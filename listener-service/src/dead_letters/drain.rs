//! From a route's queue of dead letters into logger-service: one more route, whose target is the
//! store.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use messaging::{
    Breaker, Connection, Consumer, ConsumerConfig, DeadLetter, Delivery, Handled,
    topology::{Topology, dead_queue},
};
use tokio_util::sync::CancellationToken;
use tracing::error;

use crate::{
    dead_letters::{
        letter::new_letter,
        store::{Store, StoreError},
    },
    routes::EventRoute,
};

/// Dead letters stored at one time. They are few, and may be large.
const CONCURRENCY: u16 = 8;
/// Before a dead letter that logger-service refuses is offered again.
const REFUSED_WAIT: Duration = Duration::from_secs(60);

/// The drain of a route, at work.
pub(crate) struct Drain {
    pub(crate) consumer: Consumer,
    pub(crate) breaker: Arc<Breaker>,
    stop: CancellationToken,
}

struct Drainer {
    route: String,
    /// Of the route, where a replay brings the event back to.
    queue: String,
    store: Store,
    breaker: Arc<Breaker>,
    stop: CancellationToken,
}

impl Drain {
    /// Starts to drain the dead letters of `route`.
    pub(crate) fn start(
        route: &EventRoute,
        store: Store,
        consuming: &Connection,
        shutdown: &CancellationToken,
    ) -> Self {
        let name = &route.subscription.name;
        let queue = route.subscription.source.queue.name().to_owned();
        let config = ConsumerConfig {
            queue: dead_queue(&queue),
            topology: Topology::dead_letters(&queue),
            prefetch: CONCURRENCY,
            concurrency: CONCURRENCY.into(),
            ordered: false,
        };
        let breaker = Arc::new(Breaker::new(&format!("{name}.dead"), 1, false));
        let stop = shutdown.child_token();
        let drainer = Arc::new(Drainer {
            route: name.clone(),
            queue,
            store,
            breaker: breaker.clone(),
            stop: stop.clone(),
        });
        let consumer = Consumer::start(consuming, config, move |delivery| {
            let drainer = drainer.clone();
            async move { drainer.drain(delivery).await }
        });
        Self {
            consumer,
            breaker,
            stop,
        }
    }

    /// Takes no more dead letters. What waits for the logger goes back to the queue.
    pub(crate) async fn stop(&self, deadline: Duration) {
        self.stop.cancel();
        self.consumer.drain(deadline).await;
        self.breaker.retire();
    }
}

impl Drainer {
    async fn drain(&self, delivery: Delivery) -> Handled {
        let dead = DeadLetter::read(delivery);
        let id = dead.event.id.clone();
        let letter = match new_letter(dead, &self.route, &self.queue) {
            Ok(letter) => letter,
            Err(error) => {
                error!(route = self.route, event.id = id, %error, "a dead letter cannot be written as JSON");
                return Handled::Left;
            }
        };
        tokio::select! {
            () = self.store(letter, &id) => Handled::Done,
            () = self.stop.cancelled() => Handled::Left,
        }
    }

    /// Tries until it is stored. Whatever is wrong, the dead letter stays in its queue meanwhile.
    async fn store(&self, letter: Bytes, id: &str) {
        loop {
            let pass = self.breaker.pass().await;
            let stored = self.store.put(letter.clone()).await;
            if let Err(StoreError::Away(reason)) = &stored {
                self.breaker
                    .failed(&format!("logger-service {reason}"), None, false);
                continue;
            }
            self.breaker.answered();
            drop(pass);
            let Err(error) = stored else {
                let route = self.route.clone();
                metrics::counter!("listener_dead_letters_total", "route" => route).increment(1);
                return;
            };
            let route = &self.route;
            error!(route, event.id = id, %error, "a dead letter cannot be stored, and stays in its queue");
            tokio::time::sleep(REFUSED_WAIT).await;
        }
    }
}
