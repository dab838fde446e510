//! One route of events at work: each delivery is posted to the target.

use std::{sync::Arc, time::Duration};

use messaging::{
    Connection, Delivery, Failure, Outcome, PublishError, Publisher, Subscriber, topology::Topology,
};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::{routes::EventRoute, target::Target};

/// For RabbitMQ to take an answer.
const ANSWER_DEADLINE: Duration = Duration::from_secs(10);

/// What each delivery needs.
struct Forwarder {
    target: Target,
    answers: Option<Answers>,
}

/// Where the target's answers go, where the events are requests.
struct Answers {
    service: String,
    publisher: Publisher,
}

/// Starts the route: consumes on `consuming`, hands off and answers on `publishing`.
pub(crate) fn start(
    route: &EventRoute,
    target: Target,
    consuming: &Connection,
    publishing: &Connection,
    shutdown: CancellationToken,
) -> Subscriber {
    let subscription = route.subscription.clone();
    let forwarder = Arc::new(Forwarder {
        target,
        answers: route.answers_for.as_ref().map(|service| Answers {
            service: service.clone(),
            publisher: Publisher::start(publishing, Topology::responses(service)),
        }),
    });
    Subscriber::start(
        subscription,
        consuming,
        publishing,
        shutdown,
        move |delivery| {
            let forwarder = forwarder.clone();
            async move { forwarder.attempt(&delivery).await }
        },
    )
}

impl Forwarder {
    async fn attempt(&self, delivery: &Delivery) -> Outcome {
        match &self.answers {
            None => self.target.deliver(delivery).await,
            // In a box: of all that is delivered only little is answered.
            Some(answers) => Box::pin(self.ask(answers, delivery)).await,
        }
    }

    async fn ask(&self, answers: &Answers, delivery: &Delivery) -> Outcome {
        if delivery.sender().is_none() {
            let reason = "the request does not name its sender in the header service";
            return Outcome::Reject(failure(reason.to_owned()));
        }
        match self.target.deliver_and_read(delivery).await {
            Ok(reply) => answers.send(reply, delivery).await,
            Err(outcome) => outcome,
        }
    }
}

impl Answers {
    /// The request is done with once RabbitMQ has the answer. Otherwise the target is asked again.
    async fn send(&self, reply: messaging::Reply, request: &Delivery) -> Outcome {
        let Some(message) = reply.into_response(&self.service, request) else {
            return Outcome::Reject(failure("the request cannot be answered".to_owned()));
        };
        match self.publisher.publish(message, ANSWER_DEADLINE).await {
            Ok(()) => Outcome::Delivered,
            Err(PublishError::Unroutable) => {
                let (service, id) = (&self.service, &request.event.id);
                warn!(
                    service,
                    request.id = id,
                    "nothing consumes the answer any more"
                );
                Outcome::Delivered
            }
            Err(error @ PublishError::TooLarge(_)) => {
                Outcome::Reject(failure(format!("the answer was not sent: {error}")))
            }
            Err(error) => {
                Outcome::Retry(failure(format!("the answer was not sent: {error}")), None)
            }
        }
    }
}

fn failure(reason: String) -> Failure {
    Failure {
        reason,
        status: None,
        answer: None,
    }
}
