//! The publishes in flight on one channel.

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

use futures_util::{FutureExt as _, StreamExt as _, stream::FuturesUnordered};
use lapin::{Confirmation, ErrorKind, options::BasicPublishOptions, types::ShortString};
use slab::Slab;
use tokio::time::{Instant, timeout};

use crate::{
    PublishError, Publisher,
    channel::{Channel, ChannelError},
    headers::fit,
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
    /// Whether to tell no verdict rather than a late one, once RabbitMQ blocks publishes.
    pub(crate) unless_blocked: bool,
}

/// What is known of a message once it is sent.
struct Sent {
    exchange: ShortString,
    identity: Identity,
    /// Of its body.
    bytes: usize,
    at: Instant,
    unless_blocked: bool,
    /// `None` once told.
    waiting: Option<Waiting>,
}

/// A publish under way, up to its confirm: its place in [`Window::sent`], and what came of it.
type InFlight = Pin<Box<dyn Future<Output = Confirmed> + Send>>;
type Confirmed = (usize, lapin::Result<Confirmation>);

/// The publishes of one channel, from the first poll to the verdict.
pub(crate) struct Window {
    channel: Arc<lapin::Channel>,
    frame_max: u32,
    in_flight: FuturesUnordered<InFlight>,
    sent: Slab<Sent>,
    verdicts: Verdicts,
    /// The channel ended before their confirm.
    failed: Vec<Sent>,
    woken: Arc<Woken>,
}

impl Window {
    pub(crate) fn new(channel: &Channel) -> Self {
        Self {
            channel: Arc::new((**channel).clone()),
            frame_max: channel.frame_max(),
            in_flight: FuturesUnordered::new(),
            sent: Slab::new(),
            verdicts: Verdicts::default(),
            failed: Vec::new(),
            woken: Arc::default(),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.in_flight.len()
    }

    /// Takes a message to be sent by the next [`Self::settle`].
    pub(crate) fn start(&mut self, job: Job) {
        let Job {
            mut message,
            waiting,
            unless_blocked,
        } = job;
        message.properties = fit(message.properties, self.frame_max);
        let place = self.sent.insert(Sent {
            exchange: message.exchange.clone(),
            identity: message.identity(),
            bytes: message.payload.len(),
            at: Instant::now(),
            unless_blocked,
            waiting: Some(waiting),
        });
        let publish = publish(self.channel.clone(), message);
        self.in_flight
            .push(Box::pin(publish.map(move |confirm| (place, confirm))));
    }

    /// Notes the next confirm, and sends what was taken on the way; pends for ever where nothing is
    /// in flight.
    pub(crate) async fn next(&mut self) -> Result<(), ChannelError> {
        match self.in_flight.next().await {
            Some(confirmed) => self.note(confirmed),
            None => std::future::pending().await,
        }
    }

    /// Sends what was taken, notes the confirms that are there, and tells the verdicts that are
    /// sure by then.
    pub(crate) fn settle(&mut self) -> Result<(), ChannelError> {
        self.poll_all()?;
        loop {
            let resolved = self.verdicts.take_resolved();
            if resolved.is_empty() {
                return Ok(());
            }
            self.await_batch();
            // Returns may sit on confirms that are ready and not yet noted.
            self.poll_all()?;
            self.verdicts.settle(resolved);
        }
    }

    /// Returns once lapin is not, or not any more, amid a batch of confirms of this channel, which it
    /// completes under the lock that this takes. Nothing is waited for but that lock.
    fn await_batch(&self) {
        let _ = self.channel.wait_for_confirms().now_or_never();
    }

    /// Polls whatever is ready to go on, and nothing else: first polls in their order, and confirms.
    fn poll_all(&mut self) -> Result<(), ChannelError> {
        let waker = Waker::from(self.woken.clone());
        let mut context = Context::from_waker(&waker);
        loop {
            match self.in_flight.poll_next_unpin(&mut context) {
                Poll::Ready(Some(confirmed)) => self.note(confirmed)?,
                // It yields now and then though more are ready, and says so.
                Poll::Pending if self.woken.take() => {}
                Poll::Pending | Poll::Ready(None) => return Ok(()),
            }
        }
    }

    /// An error once a publish has waited for its confirm for too long.
    pub(crate) fn check_deadline(&self) -> Result<(), ChannelError> {
        let mut waits = self.sent.iter().map(|(_, sent)| sent.at.elapsed());
        if waits.any(|waited| waited > Publisher::CONFIRM_DEADLINE) {
            return Err(ChannelError::Unconfirmed);
        }
        Ok(())
    }

    /// RabbitMQ blocks publishes: whoever would rather know than wait is told.
    pub(crate) fn stall(&mut self, reason: &Arc<str>) {
        let impatient = self.sent.iter_mut().filter(|(_, sent)| sent.unless_blocked);
        for waiting in impatient.filter_map(|(_, sent)| sent.waiting.take()) {
            // An error says that the caller gave up.
            let _ = waiting.send(Err(PublishError::Stalled(reason.clone())));
        }
    }

    /// Waits for what is in flight, and closes the channel.
    pub(crate) async fn finish(&mut self, channel: &Channel) -> Result<(), ChannelError> {
        let drain = async {
            while let Some(confirmed) = self.in_flight.next().await {
                self.note(confirmed)?;
                self.settle()?;
            }
            Ok(())
        };
        let drained = timeout(Publisher::CONFIRM_DEADLINE, drain).await;
        drained.unwrap_or(Err(ChannelError::Unconfirmed))?;
        channel.close().await;
        Ok(())
    }

    /// Finds out whether a publish was refused when the channel ended by `error`, which is not
    /// told to the one that was refused alone nor always first, and notes what was. Whoever is
    /// told nothing takes its fate as unknown.
    pub(crate) async fn end(mut self, error: ChannelError, refusals: &Refusals) -> ChannelError {
        if !(error.is_refusal() || matches!(error, ChannelError::Amqp(_))) {
            return error;
        }
        let mut error = error;
        let drain = async {
            while let Some(confirmed) = self.in_flight.next().await {
                if let Err(told) = self.note(confirmed)
                    && told.is_refusal()
                {
                    error = told;
                }
            }
        };
        // An error leaves the rest unknown.
        let _ = timeout(END_DEADLINE, drain).await;
        match &error {
            ChannelError::Refused { reason, .. } => self.refuse(reason, refusals),
            ChannelError::TooLarge { reason, bytes_max } => {
                refusals.note_bytes_max(reason, *bytes_max);
                self.refuse_large(refusals);
            }
            _ => {}
        }
        error
    }

    /// RabbitMQ takes none of these, whichever of them it closed the channel for.
    fn refuse_large(self, refusals: &Refusals) {
        for sent in self.failed {
            if let Some(verdict) = refusals.too_large(sent.bytes)
                && let Some(waiting) = sent.waiting
            {
                // An error says that the caller gave up.
                let _ = waiting.send(Err(verdict));
            }
        }
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
            && let Some(waiting) = sent.waiting
        {
            // An error says that the caller gave up.
            let _ = waiting.send(Err(verdict));
        }
    }

    fn note(&mut self, (place, confirm): Confirmed) -> Result<(), ChannelError> {
        let sent = self.sent.remove(place);
        match confirm {
            Ok(confirm) => {
                self.verdicts.resolve(sent.identity, confirm, sent.waiting);
                Ok(())
            }
            Err(error) if is_unsent(&error) => {
                if let Some(waiting) = sent.waiting {
                    let reason = "the channel ended before the message was sent".into();
                    // An error says that the caller gave up.
                    let _ = waiting.send(Err(PublishError::Disconnected(reason)));
                }
                Err(error.into())
            }
            Err(error) => {
                self.failed.push(sent);
                Err(error.into())
            }
        }
    }
}

/// Whether lapin only looked at the channel, which had ended, and took nothing.
fn is_unsent(error: &lapin::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::InvalidChannelState(_, "basic.publish")
    )
}

/// Whether a waker of it was used.
#[derive(Default)]
struct Woken(AtomicBool);

impl Woken {
    fn take(&self) -> bool {
        self.0.swap(false, Ordering::AcqRel)
    }
}

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Release);
    }
}

/// Its first poll takes the delivery tag and queues the frames.
async fn publish(channel: Arc<lapin::Channel>, message: Message) -> lapin::Result<Confirmation> {
    let options = BasicPublishOptions {
        mandatory: message.mandatory,
        immediate: false, // not supported by RabbitMQ
    };
    #[expect(clippy::disallowed_methods, reason = "this is the publisher")]
    let publish = channel.basic_publish(
        message.exchange,
        message.routing_key,
        options,
        &message.payload,
        message.properties,
    );
    let confirm = publish.await?;
    // Its frames are written.
    drop(message.payload);
    confirm.await
}
