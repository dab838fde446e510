//! A target that costs as little as one can: it reads a request and answers 200 without a body.

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use anyhow::Context as _;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Empty};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpListener, runtime, sync::oneshot};

/// A running target, with its own thread, like the generator.
pub(crate) struct NullTarget {
    pub(crate) addr: SocketAddr,
    requests: Arc<AtomicU64>,
    /// Its drop ends the target.
    _stop: oneshot::Sender<()>,
}

impl NullTarget {
    pub(crate) fn start() -> anyhow::Result<Self> {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").context("a port")?;
        listener.set_nonblocking(true)?;
        let addr = listener.local_addr()?;
        let requests = Arc::<AtomicU64>::default();
        let (stop, stopped) = oneshot::channel::<()>();
        let runtime = runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let counted = requests.clone();
        let serve = async move {
            let listener = TcpListener::from_std(listener)?;
            tokio::select! {
                _dropped = stopped => Ok(()),
                failed = serve(listener, counted) => failed,
            }
        };
        thread::Builder::new()
            .name("null target".into())
            .spawn(move || runtime.block_on(serve))?;
        Ok(Self {
            addr,
            requests,
            _stop: stop,
        })
    }

    /// Requests that it has read whole.
    pub(crate) fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }
}

async fn serve(listener: TcpListener, requests: Arc<AtomicU64>) -> anyhow::Result<()> {
    loop {
        let (stream, _client) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let requests = requests.clone();
        let answer = service_fn(move |request: Request<Incoming>| {
            let requests = requests.clone();
            async move {
                let mut body = request.into_body();
                while let Some(Ok(_frame)) = body.frame().await {}
                requests.fetch_add(1, Ordering::Relaxed);
                Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new()))
            }
        });
        let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), answer);
        // A connection that fails shows as events that the listener delivers again.
        tokio::spawn(connection);
    }
}
