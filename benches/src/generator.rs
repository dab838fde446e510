//! Load over HTTP: `POST /handle` on kept connections.
//!
//! It has its own thread with a single-threaded runtime, and each connection is one task, which
//! sends, drives the connection and counts: so it costs little, and the same for every contender.

use std::{
    cell::{Cell, RefCell},
    net::SocketAddr,
    rc::Rc,
    sync::Arc,
    thread,
    time::Duration,
};

use anyhow::{Context as _, bail};
use bytes::{Bytes, BytesMut};
use http::{Request, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::{
    net::TcpStream,
    runtime,
    sync::{Semaphore, oneshot},
    task::{JoinSet, LocalSet},
    time::{Instant, sleep_until, timeout_at},
};

use crate::{
    tally::{Outcome, Tally},
    usage::{Meter, Window},
};

/// For the answers to the requests that were due in the window, once it is over.
const LAST_ANSWERS: Duration = Duration::from_secs(15);

/// Requests, and how they come.
#[derive(Clone, Debug)]
pub(crate) struct Load {
    pub(crate) addr: SocketAddr,
    pub(crate) connections: usize,
    pub(crate) pace: Pace,
    pub(crate) body: Bytes,
    pub(crate) warm_up: Duration,
    pub(crate) length: Duration,
}

/// When the next request is due.
#[derive(Clone, Debug)]
pub(crate) enum Pace {
    /// Closed loop: on each connection with the answer to the one before. A server that stalls gets
    /// fewer requests, so latencies are those of the requests that were made, and not of what
    /// clients at a rate of their own would have seen.
    Closed,
    /// Open loop: so many a second, whatever the server does. Latency counts from when a request
    /// was due, not from when a connection was free for it: no coordinated omission. It includes up
    /// to a millisecond of the timer's resolution.
    Open {
        /// Requests a second of all connections together.
        per_second: u32,
    },
    /// With each permit, until there are no more of them: a closed loop around more than the server.
    Permits(Arc<Semaphore>),
}

struct Shared {
    load: Load,
    begun: Instant,
    window: Window,
    /// Requests that were given out.
    turns: Cell<u32>,
    tally: RefCell<Tally>,
}

impl Load {
    /// Runs it, and meters the window.
    pub(crate) async fn run(self, meter: Meter) -> anyhow::Result<Outcome> {
        let (sender, outcome) = oneshot::channel();
        let thread = thread::Builder::new().name("generator".into());
        thread.spawn(move || {
            // Nobody waits for it any more where this fails.
            let _ = sender.send(self.run_here(&meter));
        })?;
        outcome.await.context("the generator panicked")?
    }

    fn run_here(self, meter: &Meter) -> anyhow::Result<Outcome> {
        let runtime = runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        LocalSet::new().block_on(&runtime, self.run_local(meter))
    }

    async fn run_local(self, meter: &Meter) -> anyhow::Result<Outcome> {
        let window = Window::after(self.warm_up, self.length);
        let connections = self.connections;
        let shared = Rc::new(Shared {
            load: self,
            begun: Instant::now(),
            window,
            turns: Cell::new(0),
            tally: RefCell::new(Tally::new(window)),
        });
        let mut tasks = JoinSet::new();
        for _ in 0..connections {
            tasks.spawn_local(connection(shared.clone()));
        }
        let metered = async {
            tokio::select! {
                metered = meter.over(window) => metered,
                failed = first_failure(&mut tasks) => Err(failed),
            }
        };
        let cpu = metered.await?;
        let finished = async {
            while let Some(ended) = tasks.join_next().await {
                ended??;
            }
            anyhow::Ok(())
        };
        timeout_at(window.end + LAST_ANSWERS, finished)
            .await
            .context("the requests of the window were not answered within 15 s after it")??;
        let tally = shared.tally.borrow();
        let outstanding = match shared.load.pace {
            Pace::Closed => Some(connections),
            Pace::Open { .. } | Pace::Permits(_) => None,
        };
        Ok(tally.outcome(cpu, outstanding))
    }
}

/// Waits until a connection fails.
async fn first_failure(tasks: &mut JoinSet<anyhow::Result<()>>) -> anyhow::Error {
    while let Some(ended) = tasks.join_next().await {
        match ended {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return error,
            Err(panicked) => return panicked.into(),
        }
    }
    std::future::pending().await
}

async fn connection(shared: Rc<Shared>) -> anyhow::Result<()> {
    let addr = shared.load.addr;
    let stream = TcpStream::connect(addr).await;
    let stream = stream.with_context(|| format!("cannot connect to {addr}"))?;
    stream.set_nodelay(true)?;
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // In this order what was handed over for sending is sent at once.
    tokio::select! {
        biased;
        done = requests(sender, &shared) => done,
        ended = connection => {
            ended?;
            bail!("{addr} closed a connection")
        }
    }
}

async fn requests(mut sender: SendRequest<Full<Bytes>>, shared: &Shared) -> anyhow::Result<()> {
    let host = header::HeaderValue::try_from(shared.load.addr.to_string())?;
    while let Some(due) = shared.turn().await {
        let mut request =
            Request::post(Uri::from_static("/handle")).body(Full::new(shared.load.body.clone()))?;
        let headers = request.headers_mut();
        headers.insert(header::HOST, host.clone());
        let json = header::HeaderValue::from_static("application/json");
        headers.insert(header::CONTENT_TYPE, json);
        sender.ready().await?;
        let answer = sender.send_request(request).await?;
        let status = answer.status();
        let mut body = answer.into_body();
        let mut said = BytesMut::new();
        while let Some(frame) = body.frame().await {
            if status != StatusCode::ACCEPTED
                && let Ok(data) = frame?.into_data()
            {
                said.extend_from_slice(&data);
            }
        }
        let mut tally = shared.tally.borrow_mut();
        if status == StatusCode::ACCEPTED {
            tally.accepted(due);
        } else {
            tally.refused(|| format!("{status} {}", String::from_utf8_lossy(&said)));
        }
    }
    Ok(())
}

impl Shared {
    /// Waits until the next request is due; `None` when there is none any more.
    async fn turn(&self) -> Option<Instant> {
        let due = match &self.load.pace {
            Pace::Closed => Instant::now(),
            Pace::Permits(permits) => {
                permits.acquire().await.ok()?.forget();
                Instant::now()
            }
            Pace::Open { per_second } => {
                let turn = self.turns.replace(self.turns.get() + 1);
                let due = self.begun + Duration::from_secs(1) * turn / *per_second;
                if due < self.window.end {
                    sleep_until(due).await;
                }
                due
            }
        };
        (due < self.window.end).then_some(due)
    }
}
