//! Retries while RabbitMQ or logger-service is down, which may be a restart.

use std::{future::Future, time::Duration};

use messaging::Backoff;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

const PATIENCE: Duration = Duration::from_secs(30);

/// Retries until it works, or fails permanently. A wait does not delay the shutdown of the
/// listener.
pub(super) async fn patiently<T, E, F>(
    shutdown: &CancellationToken,
    passes: impl Fn(&E) -> bool,
    mut attempt: impl FnMut() -> F,
) -> Result<T, E>
where
    F: Future<Output = Result<T, E>>,
{
    let end = Instant::now() + PATIENCE;
    let mut backoff = Backoff::new();
    loop {
        match attempt().await {
            Err(error) if passes(&error) && Instant::now() < end && !shutdown.is_cancelled() => {}
            result => return result,
        }
        tokio::time::sleep(backoff.next_wait()).await;
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn waits_for_what_passes_and_for_so_long() {
        let shutdown = CancellationToken::new();
        let tries = Cell::new(0);
        let count = || {
            tries.set(tries.get() + 1);
            tries.get()
        };
        let third = || async { if count() < 3 { Err("away") } else { Ok(()) } };
        assert_eq!(patiently(&shutdown, |_| true, third).await, Ok(()));
        assert_eq!(tries.take(), 3);

        let never = || async { Err::<(), _>(count()) };
        assert!(patiently(&shutdown, |_| false, never).await.is_err());
        assert_eq!(tries.take(), 1);

        let begun = Instant::now();
        assert!(patiently(&shutdown, |_| true, never).await.is_err());
        let waited = begun.elapsed();
        assert!(waited >= PATIENCE && waited < 2 * PATIENCE, "{waited:?}");
        tries.set(0);
        shutdown.cancel();
        assert!(patiently(&shutdown, |_| true, never).await.is_err());
        assert_eq!(tries.take(), 1);
    }
}
