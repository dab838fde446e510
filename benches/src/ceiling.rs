//! The ceiling: what RabbitMQ accepts from AMQP clients without HTTP.
//!
//! It is measured in a separate process, which is this program again, with a runtime like the
//! services', so that it is metered in the same way.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use anyhow::{Context as _, bail};
use lapin::{
    BasicProperties, Channel, Confirmation, ConnectionProperties,
    options::{BasicPublishOptions, ConfirmSelectOptions},
    types::{AMQPValue, FieldTable},
};
use messaging::{
    AmqpUrl, Connection, Message, Publisher, Status,
    topology::{EVENTS_EXCHANGE, Topology},
};
use tests::eventually;
use tokio::{task::JoinSet, time::Instant};

use crate::{
    event,
    tally::{Outcome, Tally},
    usage::{Meter, Window},
};

const DEADLINE: Duration = Duration::from_secs(30);

/// How events are published without HTTP.
#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The messaging library's publisher, by as many tasks as publishes are outstanding.
    Publisher,
    /// lapin alone: one task that publishes and reads the confirms in order. Not mandatory, so
    /// without a report of unrouted messages.
    Lapin,
}

impl Kind {
    /// As an argument of this program.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Publisher => "publisher",
            Self::Lapin => "lapin",
        }
    }
}

/// One measurement.
#[derive(clap::Args, Clone, Copy, Debug)]
pub(crate) struct Ceiling {
    pub(crate) kind: Kind,
    #[arg(long)]
    pub(crate) outstanding: usize,
    #[arg(long)]
    pub(crate) rabbitmq_pid: u32,
    #[arg(long)]
    pub(crate) warm_up_ms: u64,
    #[arg(long)]
    pub(crate) length_ms: u64,
}

impl Ceiling {
    /// Measures in this process.
    pub(crate) async fn run(self, amqp_url: &str) -> anyhow::Result<Outcome> {
        match self.kind {
            Kind::Publisher => self.publisher(amqp_url).await,
            Kind::Lapin => self.lapin(amqp_url).await,
        }
    }

    fn window(self) -> Window {
        let [warm_up, length] = [self.warm_up_ms, self.length_ms].map(Duration::from_millis);
        Window::after(warm_up, length)
    }

    fn meter(self) -> Meter {
        let own = ("own", std::process::id());
        Meter::new([own, ("RabbitMQ", self.rabbitmq_pid)])
    }

    async fn publisher(self, amqp_url: &str) -> anyhow::Result<Outcome> {
        let url: AmqpUrl = amqp_url.parse()?;
        let connection = Connection::open("ceiling", &url);
        let publisher = Publisher::start(&connection, Topology::events());
        eventually("the publisher is ready", DEADLINE, || async {
            (publisher.status() == Status::Ready).then_some(())
        })
        .await;
        let window = self.window();
        let tally = Arc::new(Mutex::new(Tally::new(window)));
        let mut tasks = JoinSet::new();
        for _ in 0..self.outstanding {
            tasks.spawn(publish(publisher.clone(), window, tally.clone()));
        }
        let cpu = self.meter().over(window).await?;
        while let Some(ended) = tasks.join_next().await {
            ended?;
        }
        connection.close().await;
        Ok(lock(&tally).outcome(cpu, Some(self.outstanding)))
    }

    async fn lapin(self, amqp_url: &str) -> anyhow::Result<Outcome> {
        let connection = lapin::Connection::connect(amqp_url, ConnectionProperties::default());
        let connection = connection.await.context("no connection to RabbitMQ")?;
        let channel = connection.create_channel().await?;
        channel
            .confirm_select(ConfirmSelectOptions::default())
            .await?;
        let window = self.window();
        let meter = self.meter();
        // Its last clone would close it as it goes, in a race with the connection.
        let publishing = tokio::spawn(pipeline(channel.clone(), self.outstanding, window));
        let cpu = meter.over(window).await?;
        let tally = publishing.await??;
        connection.close(200, "done".into()).await?;
        Ok(tally.outcome(cpu, Some(self.outstanding)))
    }
}

async fn publish(publisher: Publisher, window: Window, tally: Arc<Mutex<Tally>>) {
    let data = event::data(event::BYTES);
    loop {
        let due = Instant::now();
        if due >= window.end {
            return;
        }
        let message = Message::of(event::event(&data), &event::KEY);
        let published = publisher.publish(message, DEADLINE).await;
        match published {
            Ok(()) => lock(&tally).accepted(due),
            Err(error) => lock(&tally).refused(|| error.to_string()),
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "it is what the publisher is compared with"
)]
async fn pipeline(channel: Channel, outstanding: usize, window: Window) -> anyhow::Result<Tally> {
    let mut tally = Tally::new(window);
    let mut unconfirmed = VecDeque::with_capacity(outstanding);
    let (data, properties) = (event::data(event::BYTES), properties());
    loop {
        let due = Instant::now();
        let is_over = due >= window.end;
        if is_over || unconfirmed.len() == outstanding {
            let Some((due, confirm)) = unconfirmed.pop_front() else {
                return Ok(tally);
            };
            settle(&mut tally, due, confirm).await?;
        }
        if !is_over {
            let options = BasicPublishOptions::default();
            let publish = channel.basic_publish(
                EVENTS_EXCHANGE.into(),
                event::KEY.as_str().into(),
                options,
                &data,
                properties.clone(),
            );
            unconfirmed.push_back((due, publish.await?));
        }
    }
}

async fn settle(
    tally: &mut Tally,
    due: Instant,
    confirm: impl Future<Output = lapin::Result<Confirmation>>,
) -> anyhow::Result<()> {
    match confirm.await? {
        Confirmation::Ack(_) => tally.accepted(due),
        Confirmation::Nack(_) => tally.refused(|| "nack".to_owned()),
        Confirmation::NotRequested => bail!("confirms are not selected"),
    }
    Ok(())
}

/// The properties that the publisher's messages have; made once, where it makes them each time.
fn properties() -> BasicProperties {
    let event = event::event(&event::data(event::BYTES));
    let time = event.time.clone().unwrap_or_default();
    let mut headers = FieldTable::default();
    for (name, value) in [
        ("specversion", "1.0"),
        ("id", &event.id),
        ("type", &event.event_type),
        ("source", &event.source),
        ("time", &time),
    ] {
        let name = format!("cloudEvents_{name}");
        headers.insert(name.into(), AMQPValue::LongString(value.into()));
    }
    BasicProperties::default()
        .with_headers(headers)
        .with_delivery_mode(2) // persistent
        .with_message_id(event.id.into())
        .with_type(event.event_type.into())
        .with_content_type("application/json".into())
        .with_timestamp(0)
}

fn lock(tally: &Mutex<Tally>) -> MutexGuard<'_, Tally> {
    tally.lock().unwrap_or_else(PoisonError::into_inner)
}
