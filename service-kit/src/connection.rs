//! Accepting connections, serving each within its limits, and letting them end.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::{HeaderValue, Request, Response, Version, header};
use axum::response::IntoResponse;
use futures_util::FutureExt;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

use crate::activity::{Activity, Arriving};
use crate::admission;
use crate::config::HttpConfig;
use crate::descriptors;
use crate::leaving::Leaving;
use crate::memory::Memory;

/// Pause after a failed accept. The usual reason, no file descriptor left, would otherwise make
/// the loop spin, since the waiting connection stays readable.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);
/// With all places taken a connection that has waited for its client for longer than this makes room
/// for the next one. A client that has just connected has this long to send its request.
const STALL_GRACE: Duration = Duration::from_millis(500);
/// While stopping: time for a connection that has just been made to send its first request.
const FIRST_REQUEST_GRACE: Duration = Duration::from_secs(1);
// Above the limits of `limits.rs`, which answer with a problem document where hyper cannot.
const HYPER_HEADERS_MAX: usize = 200;
const HYPER_BUFFER_BYTES: usize = 32 * 1024;
const HTTP2_STREAMS_MAX: u32 = 128;
/// What the streams of one connection may send ahead of their reading, and what is buffered of the
/// answer of one. The protocol allows no less for a connection.
const HTTP2_WINDOW_BYTES: u32 = 65_535;

/// What every connection of one server shares.
struct Server {
    http: auto::Builder<TokioExecutor>,
    router: Router,
    memory: Memory,
    idle_timeout: Duration,
    places: Arc<Semaphore>,
    /// Of requests that are not the only one of their connection, as HTTP/2 has them.
    streams: Arc<Semaphore>,
    /// Ends the connection that has waited for its client the longest.
    make_room: Notify,
    /// Cancelled first: answers ask their clients to close the connection.
    stopping: CancellationToken,
    /// Then: no further requests are read.
    closing: CancellationToken,
    /// At last: whatever is left is dropped.
    aborting: CancellationToken,
}

/// Serves until `shutdown`, then drains.
pub(crate) async fn accept(
    listener: TcpListener,
    router: Router,
    config: &HttpConfig,
    memory: Memory,
    shutdown: CancellationToken,
) {
    let server = Arc::new(Server {
        http: http_builder(config),
        router,
        memory,
        idle_timeout: config.idle_timeout,
        places: Arc::new(Semaphore::new(descriptors::connections(
            config.max_connections,
        ))),
        streams: Arc::new(Semaphore::new(config.max_connections)),
        make_room: Notify::new(),
        stopping: shutdown.clone(),
        closing: CancellationToken::new(),
        aborting: CancellationToken::new(),
    });
    // The server may be dropped instead of stopped; its connections must not outlive it.
    let _abort = server.aborting.clone().drop_guard();
    let connections = TaskTracker::new();
    let stop = async {
        shutdown.cancelled().await;
        tokio::time::sleep(config.drain_grace).await;
    };
    tokio::select! {
        () = stop => {}
        () = accept_all(&listener, &server, &connections) => {}
    }
    // Connections already made by the kernel would be reset when the listener goes.
    while let Some(Ok((stream, peer))) = listener.accept().now_or_never() {
        let Ok(place) = server.places.clone().try_acquire_owned() else {
            break;
        };
        connections.spawn(serve(server.clone(), stream, peer, place));
    }
    drop(listener);
    server.closing.cancel();
    connections.close();
    if tokio::time::timeout(config.drain_timeout, connections.wait())
        .await
        .is_err()
    {
        tracing::warn!(
            connections = connections.len(),
            "the drain timed out, dropping connections with requests in flight"
        );
    }
}

async fn accept_all(listener: &TcpListener, server: &Arc<Server>, connections: &TaskTracker) {
    // The semaphore is never closed, so this goes on until the caller stops it.
    while let Some(place) = place(server).await {
        match listener.accept().await {
            Ok((stream, peer)) => {
                connections.spawn(serve(server.clone(), stream, peer, place));
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection, pausing");
                server.make_room.notify_one();
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// A place for one more connection, if need be that of one that waits for its client.
async fn place(server: &Server) -> Option<OwnedSemaphorePermit> {
    if server.places.available_permits() == 0 {
        server.make_room.notify_one();
    }
    server.places.clone().acquire_owned().await.ok()
}

async fn serve(
    server: Arc<Server>,
    stream: TcpStream,
    peer: SocketAddr,
    _place: OwnedSemaphorePermit,
) {
    // Answers are written whole; without this the last packet of one may wait for an ack.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%peer, %error, "cannot set TCP_NODELAY");
    }
    let activity = Activity::new();
    let end = Arc::new(Notify::new());
    let first = Arc::new(Semaphore::new(1));
    let service = service_fn(|request| {
        let request = placed(request, &first, &server.streams);
        answer(server.clone(), activity.clone(), end.clone(), request)
    });
    let mut connection = pin!(server.http.serve_connection(TokioIo::new(stream), service));
    let close = async {
        server.closing.cancelled().await;
        let _ = tokio::time::timeout(FIRST_REQUEST_GRACE, activity.first_request()).await;
    };
    let ended = tokio::select! {
        ended = connection.as_mut() => Some(ended),
        () = server.aborting.cancelled() => return,
        // Covers what hyper does not time: a silent new connection, an idle HTTP/2 one, a client
        // that does not read its answer.
        () = activity.stalled(server.idle_timeout, STALL_GRACE, &server.make_room) => return,
        () = end.notified() => return,
        () = close => None,
    };
    let ended = match ended {
        Some(ended) => ended,
        None => {
            connection.as_mut().graceful_shutdown();
            tokio::select! {
                ended = connection => ended,
                () = server.aborting.cancelled() => return,
            }
        }
    };
    // Clients that go away or send garbage are no event for an operator.
    if let Err(error) = ended {
        tracing::debug!(%peer, %error, "a connection ended early");
    }
}

/// A request with its place among those of HTTP/2: each connection has one, and they share the rest.
/// Where there is none the request is dropped here, and not when its task runs: until then many
/// thousands of heads would be in memory.
fn placed(
    request: Request<Incoming>,
    first: &Arc<Semaphore>,
    streams: &Arc<Semaphore>,
) -> Option<(Request<Incoming>, Option<OwnedSemaphorePermit>)> {
    if request.version() != Version::HTTP_2 {
        return Some((request, None));
    }
    let place = first.clone().try_acquire_owned();
    let place = place.or_else(|_taken| streams.clone().try_acquire_owned());
    Some((request, Some(place.ok()?)))
}

async fn answer(
    server: Arc<Server>,
    activity: Activity,
    end: Arc<Notify>,
    request: Option<(Request<Incoming>, Option<OwnedSemaphorePermit>)>,
) -> Result<Response<Leaving>, Infallible> {
    let in_flight = activity.begin();
    let Some((request, _place)) = request else {
        let refusal = admission::overloaded().into_response();
        return Ok(Leaving::with(refusal, in_flight, &server.memory, &end, true).await);
    };
    let version = request.version();
    let is_safe = request.method().is_safe();
    let request = request.map(|body| Arriving::new(body, in_flight.clone()));
    let mut response = server.router.clone().oneshot(request).await?;
    // At the cap this lets waiting clients have their turn; while stopping it sends them away.
    let close = server.places.available_permits() == 0 || server.stopping.is_cancelled();
    if close && version == Version::HTTP_11 {
        let headers = response.headers_mut();
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    Ok(Leaving::with(response, in_flight, &server.memory, &end, is_safe).await)
}

fn http_builder(config: &HttpConfig) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(config.read_timeout)
        .max_headers(HYPER_HEADERS_MAX)
        .max_buf_size(HYPER_BUFFER_BYTES);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(HTTP2_STREAMS_MAX)
        .max_header_list_size(HYPER_BUFFER_BYTES as u32)
        .initial_connection_window_size(HTTP2_WINDOW_BYTES)
        .initial_stream_window_size(HTTP2_WINDOW_BYTES)
        .max_send_buf_size(HTTP2_WINDOW_BYTES as usize)
        // A peer that vanished without closing is noticed within twice this time.
        .keep_alive_interval(config.idle_timeout)
        .keep_alive_timeout(config.idle_timeout);
    builder
}
