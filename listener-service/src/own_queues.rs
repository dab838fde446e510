//! The queues that the running routes consume. No answer to a request goes into one of them.

use std::{
    collections::HashSet,
    sync::{Arc, PoisonError, RwLock},
};

/// The names for the current routes. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct OwnQueues(Arc<RwLock<HashSet<String>>>);

impl OwnQueues {
    /// Whether a route consumes `queue`.
    pub(crate) fn contain(&self, queue: &str) -> bool {
        let names = self.0.read().unwrap_or_else(PoisonError::into_inner);
        names.contains(queue)
    }

    pub(crate) fn replace<'a>(&self, names: impl Iterator<Item = &'a str>) {
        let names = names.map(str::to_owned).collect();
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = names;
    }
}
