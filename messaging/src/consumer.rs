//! Consuming one queue, acknowledging last.
//!
//! Each consumer has its own channel, prefetch (`ahead.rs`) and limit of handlers at work. Whatever
//! ends the channel (a lost connection, a deleted queue, a cancelled consumer) ends one session; the
//! next one declares and consumes again, and no other consumer notices.

use std::{
    collections::VecDeque,
    future::Future,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use budget::Share;
use lapin::{
    options::QueueDeclareOptions,
    types::{FieldTable, ShortString},
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    task::JoinSet,
    time::timeout,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{error, info, warn};

use crate::{
    Backoff, Connection, Delivery, Status,
    acker::Acker,
    ahead::Ahead,
    caught::caught,
    channel::{CLOSE_DEADLINE, Channel, ChannelError, Declarer, call},
    declaration::exclusive_queue,
    incoming::Incoming,
    intake::Taken,
    returned::{InTurn, Returned},
    stream::refuse_stream,
    topology::Topology,
};

/// How often the topology is declared anew. RabbitMQ does not tell a consumer that an exchange, a
/// binding or a queue beside its own was deleted.
const DECLARE_AGAIN: Duration = Duration::from_secs(5);

/// The least wait after RabbitMQ cancelled a consumer, its queue being deleted for instance. To declare
/// a queue while its deletion is under way can crash the dead-lettering of RabbitMQ 3.10
/// (`rabbit_fifo_dlx_sup` gives up), and then no quorum queue with it can be declared on that node any
/// more.
const AFTER_DELETION: Duration = Duration::from_secs(1);

/// Before an event whose handler panicked goes back to its queue.
const AFTER_PANIC: Duration = Duration::from_secs(1);

/// What to consume, and how much of it at a time.
#[derive(Clone, Debug)]
pub struct ConsumerConfig {
    /// The queue. One that RabbitMQ is to name is called so in the topology.
    pub queue: String,
    /// What the consumer declares before it consumes, the queue included.
    pub topology: Topology,
    /// Most deliveries that RabbitMQ sends ahead of their acknowledgements. lapin buffers them without
    /// a bound of its own, so this is the bound; where the connection has one in bytes, fewer are sent
    /// while they are large.
    pub prefetch: u16,
    /// Handlers at work at one time.
    pub concurrency: usize,
    /// Whether the queue has one active consumer at a time and this one must not let the next one
    /// begin before its last event is done with.
    pub ordered: bool,
}

/// What the handler says of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handled {
    /// The event is safe elsewhere: acknowledge it.
    Done,
    /// It is not: leave it with RabbitMQ, which delivers it again after this session.
    Left,
    /// It is not: RabbitMQ delivers it again now, and counts that against the queue's limit.
    Returned,
    /// Nobody can take it: RabbitMQ moves it to where its queue puts what is rejected.
    Rejected,
}

/// A running consumer.
#[derive(Clone, Debug)]
pub struct Consumer {
    connection: Connection,
    status: watch::Receiver<Status>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Consumer {
    /// Starts to consume, and calls `handler` for each delivery.
    pub fn start<H, F>(connection: &Connection, config: ConsumerConfig, handler: H) -> Self
    where
        H: Fn(Delivery) -> F + Send + Sync + 'static,
        F: Future<Output = Handled> + Send + 'static,
    {
        let (sender, status) = watch::channel(Status::waiting("not connected yet"));
        let stop = CancellationToken::new();
        let tasks = TaskTracker::new();
        let task = ConsumeTask {
            connection: connection.clone(),
            permits: Arc::new(Semaphore::new(config.concurrency)),
            config,
            handler: Arc::new(handler),
            status: sender,
            stop: stop.clone(),
            handled: Arc::default(),
        };
        tasks.spawn(task.run());
        tasks.close();
        Self {
            connection: connection.clone(),
            status,
            stop,
            tasks,
        }
    }

    /// Whether deliveries come in now.
    pub fn status(&self) -> Status {
        match self.connection.status() {
            Status::Waiting(reason) => Status::Waiting(reason),
            // RabbitMQ blocks publishes only.
            Status::Ready | Status::Blocked(_) => self.status.borrow().clone(),
        }
    }

    /// Takes no more deliveries, waits for the handlers at work and their acknowledgements, up to
    /// `deadline`, and closes the channel. What was delivered ahead goes back to the queue.
    pub async fn drain(&self, deadline: Duration) {
        self.stop.cancel();
        if timeout(deadline, self.tasks.wait()).await.is_err() {
            warn!(
                "handlers were still at work at the deadline; their events will be delivered again"
            );
        }
    }
}

/// What keeps a consumer going.
pub(crate) struct ConsumeTask<H> {
    pub(crate) connection: Connection,
    pub(crate) config: ConsumerConfig,
    pub(crate) handler: Arc<H>,
    /// One for each handler at work. They outlive a session, and so does their limit.
    pub(crate) permits: Arc<Semaphore>,
    pub(crate) status: watch::Sender<Status>,
    pub(crate) stop: CancellationToken,
    /// Deliveries that came to a handler.
    pub(crate) handled: Arc<AtomicUsize>,
}

impl<H, F> ConsumeTask<H>
where
    H: Fn(Delivery) -> F + Send + Sync + 'static,
    F: Future<Output = Handled> + Send + 'static,
{
    async fn run(self) {
        let queue = &self.config.queue;
        let mut backoff = Backoff::new();
        // What one session learned of the sizes, the next one knows.
        let mut ahead = Ahead::new(self.config.prefetch, self.connection.bytes_ahead());
        let mut cleared = 0;
        loop {
            let ended = caught(self.session(&mut backoff, &mut ahead, &mut cleared)).await;
            let error = match ended.unwrap_or(Err(ChannelError::Panicked)) {
                Ok(()) | Err(ChannelError::Closing) => return,
                Err(error) => error,
            };
            self.status
                .send_replace(Status::waiting(format!("queue {queue}: {error}")));
            warn!(queue, error = %error, attempt = backoff.attempt() + 1, "consuming is interrupted");
            let wait = match error {
                ChannelError::Cancelled | ChannelError::TimedOut => {
                    backoff.next_wait().max(AFTER_DELETION)
                }
                _ => backoff.next_wait(),
            };
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = self.stop.cancelled() => return,
            }
        }
    }

    /// One life of a channel: until its first error, or until told to stop.
    pub(crate) async fn consume(
        &self,
        backoff: &mut Backoff,
        ahead: &mut Ahead,
    ) -> Result<(), ChannelError> {
        let (mut channel, topology, mut incoming) = tokio::select! {
            subscribed = self.subscribe(ahead.now()) => subscribed?,
            () = self.stop.cancelled() => return Ok(()),
        };
        backoff.reset();
        self.status.send_replace(Status::Ready);
        info!(queue = self.config.queue, "consuming");
        let acker = Arc::new(Acker::new(ahead.now()));
        let mut acknowledging = pin!(acker.run((*channel).clone()));
        let mut declare_again = pin!(declare_again(channel.declarer(), topology));
        // What waits for a handler. The stream is read all the same, since its end is how RabbitMQ
        // cancels a consumer, whose handlers may all be at work.
        let mut waiting = VecDeque::new();
        let mut returning = JoinSet::new();
        let in_turn = Arc::<InTurn>::default();
        loop {
            let permit = tokio::select! {
                permit = self.permits.clone().acquire_owned(), if !waiting.is_empty() => permit,
                next = incoming.next() => {
                    let Some((delivery, is_old)) = next else {
                        return Err(cancelled(&channel, incoming.queue()).await);
                    };
                    let delivery = delivery?;
                    acker.take(delivery.delivery_tag);
                    let taken = channel.taken(delivery.delivery_tag);
                    let changes = ahead.note(taken.as_ref().map_or(0, Taken::bytes));
                    if changes {
                        tokio::select! {
                            changed = channel.while_connected(incoming.change(ahead.now())) => changed?,
                            () = &mut acknowledging => return Err(ChannelError::Panicked),
                            () = self.stop.cancelled() => break,
                        }
                        acker.change(ahead.now());
                    }
                    match taken {
                        Some(Taken::LeftOut(bytes)) => {
                            let returned = Returned {
                                queue: self.config.queue.clone(),
                                raw: delivery.acker,
                                tag: delivery.delivery_tag,
                                acker: acker.clone(),
                            };
                            let (intake, id) = (channel.intake(), channel.id());
                            let in_turn = (changes || is_old).then(|| in_turn.clone());
                            while returning.try_join_next().is_some() {}
                            returning.spawn(async move {
                                let Some(intake) = intake else { return };
                                match in_turn {
                                    Some(others) => others.give_back(&returned, &intake, id, bytes).await,
                                    None => returned.once_there_is_room(&intake, id, bytes).await,
                                }
                            });
                        }
                        Some(Taken::Whole(share)) => {
                            if !is_old {
                                in_turn.came();
                            }
                            waiting.push_back((delivery, Some(share)));
                        }
                        None => waiting.push_back((delivery, None)),
                    }
                    continue;
                }
                // Not before it is told to finish.
                () = &mut acknowledging => return Err(ChannelError::Panicked),
                changed = channel.link_changed() => {
                    changed?;
                    continue;
                }
                error = &mut declare_again => return Err(error),
                () = self.stop.cancelled() => break,
            };
            // The semaphore is never closed.
            if let (Ok(permit), Some((delivery, share))) = (permit, waiting.pop_front()) {
                self.handle(delivery, permit, &acker, share);
            }
        }
        let (answered, ()) = tokio::join!(self.finish(&incoming, &acker), acknowledging);
        // A RabbitMQ that was silent is not asked again; the channel ends with its connection.
        if answered {
            channel.close().await;
        }
        Ok(())
    }

    /// Takes no more deliveries, and waits for the handlers at work. Whether RabbitMQ answered.
    async fn finish(&self, incoming: &Incoming, acker: &Acker) -> bool {
        self.status.send_replace(Status::waiting("draining"));
        // A cancel would make the next consumer the active one, with an event still in hand here;
        // the end of the channel gives that back first.
        let answered =
            self.config.ordered || timeout(CLOSE_DEADLINE, incoming.cancel()).await.is_ok();
        let all = u32::try_from(self.config.concurrency).unwrap_or(u32::MAX);
        let _finished = self.permits.acquire_many(all).await;
        acker.finish();
        answered
    }

    async fn subscribe(
        &self,
        prefetch: u16,
    ) -> Result<(Channel, Topology, Incoming), ChannelError> {
        let channel = self.connection.channel().await?;
        let consuming = channel
            .while_connected(self.consume_on(&channel, prefetch))
            .await;
        if matches!(consuming, Err(ChannelError::Stream)) {
            // RabbitMQ did not end it, and a stream would go on sending.
            channel.close().await;
        }
        let (topology, incoming) = consuming?;
        Ok((channel, topology, incoming))
    }

    /// Declares, and consumes. The topology is the one to keep: with the name of the queue.
    async fn consume_on(
        &self,
        channel: &Channel,
        prefetch: u16,
    ) -> Result<(Topology, Incoming), ChannelError> {
        let ConsumerConfig {
            queue, topology, ..
        } = &self.config;
        let is_exclusive = topology.is_exclusive(queue);
        let (queue, topology) = if is_exclusive {
            let name = exclusive_queue(channel).await?;
            let topology = topology.with_exclusive_queue(queue, name.as_str());
            (name, topology)
        } else {
            channel.declare(topology).await?;
            (queue.as_str().into(), topology.clone())
        };
        let incoming = match Incoming::start(channel, queue, prefetch).await {
            // The declaration was answered, and so is another channel: it is this queue.
            Err(ChannelError::Deadline) if self.connection.answers().await => {
                return Err(ChannelError::NoLeader);
            }
            incoming => incoming?,
        };
        if is_exclusive {
            // After its consumer: where it cannot be bound, since there is no such exchange yet,
            // the channel ends, and RabbitMQ deletes the queue with its last consumer.
            channel.declare(&topology).await?;
        } else if channel.looks_up() || !topology.declares(&self.config.queue) {
            refuse_stream(channel, &self.config.queue).await?;
        }
        Ok((topology, incoming))
    }

    fn handle(
        &self,
        delivery: lapin::message::Delivery,
        permit: OwnedSemaphorePermit,
        acker: &Arc<Acker>,
        share: Option<Share>,
    ) {
        self.handled.fetch_add(1, Ordering::Relaxed);
        let returned = Returned {
            queue: self.config.queue.clone(),
            raw: delivery.acker.clone(),
            tag: delivery.delivery_tag,
            acker: acker.clone(),
        };
        let (handler, queue) = (self.handler.clone(), self.config.queue.clone());
        // In a box: tokio moves a task's future a few times, and this one is large.
        let handled = Box::pin(async move {
            let delivery = Delivery::read(&queue, delivery);
            handler(delivery).await
        });
        tokio::spawn(async move {
            match caught(handled).await {
                Some(Handled::Done) => returned.acker.done(returned.tag),
                Some(Handled::Left) => {}
                Some(Handled::Returned) => returned.reject(true).await,
                Some(Handled::Rejected) => returned.reject(false).await,
                None => {
                    error!(
                        queue = returned.queue,
                        "a handler panicked; RabbitMQ gives the event up at its limit of deliveries"
                    );
                    tokio::time::sleep(AFTER_PANIC).await;
                    returned.reject(true).await;
                }
            }
            drop((permit, share));
        });
    }
}

/// Why RabbitMQ ended the stream of a consumer, while its channel stays open.
async fn cancelled(channel: &Channel, queue: ShortString) -> ChannelError {
    let look = QueueDeclareOptions {
        passive: true,
        ..QueueDeclareOptions::default()
    };
    match call(channel.queue_declare(queue, look, FieldTable::default())).await {
        Ok(_there) => ChannelError::TimedOut,
        Err(_gone) => ChannelError::Cancelled,
    }
}

/// Keeps the topology as it should be, until that cannot be done.
async fn declare_again(declarer: Declarer, topology: Topology) -> ChannelError {
    loop {
        tokio::time::sleep(DECLARE_AGAIN).await;
        match declarer.declare(&topology).await {
            Ok(()) => {}
            // Whether a silent RabbitMQ is lost is for the heartbeat to say. Ending the session
            // would deliver again what is being handled.
            Err(error) if error.is_deadline() => {}
            Err(error) => return error,
        }
    }
}
