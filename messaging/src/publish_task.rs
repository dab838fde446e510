//! The task behind a publisher, which alone uses the channel.
//!
//! lapin takes a delivery tag and queues the frames under two locks: publishes from several tasks
//! would mix up their confirms. The task starts each publish in order, keeps hundreds in flight in
//! its [`Window`], and says there what became of each.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{mpsc, watch},
    time::{Instant, MissedTickBehavior, interval},
};
use tracing::warn;

use crate::{
    Backoff, Connection, PublishError,
    caught::caught,
    channel::{Channel, ChannelError},
    publisher::State,
    refusals::Refusals,
    requester::PendingReplies,
    topology::Topology,
    window::{Job, Window},
};

/// Publishes in flight on the channel. RabbitMQ's throughput has levelled off by then.
const IN_FLIGHT_MAX: usize = 512;
/// A publish that is under way when RabbitMQ begins to block may still be confirmed for this long,
/// and hardly later: RabbitMQ reads nothing more until the end of the alarm.
const STALL: Duration = Duration::from_secs(1);
/// How often deadlines are looked at; one timer for all publishes in flight.
const LOOK: Duration = Duration::from_millis(250);

/// Runs until nobody can publish any more, over any number of channels.
pub(crate) struct PublishTask {
    pub(crate) connection: Connection,
    pub(crate) topology: Topology,
    pub(crate) replies: Option<PendingReplies>,
    pub(crate) queue: mpsc::Receiver<Job>,
    pub(crate) state: watch::Sender<State>,
    pub(crate) refusals: Refusals,
}

impl PublishTask {
    pub(crate) async fn run(mut self) {
        let mut backoff = Backoff::new();
        loop {
            let ended = caught(self.session(&mut backoff)).await;
            let error = match ended.unwrap_or(Err(ChannelError::Panicked)) {
                Ok(()) | Err(ChannelError::Closing) => break,
                Err(_) if self.connection.is_closing() => break, // in order, and no interruption
                Err(error) => error,
            };
            // After a refused publish there is a new channel at once. What is queued behind it has
            // done nothing wrong, and waits.
            if !(error.is_refusal() && self.is_open()) {
                let reason: Arc<str> = error.to_string().into();
                self.missing(reason.clone());
                self.refuse_queued(&PublishError::Disconnected(reason));
            }
            warn!(error = %error, attempt = backoff.attempt() + 1, "publishing is interrupted");
            tokio::time::sleep(backoff.next_wait()).await;
        }
        let reason: Arc<str> = "the publisher is closed".into();
        self.missing(reason.clone());
        self.refuse_queued(&PublishError::Disconnected(reason));
    }

    /// One life of a channel: until its first error, or until nobody can publish any more.
    async fn session(&mut self, backoff: &mut Backoff) -> Result<(), ChannelError> {
        let mut channel = self.connection.channel().await?;
        channel.while_connected(self.prepare(&channel)).await?;
        backoff.reset();
        self.state.send_replace(State::Open);

        let mut window = Window::new(&channel);
        match self.publish_on(&mut channel, &mut window).await {
            Ok(()) => Ok(()),
            Err(error) => Err(window.end(error, &self.refusals).await),
        }
    }

    async fn publish_on(
        &mut self,
        channel: &mut Channel,
        window: &mut Window,
    ) -> Result<(), ChannelError> {
        let mut look = interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut blocked_since = channel.blocked().map(|_reason| Instant::now());
        loop {
            tokio::select! {
                biased;
                noted = window.next() => noted?,
                changed = channel.link_changed() => {
                    changed?;
                    let blocked = channel.blocked();
                    if let Some(reason) = &blocked {
                        self.refuse_queued(&PublishError::Blocked(reason.clone()));
                    }
                    let since = blocked_since.unwrap_or_else(Instant::now);
                    blocked_since = blocked.map(|_reason| since);
                }
                _time = look.tick(), if window.len() > 0 || blocked_since.is_some() => {
                    window.check_deadline()?;
                    if blocked_since.is_some_and(|since| since.elapsed() > STALL)
                        && let Some(reason) = channel.blocked()
                    {
                        window.stall(&reason);
                        // A job may have come in the moment in which the block was noticed.
                        self.refuse_queued(&PublishError::Blocked(reason));
                    }
                }
                job = self.queue.recv(), if window.len() < IN_FLIGHT_MAX && blocked_since.is_none() => {
                    let Some(job) = job else {
                        return window.finish(channel).await;
                    };
                    // A task that is woken runs ahead of those that are ready. They have their turn
                    // first, so that what they publish goes along.
                    tokio::task::yield_now().await;
                    match channel.blocked() {
                        None => {
                            self.start(job, window);
                            self.start_queued(window);
                        }
                        // What is queued is refused as soon as the change is noticed.
                        Some(reason) => drop(job.waiting.send(Err(PublishError::Blocked(reason)))),
                    }
                }
            }
            window.settle()?;
        }
    }

    /// All that wait and find room go together, which is one wake of lapin's thread.
    fn start_queued(&mut self, window: &mut Window) {
        while window.len() < IN_FLIGHT_MAX
            && let Ok(job) = self.queue.try_recv()
        {
            self.start(job, window);
        }
    }

    fn start(&self, job: Job, window: &mut Window) {
        if job.waiting.is_closed() {
            return; // its caller gave up
        }
        match self.refused(&job) {
            // An error says that the caller gave up.
            Some(refusal) => drop(job.waiting.send(Err(refusal))),
            None => window.start(job),
        }
    }

    fn refused(&self, Job { message, .. }: &Job) -> Option<PublishError> {
        self.refusals.verdict_of(message)
    }

    async fn prepare(&self, channel: &Channel) -> Result<(), ChannelError> {
        channel.select_confirms().await?;
        channel.declare(&self.topology).await?;
        match &self.replies {
            Some(replies) => replies.consume(channel).await,
            None => Ok(()),
        }
    }

    fn is_open(&self) -> bool {
        matches!(&*self.state.borrow(), State::Open)
    }

    fn missing(&self, why: Arc<str>) {
        self.state.send_modify(|state| match state {
            State::Open => {
                *state = State::Missing {
                    since: Instant::now(),
                    reason: why,
                };
            }
            // It is still the same interruption.
            State::Missing { reason, .. } => *reason = why,
        });
    }

    fn refuse_queued(&mut self, refusal: &PublishError) {
        while let Ok(job) = self.queue.try_recv() {
            // An error says that the caller gave up.
            let _ = job.waiting.send(Err(refusal.clone()));
        }
    }
}
