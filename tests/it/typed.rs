//! Services in Rust that use `messaging` themselves.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use messaging::{
    Connection, EventError, EventPublisher, HandlerError, Handlers, PublishError, Received,
    Subscriber,
};
use serde::{Deserialize, Serialize};
use tests::{eventually, rabbitmq::virtual_host};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

const PATIENCE: Duration = Duration::from_secs(20);
const QUEUE: &str = "events.topic.exchange.queue.mails";

#[derive(Debug, Deserialize, PartialEq, Serialize)]
struct Placed {
    id: u64,
    email: String,
}

#[derive(Debug, Deserialize, PartialEq, Serialize)]
struct Cancelled {
    id: u64,
}

event::payloads! {
    Placed => "order.placed",
    Cancelled => "order.cancelled",
}

fn placed(id: u64) -> Placed {
    let email = "ann@example.com".to_owned();
    Placed { id, email }
}

/// What the handlers did, in order.
type Done = mpsc::UnboundedSender<String>;

fn handlers(done: Done, down: Arc<AtomicBool>) -> Handlers {
    let cancelled = done.clone();
    Handlers::new()
        .on(move |order: Received<Placed>| {
            let (done, down) = (done.clone(), down.clone());
            async move {
                let Placed { id, .. } = order.payload;
                let attempt = order.delivery.attempt;
                if down.load(Ordering::Relaxed) {
                    return Err(HandlerError::down("the mail server is away"));
                }
                if id == 13 {
                    return Err(HandlerError::reject("an unlucky number"));
                }
                if id == 2 && attempt == 1 {
                    return Err(std::io::Error::other("busy").into());
                }
                let _ = done.send(format!("placed {id} in attempt {attempt}"));
                Ok(())
            }
        })
        .on(move |order: Received<Cancelled>| {
            let _ = cancelled.send(format!("cancelled {}", order.payload.id));
            async { Ok(()) }
        })
}

#[tokio::test(flavor = "multi_thread")]
async fn two_services_share_the_types_of_their_events_and_nothing_else() {
    let virtual_host = virtual_host().await;
    let url = virtual_host.url.parse().unwrap();
    let orders = Connection::open("orders", &url);
    let events = EventPublisher::start(&orders, "/orders");
    // Nobody handles it yet, and its publisher is told so.
    let unroutable = eventually("connected", PATIENCE, || async {
        match events.publish(&placed(0)).await {
            Err(EventError::Publish {
                error: PublishError::Disconnected(_),
                ..
            }) => None,
            other => Some(other),
        }
    })
    .await;
    let Err(EventError::Publish {
        error: PublishError::Unroutable,
        ..
    }) = unroutable
    else {
        panic!("{unroutable:?}");
    };

    let [consuming, publishing] =
        ["consuming", "publishing"].map(|name| Connection::open(name, &url));
    let shutdown = CancellationToken::new();
    let down = Arc::new(AtomicBool::new(false));
    let (done, mut did) = mpsc::unbounded_channel();
    let handlers = handlers(done, down.clone());
    let mut subscription = handlers.subscription("mails");
    subscription.retries = vec![Duration::from_millis(100)];
    let subscriber = Subscriber::start(
        subscription,
        &consuming,
        &publishing,
        shutdown.clone(),
        handlers.into_handler(),
    );
    eventually("it consumes", PATIENCE, || async {
        subscriber.status().into_result().ok()
    })
    .await;

    events.publish(&placed(1)).await.unwrap();
    assert_eq!(did.recv().await.unwrap(), "placed 1 in attempt 1");
    events.publish(&placed(2)).await.unwrap();
    assert_eq!(did.recv().await.unwrap(), "placed 2 in attempt 2");
    events.publish(&Cancelled { id: 2 }).await.unwrap();
    assert_eq!(did.recv().await.unwrap(), "cancelled 2");
    let unlucky = events.publish(&placed(13)).await.unwrap();
    let dead = eventually("a dead letter", PATIENCE, || async {
        virtual_host
            .management
            .take(&format!("{QUEUE}.dead"))
            .await
            .pop()
    })
    .await;
    assert_eq!(dead["properties"]["message_id"], unlucky);
    assert_eq!(
        dead["properties"]["headers"]["x-gw-reason"],
        "an unlucky number"
    );

    // An outage pauses the subscription and costs no attempts.
    down.store(true, Ordering::Relaxed);
    events.publish(&placed(3)).await.unwrap();
    eventually("it pauses", PATIENCE, || async { subscriber.outage() }).await;
    down.store(false, Ordering::Relaxed);
    assert_eq!(did.recv().await.unwrap(), "placed 3 in attempt 1");

    shutdown.cancel();
    subscriber.drain(Duration::from_secs(5)).await;
    tokio::join!(orders.close(), consuming.close(), publishing.close());
}
