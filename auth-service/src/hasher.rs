//! Password hashing, on threads of its own and only as many at once as there are cores.

use std::sync::Arc;
use std::thread::available_parallelism;
use std::time::Duration;

use anyhow::anyhow;
use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{self, PasswordHasher as _, PasswordVerifier as _};
use argon2::{Algorithm, Argon2, Params, Version};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use crate::password::Password;

/// What OWASP's Password Storage Cheat Sheet gives for argon2id: 19 MiB, 2 passes, 1 lane.
const PARAMS: Params = match Params::new(19 * 1024, 2, 1, None) {
    Ok(params) => params,
    Err(_) => panic!("these are within argon2's limits"),
};

/// A hash with the same parameters that no known password has. An unknown user is checked against
/// it, so that the time of the answer does not tell which users exist.
const DECOY: &str = "$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA\
    $AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// A client that waited this long is better served by trying again.
const WAIT_MAX: Duration = Duration::from_secs(2);

#[derive(Clone)]
pub(crate) struct Hasher {
    permits: Arc<Semaphore>,
    wait_max: Duration,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum HashError {
    /// All cores were busy with other passwords for too long.
    #[error("too many passwords are being checked")]
    Saturated,
    #[error(transparent)]
    Failed(#[from] anyhow::Error),
}

impl Hasher {
    pub(crate) fn new() -> Self {
        let cores = available_parallelism().map_or(1, usize::from);
        Self {
            permits: Arc::new(Semaphore::new(cores)),
            wait_max: WAIT_MAX,
        }
    }

    /// The hash of a new password, with a random salt, in the PHC string format.
    pub(crate) async fn hash(&self, password: Password) -> Result<String, HashError> {
        self.blocking(move || {
            let hash: PasswordHash = argon2().hash_password(password.expose_bytes())?;
            Ok(hash.to_string())
        })
        .await
    }

    /// Whether `hash` is of this password; without a hash false, after the same time.
    pub(crate) async fn verify(
        &self,
        password: Password,
        hash: Option<String>,
    ) -> Result<bool, HashError> {
        self.blocking(move || {
            let stored = PasswordHash::new(hash.as_deref().unwrap_or(DECOY))?;
            match argon2().verify_password(password.expose_bytes(), &stored) {
                Ok(()) => Ok(hash.is_some()),
                Err(password_hash::Error::PasswordInvalid) => Ok(false),
                Err(error) => Err(error.into()),
            }
        })
        .await
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> anyhow::Result<T> + Send + 'static,
    ) -> Result<T, HashError> {
        let permit = self.permit().await?;
        let task = spawn_blocking(move || {
            // Held by the thread: a caller that goes away does not end the work.
            let _permit = permit;
            work()
        });
        Ok(task.await.map_err(|error| anyhow!(error))??)
    }

    async fn permit(&self) -> Result<OwnedSemaphorePermit, HashError> {
        match timeout(self.wait_max, Arc::clone(&self.permits).acquire_owned()).await {
            Ok(Ok(permit)) => Ok(permit),
            // The semaphore is never closed.
            Ok(Err(_)) | Err(_) => Err(HashError::Saturated),
        }
    }
}

fn argon2() -> Argon2<'static> {
    Argon2::new(Algorithm::Argon2id, Version::V0x13, PARAMS)
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use secrecy::SecretString;

    use super::*;

    fn password(text: &str) -> Password {
        Password::presented(SecretString::from(text)).unwrap()
    }

    #[tokio::test]
    async fn tells_the_right_password_from_others_to_the_last_byte() {
        let hasher = Hasher::new();
        let long = "x".repeat(1023);
        let hash = hasher.hash(password(&format!("{long}y"))).await.unwrap();
        assert!(
            hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"),
            "{hash}"
        );
        assert!(!hash.contains("xxx"));
        let check = |text: String| hasher.verify(password(&text), Some(hash.clone()));
        assert!(check(format!("{long}y")).await.unwrap());
        assert!(!check(format!("{long}z")).await.unwrap());
        assert!(!check(long).await.unwrap());
    }

    #[tokio::test]
    async fn nul_is_a_character_like_others() {
        let hasher = Hasher::new();
        let hash = hasher.hash(password("a\0b")).await.unwrap();
        assert!(
            hasher
                .verify(password("a\0b"), Some(hash.clone()))
                .await
                .unwrap()
        );
        assert!(!hasher.verify(password("a\0c"), Some(hash)).await.unwrap());
    }

    #[tokio::test]
    async fn an_unknown_user_costs_the_work_of_a_known_one() {
        let hasher = Hasher::new();
        let known = hasher.hash(password("a")).await.unwrap();
        let params = |hash| Params::try_from(&PasswordHash::new(hash).unwrap()).unwrap();
        assert_eq!(params(DECOY), params(&known));
        let started = Instant::now();
        assert!(!hasher.verify(password("b"), None).await.unwrap());
        // Two passes over 19 MiB take longer than this anywhere; without them it is microseconds.
        assert!(started.elapsed() > Duration::from_millis(2));
    }

    #[tokio::test]
    async fn a_saturated_hasher_says_so_instead_of_queueing() {
        let hasher = Hasher {
            permits: Arc::new(Semaphore::new(1)),
            wait_max: Duration::from_millis(1),
        };
        let held = Arc::clone(&hasher.permits).acquire_owned().await.unwrap();
        let refused = hasher.verify(password("a"), None).await;
        assert!(matches!(refused, Err(HashError::Saturated)));
        drop(held);
        // Alone it gets its turn, and gives the permit back.
        for _ in 0..2 {
            assert!(!hasher.verify(password("a"), None).await.unwrap());
        }
    }

    #[tokio::test]
    async fn a_stored_hash_that_cannot_be_read_is_an_error_not_a_wrong_password() {
        let result = Hasher::new()
            .verify(password("a"), Some("plain".to_owned()))
            .await;
        assert!(matches!(result, Err(HashError::Failed(_))));
    }
}
