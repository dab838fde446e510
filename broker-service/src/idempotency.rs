//! One publish for each `Idempotency-Key`, within a window and a number of keys.
//!
//! A request that comes again is answered as it was and publishes nothing. While the first one is
//! under way the next waits for its outcome, which tells it more than the 409 that
//! draft-ietf-httpapi-idempotency-key-header, 2.7, suggests. Only success is remembered: after a
//! failure the next one tries by itself, under the same event id, which is derived from the key.
//! So what this memory cannot know (a publish of unknown fate, a restart, another broker) costs a
//! second delivery of one event and never a second event.

mod fingerprint;
mod key;

use std::{future::Future, sync::Arc, time::Duration};

use axum::http::StatusCode;
use moka::{future::Cache, policy::EvictionPolicy};
use service_kit::problem::Problem;
use tokio::sync::Mutex;
use tracing::error;

pub(crate) use self::{
    fingerprint::Fingerprint,
    key::{Key, is_asked_for},
};

/// The keys that were used, and what became of them.
#[derive(Clone)]
pub(crate) struct Idempotency {
    attempts: Cache<Key, Arc<Mutex<Attempt>>>,
}

/// The publish for one key. Whoever holds its lock has the turn.
#[derive(Clone, Copy, Default)]
enum Attempt {
    #[default]
    NotMade,
    Published(Fingerprint),
    /// Those who waited for this one begin anew: it is no longer in the map.
    Failed,
}

/// When the event was published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Published {
    Now,
    Before,
}

impl Idempotency {
    /// Remembers up to `keys_max` keys, each for `window`; the least recently used give way.
    pub(crate) fn new(window: Duration, keys_max: u64) -> Self {
        let attempts = Cache::builder()
            .max_capacity(keys_max)
            .time_to_live(window)
            // The default policy may refuse a new key in favour of one that was used often.
            .eviction_policy(EvictionPolicy::lru())
            .build();
        Self { attempts }
    }

    /// Runs `publish` unless it succeeded before for `key`. Once begun it runs to its end, even
    /// when its client goes, for its client will come back and ask.
    ///
    /// # Errors
    /// What `publish` gives, or 422 where `key` belongs to another `request`.
    pub(crate) async fn once(
        &self,
        key: Key,
        request: Fingerprint,
        publish: impl Future<Output = Result<(), Problem>> + Send + 'static,
    ) -> Result<Published, Problem> {
        let mut attempt = loop {
            let attempt = self.attempts.get_with(key, async { Arc::default() }).await;
            let attempt = attempt.lock_owned().await;
            match *attempt {
                Attempt::NotMade => break attempt,
                Attempt::Published(first) if first == request => return Ok(Published::Before),
                Attempt::Published(_) => return Err(reused()),
                Attempt::Failed => {}
            }
        };
        let attempts = self.attempts.clone();
        let made = tokio::spawn(async move {
            let verdict = publish.await;
            if verdict.is_ok() {
                *attempt = Attempt::Published(request);
            } else {
                attempts.invalidate(&key).await;
                *attempt = Attempt::Failed;
            }
            verdict
        });
        match made.await {
            Ok(verdict) => verdict.map(|()| Published::Now),
            Err(error) => {
                error!(%error, "a publish ended without a verdict");
                Err(Problem::internal("the publish ended without a verdict"))
            }
        }
    }
}

/// 422, as draft-ietf-httpapi-idempotency-key-header, 2.7, has it.
fn reused() -> Problem {
    Problem::new(
        StatusCode::UNPROCESSABLE_ENTITY,
        "idempotency-key-reused",
        "this Idempotency-Key was used for another request: take a new one for each event",
    )
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::sync::oneshot;

    use super::*;

    const LONG: Duration = Duration::from_secs(3600);
    const REQUEST: Fingerprint = Fingerprint([1; 32]);
    const OTHER: Fingerprint = Fingerprint([2; 32]);

    async fn publish_ok() -> Result<(), Problem> {
        Ok(())
    }

    async fn publish_fails() -> Result<(), Problem> {
        Err(Problem::unavailable("away", Duration::ZERO))
    }

    /// A publish that has begun and waits for its verdict, and the task that asked for it.
    async fn under_way(
        idempotency: &Idempotency,
        key: Key,
    ) -> (
        oneshot::Sender<Result<(), Problem>>,
        tokio::task::JoinHandle<Result<Published, Problem>>,
    ) {
        let (sender, verdict) = oneshot::channel();
        let (begun, begins) = oneshot::channel();
        let idempotency = idempotency.clone();
        let task = tokio::spawn(async move {
            let publish = async {
                begun.send(()).unwrap();
                verdict.await.unwrap()
            };
            idempotency.once(key, REQUEST, publish).await
        });
        begins.await.unwrap();
        (sender, task)
    }

    #[tokio::test]
    async fn a_key_publishes_once_and_belongs_to_one_request() {
        let idempotency = Idempotency::new(LONG, 10);
        let once = |key, request| idempotency.once(key, request, publish_ok());
        let (one, two) = (Key::of("one"), Key::of("two"));
        assert_eq!(once(one, REQUEST).await.unwrap(), Published::Now);
        assert_eq!(once(one, REQUEST).await.unwrap(), Published::Before);
        assert_eq!(once(two, OTHER).await.unwrap(), Published::Now);
        let problem = once(one, OTHER).await.unwrap_err();
        assert_eq!(problem.status(), 422);
        assert_eq!(problem.code(), "idempotency-key-reused");
    }

    #[tokio::test]
    async fn a_failure_is_not_remembered_and_takes_no_place() {
        let idempotency = Idempotency::new(LONG, 10);
        let key = Key::of("key");
        for _ in 0..2 {
            let failed = idempotency.once(key, REQUEST, publish_fails()).await;
            assert_eq!(failed.unwrap_err().status(), 503);
        }
        assert!(!idempotency.attempts.contains_key(&key));
        // Not even which request it was.
        let published = idempotency.once(key, OTHER, publish_ok()).await;
        assert_eq!(published.unwrap(), Published::Now);
    }

    #[tokio::test]
    async fn those_who_wait_get_the_first_ones_success() {
        let idempotency = Idempotency::new(LONG, 10);
        let key = Key::of("key");
        let (verdict, first) = under_way(&idempotency, key).await;
        let waiting = (0..10).map(|_| idempotency.once(key, REQUEST, publish_fails()));
        let waiting = futures_util::future::join_all(waiting);
        let (waited, ()) = tokio::join!(waiting, async { verdict.send(Ok(())).unwrap() });
        assert_eq!(first.await.unwrap().unwrap(), Published::Now);
        for outcome in waited {
            assert_eq!(outcome.unwrap(), Published::Before);
        }
    }

    #[tokio::test]
    async fn when_the_first_fails_one_of_those_who_wait_publishes() {
        let idempotency = Idempotency::new(LONG, 10);
        let key = Key::of("key");
        let (verdict, first) = under_way(&idempotency, key).await;
        let publishes = Arc::new(AtomicUsize::new(0));
        let waiting = (0..10).map(|_| {
            let publishes = publishes.clone();
            idempotency.once(key, REQUEST, async move {
                publishes.fetch_add(1, Ordering::Relaxed);
                Ok(())
            })
        });
        let waiting = futures_util::future::join_all(waiting);
        let fail = async { verdict.send(publish_fails().await).unwrap() };
        let (waited, ()) = tokio::join!(waiting, fail);
        assert_eq!(first.await.unwrap().unwrap_err().status(), 503);
        assert_eq!(publishes.load(Ordering::Relaxed), 1);
        let now = |outcome: &&Result<_, _>| matches!(outcome, Ok(Published::Now));
        assert_eq!(waited.iter().filter(now).count(), 1);
        assert!(waited.iter().all(Result::is_ok));
        // And that success is remembered.
        let again = idempotency.once(key, REQUEST, publish_fails()).await;
        assert_eq!(again.unwrap(), Published::Before);
    }

    #[tokio::test]
    async fn a_publish_goes_on_when_its_client_has_gone() {
        let idempotency = Idempotency::new(LONG, 10);
        let key = Key::of("key");
        let (verdict, gone) = under_way(&idempotency, key).await;
        gone.abort();
        assert!(gone.await.unwrap_err().is_cancelled());
        let (again, ()) = tokio::join!(idempotency.once(key, REQUEST, publish_fails()), async {
            verdict.send(Ok(())).unwrap();
        });
        assert_eq!(again.unwrap(), Published::Before);
    }

    #[tokio::test]
    async fn a_panic_leaves_the_key_free() {
        let idempotency = Idempotency::new(LONG, 10);
        let key = Key::of("key");
        let panics = async { panic!("on purpose") };
        let failed = idempotency.once(key, REQUEST, panics).await;
        assert_eq!(failed.unwrap_err().status(), 500);
        let published = idempotency.once(key, REQUEST, publish_ok()).await;
        assert_eq!(published.unwrap(), Published::Now);
    }

    #[tokio::test]
    async fn keys_are_forgotten_after_the_window() {
        let idempotency = Idempotency::new(Duration::from_millis(1), 10);
        let key = Key::of("key");
        let once = || idempotency.once(key, REQUEST, publish_ok());
        assert_eq!(once().await.unwrap(), Published::Now);
        let forgotten = async { while once().await.unwrap() != Published::Now {} };
        tokio::time::timeout(Duration::from_secs(10), forgotten)
            .await
            .unwrap();
    }

    #[tokio::test]
    async fn the_number_of_keys_is_bounded_and_the_newest_stay() {
        const KEYS_MAX: u64 = 100;
        let idempotency = Idempotency::new(LONG, KEYS_MAX);
        let keys = (0..1000).map(|number| Key::of(&number.to_string()));
        for key in keys.clone() {
            idempotency.once(key, REQUEST, publish_ok()).await.unwrap();
            idempotency.attempts.run_pending_tasks().await;
        }
        assert_eq!(idempotency.attempts.entry_count(), KEYS_MAX);
        for key in keys.skip(900) {
            let again = idempotency.once(key, REQUEST, publish_fails()).await;
            assert_eq!(again.unwrap(), Published::Before);
        }
    }
}
