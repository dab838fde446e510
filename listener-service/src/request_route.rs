//! Requests that arrive through RabbitMQ, answered by an HTTP target.

use std::{sync::Arc, time::Duration};

use messaging::{
    Answering, Backoff, Connection, Consumer, ConsumerConfig, Delivery, Format, Handled,
    PublishError, Publisher, Reply, ReplyTo, Status, topology::Topology,
};
use tokio::time::{Instant, timeout_at};
use tracing::{debug, warn};

use crate::{
    own_queues::OwnQueues,
    routes::RequestRoute,
    target::{Answer, Target},
};

/// For RabbitMQ to take a reply.
const REPLY_DEADLINE: Duration = Duration::from_secs(5);

/// For any request: one that may wait for days, as a message can, would hold its handler for days.
const PATIENCE_MAX: Duration = Duration::from_secs(5 * 60);

/// The reply to a request that was not answered in time, where its format has one.
const NO_ANSWER: u16 = 504;
/// The status of the reply to one whose answer cannot be passed on.
const BROKEN_ANSWER: u16 = 502;

/// A route at work.
pub(crate) struct Responding {
    consumer: Consumer,
    publisher: Publisher,
}

struct Responder {
    route: String,
    format: Format,
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
        format: route.format,
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
    async fn respond(&self, mut request: Delivery) -> Handled {
        let answering = match self.format.read_request(&mut request) {
            Ok(Answering::None) => {
                self.pass_on(&request).await;
                return Handled::Done;
            }
            Ok(answering) => answering,
            Err(reason) => {
                self.refuse(&request, &reason);
                return Handled::Done;
            }
        };
        let reply_to = match ReplyTo::of(&request, |queue| self.own_queues.contain(queue)) {
            Ok(reply_to) => reply_to,
            Err(reason) => {
                self.refuse(&request, &reason.to_string());
                return Handled::Done;
            }
        };
        let reply = match self.ask(&request).await {
            Some(Answer::Whole(reply)) => Some(answering.reply(reply)),
            Some(Answer::Broken { reason, .. }) => Some(answering.reply(broken(reason))),
            None => answering.failure(NO_ANSWER, "the target did not answer in time"),
        };
        if let Some(reply) = reply {
            self.reply(reply, &request, &reply_to).await;
        }
        Handled::Done
    }

    fn refuse(&self, request: &Delivery, reason: &str) {
        let (route, id) = (&self.route, &request.event.id);
        warn!(
            route,
            request.id = id,
            reason,
            "request refused, its target is not asked"
        );
    }

    /// An event among requests goes to the target as they do: until it answers, or for so long.
    async fn pass_on(&self, event: &Delivery) {
        let answer = self.ask(event).await;
        let status = answer.map(|answer| match answer {
            Answer::Whole(reply) => reply.status,
            Answer::Broken { status, .. } => status,
        });
        if !status.is_some_and(|status| (200..300).contains(&status)) {
            let (route, id) = (&self.route, &event.event.id);
            warn!(route, event.id = id, status, "an event was not taken");
        }
    }

    /// The answer, or none in time.
    async fn ask(&self, request: &Delivery) -> Option<Answer> {
        // The time in the queue is not known, so this is at most what is left.
        let patience = request.expiration().unwrap_or(self.timeout);
        let deadline = Instant::now() + patience.min(PATIENCE_MAX);
        let answer = timeout_at(deadline, self.ask_until(request, deadline)).await;
        if answer.is_err() {
            let (route, id) = (&self.route, &request.event.id);
            warn!(route, request.id = id, "not answered in time");
        }
        answer.ok()
    }

    /// Asks until there is an answer: a target that restarts is back before the deadline.
    async fn ask_until(&self, request: &Delivery, deadline: Instant) -> Answer {
        let mut backoff = Backoff::new();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.target.ask(request, left).await {
                Ok(answer) => {
                    if let Answer::Broken { status, reason } = &answer {
                        let (route, id) = (&self.route, &request.event.id);
                        warn!(route, request.id = id, status, reason, "not answered whole");
                    }
                    return answer;
                }
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

/// The reply to a sender whose target began an answer and did not finish it.
fn broken(reason: String) -> Reply {
    Reply {
        status: BROKEN_ANSWER,
        content_type: Some("text/plain; charset=utf-8".to_owned()),
        body: reason.into(),
    }
}
