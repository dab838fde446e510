//! A panic is a bug. It ends the task it happened in, like an error, and the task restarts: a
//! process that is alive but has silently stopped working would be worse than one that has ended.

use std::{future::Future, panic::AssertUnwindSafe};

use futures_util::FutureExt as _;

/// The result of `life`, or `None` if it panics; the panic hook has logged why.
///
/// A panic of `life` must not leave shared state half changed. Here that is channels and messages,
/// which are dropped with it.
pub(crate) async fn caught<T>(life: impl Future<Output = T>) -> Option<T> {
    AssertUnwindSafe(life).catch_unwind().await.ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_is_nothing_and_all_else_is_itself() {
        assert_eq!(caught(async { 7 }).await, Some(7));
        let bug = async {
            tokio::task::yield_now().await;
            panic!("a bug");
        };
        assert_eq!(caught::<()>(bug).await, None);
    }
}
