//! How many connections consumers may have beside the one that they share.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::channel::ChannelError;

/// A connection takes a thread and 9 MiB, so few are made at one time, for each purpose.
const PLACES: usize = 4;

/// The connections that consumers may have beside the shared one at one time.
#[derive(Clone, Debug)]
pub(crate) struct Places {
    trials: Arc<Semaphore>,
    apart: Arc<Semaphore>,
    exclusive: Arc<Semaphore>,
}

impl Default for Places {
    fn default() -> Self {
        let places = || Arc::new(Semaphore::new(PLACES));
        Self {
            trials: places(),
            apart: places(),
            exclusive: places(),
        }
    }
}

impl Places {
    /// For a trial, once there is one.
    pub(crate) async fn trial(&self) -> Result<OwnedSemaphorePermit, ChannelError> {
        place(&self.trials).await
    }

    /// For a consumer that stays apart, once there is one.
    pub(crate) async fn apart(&self) -> Result<OwnedSemaphorePermit, ChannelError> {
        place(&self.apart).await
    }

    /// For the consumer of an exclusive queue, if there is one.
    pub(crate) fn exclusive(&self) -> Option<OwnedSemaphorePermit> {
        self.exclusive.clone().try_acquire_owned().ok()
    }
}

async fn place(places: &Arc<Semaphore>) -> Result<OwnedSemaphorePermit, ChannelError> {
    let place = places.clone().acquire_owned().await;
    place.map_err(|_never_closed| ChannelError::Closing)
}
