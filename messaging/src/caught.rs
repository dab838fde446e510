//! A panic is a bug. It ends what it happened in, as an error does, and begins it anew: a process
//! that is alive and has quietly stopped working would be worse than one that has ended.

use std::{future::Future, panic::AssertUnwindSafe};

use futures_util::FutureExt as _;

/// What `life` comes to, or `None` where it panics; the panic hook has written why.
///
/// Nothing that was shared with `life` may be left half changed by its panic. Here it is channels
/// and messages, which are dropped with it.
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
