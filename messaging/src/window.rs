//! The publishes in flight on one channel.

use std::{future::Future, pin::Pin, time::Duration};

use futures_util::{FutureExt as _, StreamExt as _, poll, stream::FuturesUnordered};
use lapin::{Confirmation, options::BasicPublishOptions, types::ShortString};
use tokio::time::timeout;

use crate::{
    Publisher,
    channel::{Channel, ChannelError},
    message::{Identity, Message},
    refusals::Refusals,
    verdicts::{Verdicts, Waiting},
};

/// For lapin to tell the end of a channel to each publish that was in flight on it.
const END_DEADLINE: Duration = Duration::from_secs(1);

/// A message to publish, and whom to tell its verdict.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) message: Message,
    pub(crate) waiting: Waiting,
}

/// What is known of a message once it is sent.
struct Sent {
    exchange: ShortString,
    identity: Identity,
    waiting: Waiting,
}

/// A publish under way: what was sent, and its confirm.
type InFlight = Pin<Box<dyn Future<Output = Confirmed> + Send>>;
type Confirmed = (Sent, Result<Confirmation, ChannelError>);

/// The publishes of one channel, from the first poll to the verdict.
#[derive(Default)]
pub(crate) struct Window {
    in_flight: FuturesUnordered<InFlight>,
    verdicts: Verdicts,
    /// The channel ended before their confirm.
    failed: Vec<Sent>,
}

impl Window {
    pub(crate) fn len(&self) -> usize {
        self.in_flight.len()
    }

    /// Settles what is sure by now that nothing is outstanding.
    pub(crate) fn settle_if_idle(&mut self) {
        // Here and not where a confirm is noted: `start` notes some too, even its own one.
        if self.in_flight.is_empty() {
            let resolved = self.verdicts.take_resolved();
            self.verdicts.settle(resolved);
        }
    }

    /// Notes the next confirm; pends for ever where nothing is in flight.
    pub(crate) async fn next(&mut self) -> Result<(), ChannelError> {
        match self.in_flight.next().await {
            Some(confirmed) => self.note(confirmed),
            None => std::future::pending().await,
        }
    }

    /// Sends one message, and settles what resolved before it was sent.
    pub(crate) async fn start(&mut self, channel: &Channel, job: Job) -> Result<(), ChannelError> {
        let resolved = self.verdicts.take_resolved();
        let mut publish: InFlight = Box::pin(publish((**channel).clone(), job));
        // The first poll takes the delivery tag and queues the frames, in the order of the jobs.
        match poll!(publish.as_mut()) {
            std::task::Poll::Ready(confirmed) => self.note(confirmed)?,
            std::task::Poll::Pending => self.in_flight.push(publish),
        }
        // Returns may sit on confirms that are ready and not yet noted.
        while let Some(Some(confirmed)) = self.in_flight.next().now_or_never() {
            self.note(confirmed)?;
        }
        self.verdicts.settle(resolved);
        Ok(())
    }

    /// Waits for what is in flight and closes the channel.
    pub(crate) async fn finish(&mut self, channel: &Channel) -> Result<(), ChannelError> {
        while let Some(confirmed) = self.in_flight.next().await {
            self.note(confirmed)?;
        }
        self.settle_if_idle();
        channel.close().await;
        Ok(())
    }

    /// Finds out whether a publish was refused when the channel ended by `error`, which is not
    /// told to the one that was refused alone nor always first, and notes what was. Whoever is
    /// told nothing takes its fate as unknown.
    pub(crate) async fn end(mut self, error: ChannelError, refusals: &Refusals) -> ChannelError {
        if !matches!(error, ChannelError::Refused { .. } | ChannelError::Amqp(_)) {
            return error;
        }
        let mut error = error;
        let drain = async {
            while let Some((sent, confirm)) = self.in_flight.next().await {
                self.failed.push(sent);
                if let Err(refused @ ChannelError::Refused { .. }) = confirm {
                    error = refused;
                }
            }
        };
        // An error leaves the rest unknown.
        let _ = timeout(END_DEADLINE, drain).await;
        if let ChannelError::Refused { reason, .. } = &error {
            self.refuse(reason, refusals);
        }
        error
    }

    /// With several of one kind in flight nobody knows which of them was refused: RabbitMQ may
    /// have taken those before, if its permissions were just changed.
    fn refuse(self, reason: &str, refusals: &Refusals) {
        let mut refused: Vec<_> = self
            .failed
            .into_iter()
            .filter(|sent| refusals.note(reason, &sent.exchange, &sent.identity.1))
            .collect();
        if let (Some(sent), true) = (refused.pop(), refused.is_empty())
            && let Some(verdict) = refusals.verdict(&sent.exchange, &sent.identity.1)
        {
            // An error says that the caller gave up.
            let _ = sent.waiting.send(Err(verdict));
        }
    }

    fn note(&mut self, (sent, confirm): Confirmed) -> Result<(), ChannelError> {
        match confirm {
            Ok(confirm) => {
                self.verdicts.resolve(sent.identity, confirm, sent.waiting);
                Ok(())
            }
            Err(error) => {
                self.failed.push(sent);
                Err(error)
            }
        }
    }
}

async fn publish(channel: lapin::Channel, job: Job) -> Confirmed {
    let Job { message, waiting } = job;
    let sent = Sent {
        exchange: message.exchange.clone(),
        identity: message.identity(),
        waiting,
    };
    let options = BasicPublishOptions {
        mandatory: message.mandatory,
        immediate: false, // not supported by RabbitMQ
    };
    let confirm = async {
        #[expect(clippy::disallowed_methods, reason = "this is the publisher")]
        let publish = channel.basic_publish(
            message.exchange,
            message.routing_key,
            options,
            &message.payload,
            message.properties,
        );
        publish.await?.await
    };
    let confirmed = match timeout(Publisher::CONFIRM_DEADLINE, confirm).await {
        Ok(confirmed) => confirmed.map_err(ChannelError::from),
        Err(_elapsed) => Err(ChannelError::Unconfirmed),
    };
    (sent, confirmed)
}
