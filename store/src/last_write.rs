//! Whether the last write failed. A database that only refuses writes (full disk, read-only file,
//! lock of another program) looks well to whoever reads.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::StoreError;

/// How long a failure counts when no write follows it. Longer than a write waits for a lock, so
/// that a service which keeps trying in vain is not ready in between; and short, since nobody may
/// send a write to a service that is not ready.
const FAILURE_COUNTS: Duration = Duration::from_secs(9);

/// Clones share one memory.
#[derive(Clone, Debug, Default)]
pub(crate) struct LastWrite {
    failure: Arc<watch::Sender<Option<Failure>>>,
}

#[derive(Debug)]
struct Failure {
    at: Instant,
    reason: String,
}

impl LastWrite {
    /// Nothing is known against writing: it has just worked, or its failure had another reason.
    pub(crate) fn forget(&self) {
        self.failure
            .send_if_modified(|failure| failure.take().is_some());
    }

    pub(crate) fn failed(&self, error: &StoreError) {
        self.failure.send_replace(Some(Failure {
            at: Instant::now(),
            reason: error.to_string(),
        }));
    }

    pub(crate) fn check(&self) -> Result<(), StoreError> {
        match &*self.failure.borrow() {
            Some(failure) if failure.at.elapsed() < FAILURE_COUNTS => {
                Err(StoreError::LastWrite(failure.reason.clone()))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_failure_counts_until_the_next_success_or_for_a_while() {
        let last_write = LastWrite::default();
        last_write.check().unwrap();
        last_write.failed(&StoreError::Timeout);
        let told = last_write.check().unwrap_err().to_string();
        assert!(told.contains("did not answer"), "{told}");
        last_write.forget();
        last_write.check().unwrap();

        last_write.failed(&StoreError::Timeout);
        tokio::time::advance(FAILURE_COUNTS - Duration::from_millis(1)).await;
        last_write.check().unwrap_err();
        tokio::time::advance(Duration::from_millis(1)).await;
        last_write.check().unwrap();
    }
}
