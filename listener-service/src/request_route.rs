//! Requests that arrive through RabbitMQ, answered by an HTTP target.

use std::{sync::Arc, time::Duration};

use messaging::{
    Backoff, Connection, Consumer, ConsumerConfig, Delivery, Handled, PublishError, Publisher,
    Reply, ReplyTo, Status, topology::Topology,
};
use tokio::time::{Instant, timeout_at};
use tracing::{debug, warn};

use crate::{own_queues::OwnQueues, routes::RequestRoute, target::Target};

/// For RabbitMQ to take a reply.
const REPLY_DEADLINE: Duration = Duration::from_secs(5);

/// For any request: one that may wait for days, as a message can, would hold its handler for days.
const PATIENCE_MAX: Duration = Duration::from_secs(5 * 60);

/// A route at work.
pub(crate) struct Responding {
    consumer: Consumer,
    publisher: Publisher,
}

struct Responder {
    route: String,
    target: Target,
    /// For requests that say nothing of their own patience.
    timeout: Duration,
    publisher: Publisher,
    own_queues: OwnQueues,
}

/// Starts the route: consumes on `consuming`, replies on `publishing`.
pub(crate) fn start(
    route: &RequestRoute,
    target: Target,
    consuming: &Connection,
    publishing: &Connection,
    own_queues: OwnQueues,
) -> Responding {
    let publisher = Publisher::start(publishing, Topology::default());
    let responder = Arc::new(Responder {
        route: route.name.clone(),
        target,
        timeout: route.target.timeout,
        publisher: publisher.clone(),
        own_queues,
    });
    let config = ConsumerConfig {
        queue: route.source.queue.name().to_owned(),
        topology: Topology::requests(&route.source),
        prefetch: route.flow.prefetch,
        concurrency: route.flow.concurrency.into(),
        ordered: false,
    };
    let consumer = Consumer::start(consuming, config, move |request| {
        let responder = responder.clone();
        async move { responder.respond(request).await }
    });
    Responding {
        consumer,
        publisher,
    }
}

impl Responding {
    /// Whether requests come in now, and answers can be sent.
    pub(crate) fn status(&self) -> Status {
        self.consumer.status().and(self.publisher.status())
    }

    pub(crate) async fn drain(&self, deadline: Duration) {
        self.consumer.drain(deadline).await;
    }
}

impl Responder {
    /// A request is done with, whatever came of it: its sender waits for a moment only, and one
    /// that was not answered in time is not answered any more.
    async fn respond(&self, request: Delivery) -> Handled {
        let (route, id) = (&self.route, &request.event.id);
        let reply_to = match ReplyTo::of(&request, |queue| self.own_queues.contain(queue)) {
            Ok(reply_to) => reply_to,
            Err(reason) => {
                warn!(route, request.id = id, %reason, "request refused, its target is not asked");
                return Handled::Done;
            }
        };
        // The time in the queue is not known, so this is at most what is left.
        let patience = request.expiration().unwrap_or(self.timeout);
        let patience = patience.min(PATIENCE_MAX);
        let deadline = Instant::now() + patience;
        match timeout_at(deadline, self.ask(&request, deadline)).await {
            Ok(reply) => self.reply(reply, &request, &reply_to).await,
            Err(_elapsed) => warn!(route, request.id = id, "not answered in time"),
        }
        Handled::Done
    }

    /// Asks until there is an answer: a target that restarts is back before the deadline.
    async fn ask(&self, request: &Delivery, deadline: Instant) -> Reply {
        let mut backoff = Backoff::new();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.target.ask(request, left).await {
                Ok(reply) => return reply,
                Err(reason) => {
                    warn!(
                        route = self.route,
                        request.id = request.event.id,
                        reason,
                        "not answered"
                    );
                }
            }
            tokio::time::sleep(backoff.next_wait()).await;
        }
    }

    async fn reply(&self, reply: Reply, request: &Delivery, reply_to: &ReplyTo) {
        let (route, id, status) = (&self.route, &request.event.id, reply.status);
        let message = reply.into_message(request, reply_to);
        match self.publisher.publish(message, REPLY_DEADLINE).await {
            Ok(()) => debug!(route, request.id = id, status, "answered"),
            Err(PublishError::Unroutable) => {
                let queue = reply_to.as_str();
                warn!(
                    route,
                    request.id = id,
                    queue,
                    "the queue for the answer is gone"
                );
            }
            Err(error) => warn!(route, request.id = id, %error, "the answer was not sent"),
        }
    }
}
