//! One trial: a publisher, RabbitMQ, and what breaks the connection between them.

use std::{sync::Arc, time::Duration};

use messaging::{Connection, Publisher, topology::Topology};
use tokio::{sync::watch, task::JoinHandle};

use crate::{
    OrPanic as _, eventually,
    management::Listed,
    proof::{
        Account, Destination, Judgement, Plan, Queues, callers,
        losses::{Losses, ready},
    },
    proxy::Proxy,
    rabbitmq::VirtualHost,
};

/// By which RabbitMQ knows the connection.
const NAME: &str = "proof";
/// RabbitMQ's management interface learns of a connection some seconds late.
const LISTED_DEADLINE: Duration = Duration::from_secs(60);

/// A publisher under trial.
pub struct Trial<'a> {
    /// What is found, readable while the trial runs.
    pub account: Arc<Account>,
    virtual_host: &'a VirtualHost,
    proxy: Proxy,
    connection: Connection,
    publishers: Vec<Publisher>,
    queues: Queues,
    taking: JoinHandle<()>,
}

impl<'a> Trial<'a> {
    /// Connects everything and publishes nothing yet.
    pub async fn start(virtual_host: &'a VirtualHost, plan: Plan) -> Self {
        let proxy = Proxy::start(virtual_host.server()).await;
        let url = virtual_host.url_through(proxy.addr);
        let connection = Connection::open(NAME, &url.parse().or_panic(&url));
        let first = Publisher::start(&connection, Topology::events());
        let others = (1..plan.channels).map(|_| first.on_another_channel());
        let mut publishers: Vec<_> = others.collect();
        publishers.push(first);
        ready(&publishers).await;

        let queues = Queues::connect(&virtual_host.url).await;
        queues.declare(Destination::Bound, None).await;
        for destination in Destination::FULL {
            queues.declare(destination, Some(plan.full_at())).await;
        }
        let account = Arc::new(Account::new(plan));
        let taking = queues.take_always(Destination::Bound, account.clone());
        Self {
            taking: taking.await,
            account,
            virtual_host,
            proxy,
            connection,
            publishers,
            queues,
        }
    }

    /// Publishes everything, breaks the connection meanwhile, and takes everything out of the queues.
    pub async fn run(&self) {
        let losses = Losses {
            proxy: &self.proxy,
            management: &self.virtual_host.management,
            name: NAME,
            connection: &self.connection,
            publishers: &self.publishers,
            account: &self.account,
        };
        let limit = watch::Sender::new(0);
        tokio::join!(
            callers::publish_all(&self.publishers, &self.account, &limit),
            losses.run(&limit),
            self.queues.empty_in_turn(&self.account),
        );
        self.queues.settle(&self.account).await;
    }

    /// Waits for RabbitMQ to show what must be left: one connection with a channel for each publisher
    /// and nothing unconfirmed.
    pub async fn nothing_is_left(&self) {
        let expected = Listed {
            channels: self.account.plan.channels,
            unconfirmed: 0,
        };
        let what = "one connection, a channel for each publisher, nothing unconfirmed";
        eventually(what, LISTED_DEADLINE, || async {
            let listed = self.virtual_host.management.connections_of(NAME).await;
            let listed: Vec<_> = listed.into_values().collect();
            (listed == [expected]).then_some(())
        })
        .await;
    }

    /// Ends everything, and judges.
    pub async fn end(self) -> Judgement {
        self.connection.close().await;
        self.queues.close().await;
        self.taking.await.or_panic("what takes from the queue");
        Judgement::of(&self.account)
    }
}
