//! Declaring a topology on a channel.

use std::time::Duration;

use lapin::{
    options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions},
    types::{AMQPValue, FieldTable, ShortString},
};

use tokio::time::timeout;

use crate::{
    Connection,
    channel::{ChannelError, call},
    source::{Binding, Exchange, ExchangeKind, Value},
    topology::{Declaration, Topology},
};

/// For a channel and one request on it.
const UNBIND_DEADLINE: Duration = Duration::from_secs(15);
/// What to do about a declaration that is refused.
const GRANT_OR_PROVIDE: &str =
    "grant it, or provide everything by definitions and set AMQP_DECLARE=false";
/// How the names begin that RabbitMQ gives out itself.
const RABBITMQ_NAMES: &str = "amq.";
/// The argument that says how a headers exchange compares.
const MATCH: &str = "x-match";

impl Topology {
    /// Declares everything in turn.
    pub(crate) async fn declare_on(&self, channel: &lapin::Channel) -> Result<(), ChannelError> {
        for declaration in self.declarations() {
            let declared = declaration.declare_on(channel).await;
            declared.map_err(|source| declaration.failed(false, source))?;
        }
        Ok(())
    }
}

/// Makes a queue of this connection alone, and returns the name that RabbitMQ gave it.
pub(crate) async fn exclusive_queue(channel: &lapin::Channel) -> Result<ShortString, ChannelError> {
    let options = QueueDeclareOptions {
        durable: false,
        passive: false,
        exclusive: true,
        auto_delete: true, // gone with its consumer
        nowait: false,
    };
    let queue = call(channel.queue_declare("".into(), options, FieldTable::default())).await?;
    Ok(queue.name().clone())
}

impl Connection {
    /// Takes a binding of `queue` back. One that is not there is no error; where bindings are
    /// provided, they stay as they are.
    ///
    /// # Errors
    /// A reason to show to people.
    pub async fn unbind(
        &self,
        queue: &str,
        exchange: &str,
        binding: &Binding,
    ) -> Result<(), String> {
        if self.looks_up() {
            return Ok(());
        }
        let unbind = async {
            let channel = self.channel().await?;
            let (key, arguments) = words(binding);
            let (queue, exchange) = (queue.into(), exchange.into());
            call(channel.queue_unbind(queue, exchange, key.into(), arguments)).await?;
            channel.close().await;
            Ok(())
        };
        match timeout(UNBIND_DEADLINE, unbind).await {
            Ok(done) => done.map_err(|error: ChannelError| error.to_string()),
            Err(_elapsed) => Err("there is no connection to RabbitMQ".to_owned()),
        }
    }
}

impl Declaration {
    pub(crate) fn name(&self) -> String {
        match self {
            Self::Exchange(exchange) => format!("exchange {}", exchange.name),
            Self::Queue { name, .. } | Self::ExistingQueue(name) | Self::ExclusiveQueue(name) => {
                format!("queue {name}")
            }
            Self::Binding {
                queue, exchange, ..
            } => format!("binding of {queue} to {exchange}"),
        }
    }

    async fn declare_on(&self, channel: &lapin::Channel) -> Result<(), ChannelError> {
        match self {
            Self::Exchange(exchange) => {
                declare_exchange(channel, exchange, exchange.existing).await
            }
            Self::Queue { name, arguments } => {
                declare_queue(
                    channel,
                    name,
                    false,
                    table(arguments.iter().map(|(name, value)| (*name, value))),
                )
                .await
            }
            Self::ExistingQueue(name) => {
                declare_queue(channel, name, true, FieldTable::default()).await
            }
            // Made once, by whoever consumes it.
            Self::ExclusiveQueue(_) => Ok(()),
            Self::Binding {
                queue,
                exchange,
                binding,
            } => bind(channel, queue, exchange, binding).await,
        }
    }

    /// Whether it is there, which takes no permission on 3.10, and any one of it on 4.3. RabbitMQ
    /// shows nobody a binding.
    pub(crate) async fn look_up_on(&self, channel: &lapin::Channel) -> Result<(), ChannelError> {
        match self {
            Self::Exchange(exchange) => declare_exchange(channel, exchange, true).await,
            Self::Queue { name, .. } | Self::ExistingQueue(name) => {
                declare_queue(channel, name, true, FieldTable::default()).await
            }
            Self::Binding { queue, .. } if queue.starts_with(RABBITMQ_NAMES) => {
                self.declare_on(channel).await
            }
            Self::ExclusiveQueue(_) | Self::Binding { .. } => Ok(()),
        }
    }

    /// Whether it is looked up by its name. What RabbitMQ named is this connection's own.
    pub(crate) fn is_shown_to_some(&self) -> bool {
        match self {
            Self::Exchange(_) | Self::Queue { .. } | Self::ExistingQueue(_) => true,
            Self::ExclusiveQueue(_) | Self::Binding { .. } => false,
        }
    }

    pub(crate) fn failed(&self, look_up: bool, source: ChannelError) -> ChannelError {
        let name = self.name();
        let attempt = if look_up || self.is_existing() {
            format!("looking up {name}")
        } else {
            format!("declaring {name}")
        };
        let source = match source {
            ChannelError::Refused { reason, .. } if !look_up => ChannelError::Refused {
                reason,
                cure: GRANT_OR_PROVIDE,
            },
            source => source,
        };
        let source = Box::new(source);
        ChannelError::Declare { attempt, source }
    }

    fn is_existing(&self) -> bool {
        match self {
            Self::Exchange(exchange) => exchange.existing,
            Self::ExistingQueue(_) => true,
            _ => false,
        }
    }
}

async fn declare_exchange(
    channel: &lapin::Channel,
    exchange: &Exchange,
    existing: bool,
) -> Result<(), ChannelError> {
    let options = ExchangeDeclareOptions {
        durable: true,
        passive: existing,
        auto_delete: false,
        internal: false,
        nowait: false,
    };
    let name = exchange.name.as_str().into();
    let kind = exchange.kind.into();
    call(channel.exchange_declare(name, kind, options, FieldTable::default())).await
}

async fn declare_queue(
    channel: &lapin::Channel,
    name: &str,
    existing: bool,
    arguments: FieldTable,
) -> Result<(), ChannelError> {
    let options = QueueDeclareOptions {
        durable: true,
        passive: existing,
        exclusive: false,
        auto_delete: false,
        nowait: false,
    };
    call(channel.queue_declare(name.into(), options, arguments)).await?;
    Ok(())
}

async fn bind(
    channel: &lapin::Channel,
    queue: &str,
    exchange: &str,
    binding: &Binding,
) -> Result<(), ChannelError> {
    let (key, arguments) = words(binding);
    let options = QueueBindOptions { nowait: false };
    call(channel.queue_bind(
        queue.into(),
        exchange.into(),
        key.into(),
        options,
        arguments,
    ))
    .await
}

/// A binding in the words of AMQP: its routing key and its arguments.
fn words(binding: &Binding) -> (&str, FieldTable) {
    match binding {
        Binding::Key(key) => (key.as_str(), FieldTable::default()),
        Binding::Headers { match_all, headers } => {
            let mut arguments = table(headers.iter().map(|(name, value)| (name.as_str(), value)));
            let word = if *match_all { "all" } else { "any" };
            arguments.insert(MATCH.into(), AMQPValue::LongString(word.into()));
            ("", arguments)
        }
    }
}

fn table<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a Value)>) -> FieldTable {
    let mut table = FieldTable::default();
    for (name, value) in pairs {
        table.insert(name.into(), value.into());
    }
    table
}

impl From<ExchangeKind> for lapin::ExchangeKind {
    fn from(kind: ExchangeKind) -> Self {
        match kind {
            ExchangeKind::Topic => Self::Topic,
            ExchangeKind::Direct => Self::Direct,
            ExchangeKind::Fanout => Self::Fanout,
            ExchangeKind::Headers => Self::Headers,
        }
    }
}
