//! Signals: the first requests a clean shutdown, the second forces it.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// A token that the first SIGTERM or SIGINT cancels; a second signal exits the process with 130.
///
/// Call it once, inside the runtime.
pub fn on_signal() -> CancellationToken {
    let token = CancellationToken::new();
    match signals() {
        Ok(signals) => {
            tokio::spawn(watch(signals, token.clone()));
        }
        // The signals keep their default action: they end the process without a drain.
        Err(error) => tracing::error!(%error, "cannot listen for signals, a stop will not drain"),
    }
    token
}

fn signals() -> io::Result<(Signal, Signal)> {
    Ok((
        signal(SignalKind::terminate())?,
        signal(SignalKind::interrupt())?,
    ))
}

async fn watch((mut terminate, mut interrupt): (Signal, Signal), token: CancellationToken) {
    next(&mut terminate, &mut interrupt).await;
    tracing::info!("stopping: finishing requests in progress, a second signal stops at once");
    token.cancel();
    next(&mut terminate, &mut interrupt).await;
    std::process::exit(130);
}

async fn next(terminate: &mut Signal, interrupt: &mut Signal) {
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}
