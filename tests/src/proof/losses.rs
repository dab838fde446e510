//! Connections that are lost under a publisher.

use std::time::Duration;

use messaging::{Connection, Publisher};
use tokio::{
    sync::watch,
    time::{sleep, timeout},
};

use crate::{
    eventually,
    management::Management,
    proof::Account,
    proxy::{Cut, Proxy},
};

/// RabbitMQ's management interface learns of a connection some seconds late.
const DEADLINE: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(1);
/// For a loss to be noticed, before the connection is broken once more: what management closed may
/// have been a connection that had ended already and was still listed.
const NOTICE: Duration = Duration::from_secs(2);

/// Whatever a connection can be lost by.
pub(super) struct Losses<'a> {
    pub(super) proxy: &'a Proxy,
    pub(super) management: &'a Management,
    /// By which RabbitMQ knows the connection.
    pub(super) name: &'a str,
    pub(super) connection: &'a Connection,
    pub(super) publishers: &'a [Publisher],
    pub(super) account: &'a Account,
}

/// How a connection is lost.
#[derive(Clone, Copy)]
enum Loss {
    /// The network drops it, with all that is under way.
    Reset,
    /// RabbitMQ closes it, in AMQP's words.
    Close,
}

impl Losses<'_> {
    /// Breaks the connection as often as planned, by turns in either way, each time under full load.
    /// No number is published beyond the `limit`: the callers wait for a loss that is not prepared.
    pub(super) async fn run(&self, limit: &watch::Sender<usize>) {
        let plan = &self.account.plan;
        for index in 0..plan.losses {
            let loss = [Loss::Reset, Loss::Close][index % 2];
            let due = plan.due(index);
            limit.send_replace(due);
            ready(self.publishers).await;
            self.prepare(loss).await;
            limit.send_replace(plan.due(index + 1));
            while self.account.started() < due + plan.lead() {
                sleep(LOOK).await;
            }
            self.lose(loss).await;
        }
        limit.send_replace(plan.publishes);
    }

    async fn prepare(&self, loss: Loss) {
        match loss {
            Loss::Reset => {}
            Loss::Close => {
                eventually("the connection to be listed", DEADLINE, || async {
                    let listed = self.management.connections_of(self.name).await;
                    (listed.len() == 1).then_some(())
                })
                .await;
            }
        }
    }

    /// Returns once the loss has been noticed.
    async fn lose(&self, loss: Loss) {
        let open = self.account.open();
        eventually("the loss", DEADLINE, || async {
            match loss {
                Loss::Reset => {
                    self.proxy.cut(Cut::Reset);
                }
                Loss::Close => {
                    self.management.close_connections_of(self.name).await;
                }
            }
            timeout(NOTICE, self.noticed(open)).await.ok()
        })
        .await;
    }

    /// Returns once more fates than `open` are, or the connection is away. Under full load there is
    /// always one whose verdict is lost.
    async fn noticed(&self, open: usize) {
        while self.account.open() == open && self.connection.status().into_result().is_ok() {
            sleep(LOOK).await;
        }
    }
}

/// Waits until all publishers can publish.
pub(super) async fn ready(publishers: &[Publisher]) {
    for publisher in publishers {
        eventually("the publisher", DEADLINE, || async {
            publisher.status().into_result().ok()
        })
        .await;
    }
}
