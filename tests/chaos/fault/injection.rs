//! One injection of each fault, and its end.

use std::time::Duration;

use tests::{
    proxy::{Cut, Mode},
    rabbitmq::signal,
};
use tokio::time::{Instant, sleep};

use super::{Fault, NOTICED, SLOW, topology};
use crate::stage::Stage;

impl Fault {
    /// Injects the fault once, and heals it: the moment from which on all could be well again.
    pub(super) async fn inject(self, stage: &mut Stage<'_>, length: Duration) -> Instant {
        match self {
            Self::ListenerKilled => {
                stage.listener.kill().await;
                sleep(length).await;
                stage.listener.start_again();
            }
            Self::BrokerKilled => {
                stage.broker.kill().await;
                sleep(length).await;
                stage.broker.start_again();
            }
            Self::LoggerKilled => {
                stage.logger.kill().await;
                sleep(length).await;
                stage.logger.start_again();
            }
            Self::RabbitmqKilled => {
                stage.node.kill().await;
                stage.node.start_again().await;
            }
            Self::ConnectionsClosed => {
                let virtual_host = stage.virtual_host.name.clone();
                let close = ["close_all_connections", "--vhost", &virtual_host, "chaos"];
                stage.node.ctl(&close).await;
            }
            Self::RabbitmqFrozen | Self::RabbitmqFrozenLong => {
                signal(stage.node.pid(), "STOP");
                let noticed = silence(stage, length).await;
                signal(stage.node.pid(), "CONT");
                stage.complain_unless(noticed, "a frozen RabbitMQ was not noticed");
            }
            Self::HalfOpen => {
                stage.amqp.set(Mode::HalfOpen).await;
                let noticed = silence(stage, length).await;
                stage.amqp.set(Mode::Pass).await;
                stage.complain_unless(noticed, "a half-open network was not noticed");
            }
            Self::Resets => {
                let cut = stage.amqp.cut(Cut::Reset);
                stage.complain_unless(cut > 0, "there was no connection to reset");
            }
            Self::Delay => {
                let (up, down) = (Duration::from_millis(200), Duration::from_millis(200));
                slow(stage, Mode::Delay { up, down }, length).await;
            }
            Self::Throttle => slow(stage, Mode::Throttle(50_000), length).await,
            Self::MemoryAlarm => {
                let watermark = "set_vm_memory_high_watermark";
                alarm(stage, [watermark, "0"], [watermark, "0.4"], length).await;
            }
            Self::DiskAlarm => {
                let limit = "set_disk_free_limit";
                alarm(stage, [limit, "1000000GB"], [limit, "50MB"], length).await;
            }
            Self::TargetRefuses => {
                stage.target.set(Mode::Refuse).await;
                stage.target.cut(Cut::Reset);
                stage.run(length).await;
                stage.target.set(Mode::Pass).await;
            }
            Self::RouteQueueDeleted => return topology::route_queue_deleted(stage).await,
            Self::HandOffDeleted => return topology::hand_off_deleted(stage).await,
            Self::ExchangeDeleted => return topology::exchanges_deleted(stage).await,
            Self::Control | Self::Poison | Self::Hostile | Self::Everything => {}
        }
        Instant::now()
    }
}

/// Whether broker and listener notice, where RabbitMQ is silent long enough to be noticed.
async fn silence(stage: &Stage<'_>, length: Duration) -> bool {
    stage.run(length).await;
    length < NOTICED || !(stage.broker.is_ready().await || stage.listener.is_ready().await)
}

/// A network that is slow but there: events are to come through it.
async fn slow(stage: &mut Stage<'_>, mode: Mode, length: Duration) {
    let began = Instant::now();
    stage.amqp.set(mode).await;
    stage.run(length).await;
    let delivered = stage.sink.delivered_since(began + length / 2);
    stage.amqp.set(Mode::Pass).await;
    let enough = length >= SLOW;
    stage.complain_unless(delivered || !enough, "nothing came through a slow network");
}

/// While RabbitMQ blocks publishers, the broker is to say so and to accept nothing.
async fn alarm(stage: &mut Stage<'_>, raise: [&str; 2], clear: [&str; 2], length: Duration) {
    stage.node.ctl(&raise).await;
    stage.run(length / 2).await;
    let raised = Instant::now();
    stage.run(length / 2).await;
    let accepted = stage.load.accepted_since(raised);
    let ready = stage.broker.is_ready().await;
    stage.node.ctl(&clear).await;
    stage.complain_unless(!accepted, "events were accepted during an alarm");
    stage.complain_unless(!ready, "the broker was ready during an alarm");
}
