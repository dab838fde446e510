//! Asking auth-service, through RabbitMQ, without showing the credentials to RabbitMQ.
//!
//! They are sealed to a key of auth-service's. The broker learns the key from the answer to its
//! first request, which is not sealed and asks for nothing else, and learns a new one the same
//! way.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use axum::http::StatusCode;
use bytes::Bytes;
use messaging::{Reply, Requester, topology};
use sealing::{PublicKey, ReplyOpener, SealedAnswer, SealedRequest};
use secrecy::SecretString;
use serde::Deserialize;
use serde_json::value::RawValue;
use service_kit::problem::Problem;
use tokio::time::Instant;
use tracing::{info, warn};
use uuid::Uuid;

use crate::problems;

/// One request for the key, one with it, and one more should it change in between.
const ROUNDS_MAX: u32 = 3;

#[derive(Clone)]
pub(crate) struct Authenticator {
    requester: Requester,
    timeout: Duration,
    key: Arc<Mutex<Option<PublicKey>>>,
}

pub(crate) enum Answer {
    /// User and token, as auth-service wrote them.
    Authenticated(Box<RawValue>),
    Denied,
}

impl Authenticator {
    pub(crate) fn new(requester: Requester, timeout: Duration) -> Self {
        Self {
            requester,
            timeout,
            key: Arc::default(),
        }
    }

    pub(crate) async fn authenticate(
        &self,
        email: &str,
        password: &SecretString,
    ) -> Result<Answer, Problem> {
        let deadline = Instant::now() + self.timeout;
        for _round in 0..ROUNDS_MAX {
            let (request, opener) = self.seal(email, password)?;
            let body = serde_json::to_vec(&request).map_err(unreadable)?;
            let reply = self
                .requester
                .request(
                    topology::AUTH_SERVICE,
                    topology::AUTHENTICATE,
                    "application/json",
                    Bytes::from(body),
                    deadline,
                )
                .await
                .map_err(|error| problems::request(&error))?;
            match (reply.status, opener) {
                (200, Some(opener)) => return open(&opener, &reply),
                (401, Some(_)) if is_denial(&reply) => return Ok(Answer::Denied),
                (409, _) => self.learn_key(&reply)?,
                (status, _) => return Err(unexpected(status, &reply)),
            }
        }
        Err(bad_gateway("auth-service keeps changing its key"))
    }

    fn seal(
        &self,
        email: &str,
        password: &SecretString,
    ) -> Result<(SealedRequest, Option<ReplyOpener>), Problem> {
        let id = Uuid::now_v7().to_string();
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let expires_at_ms = i64::try_from((now + self.timeout).as_millis()).unwrap_or(i64::MAX);
        let known = self.lock().clone();
        let Some(key) = known else {
            return Ok((SealedRequest::for_key(id, expires_at_ms), None));
        };
        let (request, opener) = sealing::seal_request(&key, id, expires_at_ms, email, password)
            .map_err(|error| bad_gateway(&error.to_string()))?;
        Ok((request, Some(opener)))
    }

    fn learn_key(&self, reply: &Reply) -> Result<(), Problem> {
        #[derive(Deserialize)]
        struct Challenge {
            sealing_key: PublicKey,
        }
        let challenge: Challenge = serde_json::from_slice(&reply.body).map_err(unreadable)?;
        info!(key = ?challenge.sealing_key, "learnt the sealing key of auth-service");
        *self.lock() = Some(challenge.sealing_key);
        Ok(())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<PublicKey>> {
        self.key.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn open(opener: &ReplyOpener, reply: &Reply) -> Result<Answer, Problem> {
    let answer: SealedAnswer = serde_json::from_slice(&reply.body).map_err(unreadable)?;
    let plaintext = opener
        .open(&answer)
        .map_err(|error| bad_gateway(&error.to_string()))?;
    let data = serde_json::from_slice(&plaintext).map_err(unreadable)?;
    Ok(Answer::Authenticated(data))
}

/// Whether a 401 speaks of the credentials, and not of a token that the listener should have.
fn is_denial(reply: &Reply) -> bool {
    #[derive(Deserialize)]
    struct Denial {
        r#type: String,
    }
    let denial = serde_json::from_slice(&reply.body);
    denial.is_ok_and(|denial: Denial| denial.r#type.ends_with(sealing::WRONG_CREDENTIALS))
}

/// What auth-service says of the request itself is handed on; its own troubles become ours.
fn unexpected(status: u16, reply: &Reply) -> Problem {
    #[derive(Deserialize)]
    struct Told {
        message: String,
    }
    let told = serde_json::from_slice(&reply.body).map(|told: Told| told.message);
    let told = told.unwrap_or_else(|_| format!("auth-service answered {status}"));
    match status {
        400 => Problem::bad_request(told),
        410 => Problem::new(StatusCode::GATEWAY_TIMEOUT, "no-reply", told),
        503 => Problem::unavailable(told, Duration::from_secs(1)),
        _ => {
            warn!(
                status,
                message = told,
                "auth-service did not answer an authentication"
            );
            bad_gateway(&format!("auth-service answered {status}"))
        }
    }
}

fn unreadable(error: serde_json::Error) -> Problem {
    warn!(%error, "auth-service answered something unreadable");
    bad_gateway("auth-service answered something unreadable")
}

fn bad_gateway(message: &str) -> Problem {
    Problem::new(StatusCode::BAD_GATEWAY, "bad-gateway", message)
}
