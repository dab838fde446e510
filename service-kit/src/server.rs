//! The HTTP server of every service: the service's own routes inside the common limits.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context;
use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::StatusCode;
use axum::middleware::from_fn_with_state;
use budget::Budget;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::admission::{self, Admission};
use crate::connection;
use crate::guard::Guard;
use crate::memory::Memory;
use crate::metrics;
use crate::operations;
use crate::problem::Problem;
use crate::readiness::Readiness;
use crate::routes::Routes;

pub use crate::config::HttpConfig;

/// Binds the address a service listens on.
pub async fn bind(addr: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(addr).await.with_context(|| {
        format!(
            "cannot listen on {addr}: choose another address with the service's *_ADDR variable"
        )
    })
}

/// What comes before anything else of a service: asks whether [`serve`] would refuse this address,
/// and begins to count. What looks up a metric before there is a recorder counts nothing for ever.
/// Returns the budget of bytes for what the service holds in memory.
///
/// # Errors
/// What to change, where the service would be open to others.
pub fn prepare(listener: &TcpListener, config: &HttpConfig) -> anyhow::Result<Memory> {
    let addr = listener
        .local_addr()
        .context("the listener has no address")?;
    Guard::new(addr, config)?;
    metrics::install()?;
    let configured = config.memory_budget_bytes.map(Budget::new);
    let budget = configured.unwrap_or_else(Budget::of_process);
    tracing::info!(bytes = budget.total(), "the memory budget");
    Ok(Memory::new(budget))
}

/// Serves `routes` until `shutdown` is cancelled and the requests in flight are done.
///
/// Adds `/healthz`, `/readyz` and `/metrics`, answers every error as a [`Problem`], and refuses to
/// start where [the guard](crate::guard) would leave the service open to others. What is held for
/// clients takes bytes of `memory`, which [`prepare`] returns.
pub async fn serve(
    service: &'static str,
    listener: TcpListener,
    routes: impl Into<Routes>,
    config: &HttpConfig,
    memory: Memory,
    readiness: Readiness,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let addr = listener
        .local_addr()
        .context("the listener has no address")?;
    let guard = Guard::new(addr, config)?;
    let cors = guard.cors();
    let Routes {
        router: routes,
        large_bodies,
    } = routes.into();
    let largest = large_bodies.values().map(|large| large.bytes_max).max();
    memory.warn_of_bodies(largest.unwrap_or(0).max(config.max_body_bytes));
    let admission = Arc::new(Admission::new(guard, config, memory.clone(), large_bodies));
    let metrics = metrics::install()?;
    let operations =
        operations::routes(service, readiness, metrics.clone(), memory.budget().clone());
    let mut router = assemble(routes.merge(operations), admission);
    if let Some(cors) = cors {
        router = router.layer(cors);
    }

    tracing::info!(service, %addr, "listening");
    tokio::select! {
        () = connection::accept(listener, router, config, memory, shutdown) => {}
        // Never ends; it lives exactly as long as the server.
        () = metrics::upkeep(metrics) => {}
    }
    tracing::info!(service, "stopped");
    Ok(())
}

fn assemble(routes: Router, admission: Arc<Admission>) -> Router {
    routes
        .fallback(|| async { Problem::not_found("no such endpoint") })
        .method_not_allowed_fallback(|| async {
            Problem::new(
                StatusCode::METHOD_NOT_ALLOWED,
                "method-not-allowed",
                "the Allow header lists the methods of this endpoint",
            )
        })
        .layer((
            from_fn_with_state(admission, admission::admit),
            // `admit` has the limit; axum's own would refuse without a problem document.
            DefaultBodyLimit::disable(),
        ))
}
