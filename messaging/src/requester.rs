//! Request and reply through RabbitMQ's direct reply-to.
//!
//! Replies arrive on the pseudo-queue `amq.rabbitmq.reply-to`, which must be consumed without
//! acknowledgements on the very channel that publishes the requests. They are delivered at most
//! once and die with the connection: a request whose reply is lost fails, and is never resent.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use futures_util::StreamExt as _;
use lapin::{
    BasicProperties,
    options::BasicConsumeOptions,
    types::{AMQPValue, FieldTable},
};
use tokio::{
    sync::oneshot,
    time::{Instant, timeout_at},
};
use uuid::Uuid;

use crate::{
    Connection, Delivery, Message, PublishError, Publisher, Status,
    channel::{Channel, ChannelError, call},
    delivery::SENDER,
    headers::integer,
    message::{PERSISTENT, TRANSIENT, short},
    refusals::Refusals,
    reply_to::{DIRECT, ReplyTo},
    topology::{Topology, request_exchange, response_exchange},
};

/// HTTP status of the answer that a reply carries.
const STATUS: &str = "x-gw-status";
/// Requests that wait for their reply at one time.
const PENDING_MAX: usize = 1024;

/// Sends requests to a service by RabbitMQ and waits for the replies. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Requester {
    publisher: Publisher,
    pending: PendingReplies,
}

/// The answer of the service's HTTP endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// HTTP status.
    pub status: u16,
    /// Media type of the body.
    pub content_type: Option<String>,
    /// The body, byte for byte.
    pub body: Bytes,
}

/// Why there is no reply.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// The request did not reach the queue of the service.
    #[error(transparent)]
    Publish(#[from] PublishError),
    /// Nobody replied within the deadline.
    #[error("no reply came in time")]
    Deadline,
    /// The connection that the reply would have come by was lost.
    #[error("the connection was lost before the reply")]
    Lost,
    /// Too many requests wait for their replies.
    #[error("too many requests are waiting for replies")]
    Overloaded,
}

impl Requester {
    /// Starts a requester on a channel of `connection` that declares `topology` first.
    pub fn start(connection: &Connection, topology: Topology) -> Self {
        let pending = PendingReplies::default();
        let publisher = Publisher::start_with(
            connection,
            topology,
            Some(pending.clone()),
            Refusals::default(),
        );
        Self { publisher, pending }
    }

    /// Whether a request could be sent now.
    pub fn status(&self) -> Status {
        self.publisher.status()
    }

    /// Requests that wait for their reply now.
    pub fn pending(&self) -> usize {
        self.pending.lock().len()
    }

    /// Sends `body` to `service` under the routing key `key` and waits for the reply. The
    /// message is transient and expires with the deadline, so that nobody answers it too late.
    ///
    /// # Errors
    /// See [`RequestError`].
    pub async fn request(
        &self,
        service: &str,
        key: &str,
        content_type: &str,
        body: Bytes,
        deadline: Instant,
    ) -> Result<Reply, RequestError> {
        let remaining = deadline.saturating_duration_since(Instant::now());
        let id = Uuid::now_v7().to_string();
        let mut properties = BasicProperties::default()
            .with_delivery_mode(TRANSIENT)
            .with_expiration(remaining.as_millis().to_string().as_str().into())
            .with_reply_to(DIRECT.into())
            .with_correlation_id(id.as_str().into())
            .with_message_id(id.as_str().into());
        if let Some(content_type) = short(content_type) {
            properties = properties.with_content_type(content_type);
        }
        let message = Message {
            exchange: request_exchange(service).as_str().into(),
            routing_key: key.into(),
            mandatory: true,
            properties,
            payload: body,
        };
        let (_entry, reply) = self.pending.expect(id)?;
        self.publisher
            .publish_unless_blocked(message, remaining)
            .await?;
        match timeout_at(deadline, reply).await {
            Ok(Ok(reply)) => Ok(reply),
            Ok(Err(_dropped)) => Err(RequestError::Lost),
            Err(_elapsed) => Err(RequestError::Deadline),
        }
    }
}

impl Reply {
    /// The message that carries this reply to the queue of whoever sent `request`.
    pub fn into_message(self, request: &Delivery, reply_to: &ReplyTo) -> Message {
        let properties = self.properties(request, FieldTable::default());
        // RabbitMQ takes an address of direct reply-to for no queue and would return it; it dies
        // with its connection besides, which nothing can outlive.
        let (mandatory, mode) = if reply_to.is_direct() {
            (false, TRANSIENT)
        } else {
            (true, PERSISTENT)
        };
        Message {
            exchange: "".into(),
            routing_key: reply_to.as_str().into(),
            mandatory,
            properties: properties.with_delivery_mode(mode),
            payload: self.body,
        }
    }

    /// The message that carries this reply through the exchange of responses of `service` to the
    /// sender of `request`, or `None` where the request does not [name it](Delivery::sender).
    pub fn into_response(self, service: &str, request: &Delivery) -> Option<Message> {
        let sender = request.sender()?;
        let mut headers = FieldTable::default();
        headers.insert(SENDER.into(), AMQPValue::LongString(sender.into()));
        let properties = self.properties(request, headers);
        Some(Message {
            exchange: response_exchange(service).as_str().into(),
            routing_key: short(&request.routing_key)?,
            mandatory: true,
            properties: properties.with_delivery_mode(PERSISTENT),
            payload: self.body,
        })
    }

    /// What every answer to `request` says of itself, with the status added to `headers`.
    fn properties(&self, request: &Delivery, mut headers: FieldTable) -> BasicProperties {
        headers.insert(STATUS.into(), AMQPValue::LongInt(self.status.into()));
        let mut properties = BasicProperties::default().with_headers(headers);
        if let Some(content_type) = self.content_type.as_deref().and_then(short) {
            properties = properties.with_content_type(content_type);
        }
        if let Some(id) = request.properties.correlation_id() {
            properties = properties.with_correlation_id(id.clone());
        }
        properties
    }

    fn read(properties: &BasicProperties, body: Vec<u8>) -> Self {
        let status = properties
            .headers()
            .as_ref()
            .and_then(|headers| integer(headers, STATUS))
            .and_then(|status| u16::try_from(status).ok());
        Self {
            // A reply of another kind of service carries no status, and is a success.
            status: status.unwrap_or(200),
            content_type: properties.content_type().as_ref().map(ToString::to_string),
            body: Bytes::from(body),
        }
    }
}

/// The requests that wait for replies, by correlation id.
#[derive(Clone, Debug, Default)]
pub(crate) struct PendingReplies(Arc<Mutex<HashMap<String, oneshot::Sender<Reply>>>>);

impl PendingReplies {
    /// Consumes the replies on `channel` until it ends; whoever waits then is told at once.
    pub(crate) async fn consume(&self, channel: &Channel) -> Result<(), ChannelError> {
        let options = BasicConsumeOptions {
            no_local: false,
            no_ack: true, // direct reply-to knows no acknowledgements
            exclusive: false,
            nowait: false,
        };
        let mut replies =
            call(channel.basic_consume(DIRECT.into(), "".into(), options, FieldTable::default()))
                .await?;
        let pending = self.clone();
        tokio::spawn(async move {
            while let Some(Ok(delivery)) = replies.next().await {
                pending.deliver(&delivery.properties, delivery.data);
            }
            pending.lock().clear();
        });
        Ok(())
    }

    fn expect(&self, id: String) -> Result<(Entry, oneshot::Receiver<Reply>), RequestError> {
        let mut pending = self.lock();
        if pending.len() >= PENDING_MAX {
            return Err(RequestError::Overloaded);
        }
        let (sender, receiver) = oneshot::channel();
        pending.insert(id.clone(), sender);
        let entry = Entry {
            pending: self.clone(),
            id,
        };
        Ok((entry, receiver))
    }

    fn deliver(&self, properties: &BasicProperties, body: Vec<u8>) {
        let Some(id) = properties.correlation_id() else {
            return;
        };
        // Nobody waits for a reply that comes after its deadline.
        if let Some(waiting) = self.lock().remove(id.as_str()) {
            let _ = waiting.send(Reply::read(properties, body));
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, oneshot::Sender<Reply>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes its request off the list, however the wait ends.
struct Entry {
    pending: PendingReplies,
    id: String,
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.pending.lock().remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(id: &str) -> BasicProperties {
        BasicProperties::default().with_correlation_id(id.into())
    }

    #[tokio::test]
    async fn a_request_leaves_the_list_however_it_ends() {
        let pending = PendingReplies::default();
        let answered = pending.expect("answered".to_owned()).unwrap();
        let given_up = pending.expect("given up".to_owned()).unwrap();
        let lost = pending.expect("lost".to_owned()).unwrap();
        assert_eq!(pending.lock().len(), 3);

        pending.deliver(&of("answered"), b"reply".to_vec());
        assert_eq!(answered.1.await.unwrap().body, "reply");
        drop(given_up);
        assert_eq!(pending.lock().len(), 1);
        // A reply that is late, or nobody's.
        pending.deliver(&of("given up"), b"late".to_vec());
        pending.deliver(&BasicProperties::default(), b"whose".to_vec());
        pending.lock().clear(); // as the end of the channel does
        assert!(lost.1.await.is_err());
        drop(lost.0);
        drop(answered.0);
        assert!(pending.lock().is_empty());
    }

    #[test]
    fn so_many_requests_may_wait_and_no_more() {
        let pending = PendingReplies::default();
        let waiting: Vec<_> = (0..PENDING_MAX)
            .map(|number| pending.expect(number.to_string()).unwrap())
            .collect();
        let refused = pending.expect("one more".to_owned());
        assert!(matches!(refused, Err(RequestError::Overloaded)));
        drop(waiting);
        assert!(pending.expect("one more".to_owned()).is_ok());
    }
}
