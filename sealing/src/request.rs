//! The two messages, and the calls by which each side makes and opens them.

use secrecy::zeroize::Zeroizing;
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};

use crate::{KeyPair, OpenError, PublicKey, SealError, Sealed};

const REQUEST: &[u8] = b"event gateway: authentication request v1";
const ANSWER: &[u8] = b"event gateway: authentication answer v1";

/// From the requester to auth-service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SealedRequest {
    /// Names the request in logs, and binds the answer to it.
    pub request_id: String,
    /// When the requester stops waiting, in milliseconds since the Unix epoch. Bound.
    pub expires_at_ms: i64,
    /// The key that it is sealed to; empty when the requester knows none.
    #[serde(default)]
    pub key_id: String,
    /// The credentials; absent to ask for the key.
    #[serde(default)]
    pub sealed: Option<Sealed>,
}

/// From auth-service to the requester.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SealedAnswer {
    /// Bound to the request's id.
    pub sealed: Sealed,
}

/// Why a request was not opened. Each has an answer of its own.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// The requester no longer waits.
    #[error("the request has expired")]
    Expired,
    /// Not sealed, or sealed to a key that is not the current one.
    #[error("the request is not sealed to the current key")]
    UnknownKey,
    /// Altered, or sealed by a program that does it differently.
    #[error(transparent)]
    Open(#[from] OpenError),
}

/// What is sealed in a request. `reply_key` is made for this request alone.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Credentials {
    email: String,
    password: SecretString,
    reply_key: PublicKey,
}

/// The same for writing: a `SecretString` does not serialize, which is as it should be elsewhere.
#[derive(Serialize)]
struct CredentialsRef<'a> {
    email: &'a str,
    password: &'a str,
    reply_key: &'a PublicKey,
}

impl SealedRequest {
    /// A request without credentials: it asks for the key.
    pub fn for_key(request_id: String, expires_at_ms: i64) -> Self {
        Self {
            request_id,
            expires_at_ms,
            key_id: String::new(),
            sealed: None,
        }
    }
}

/// Seals credentials to auth-service's key. The second value opens the answer.
///
/// # Errors
/// Only when `key` is not a usable key.
pub fn seal_request(
    key: &PublicKey,
    request_id: String,
    expires_at_ms: i64,
    email: &str,
    password: &SecretString,
) -> Result<(SealedRequest, ReplyOpener), SealError> {
    let reply = KeyPair::generate();
    let credentials = CredentialsRef {
        email,
        password: password.expose_secret(),
        reply_key: reply.public(),
    };
    #[expect(
        clippy::expect_used,
        reason = "strings always serialize, and memory is a sink"
    )]
    let plaintext = Zeroizing::new(serde_json::to_vec(&credentials).expect("strings serialize"));
    let sealed = key.seal(
        REQUEST,
        &request_aad(&request_id, expires_at_ms),
        &plaintext,
    )?;
    let opener = ReplyOpener {
        reply,
        request_id: request_id.clone(),
    };
    let request = SealedRequest {
        request_id,
        expires_at_ms,
        key_id: key.key_id(),
        sealed: Some(sealed),
    };
    Ok((request, opener))
}

/// Opens the answer to one request.
#[derive(Debug)]
pub struct ReplyOpener {
    reply: KeyPair,
    request_id: String,
}

impl ReplyOpener {
    /// The plaintext of the answer.
    pub fn open(&self, answer: &SealedAnswer) -> Result<Zeroizing<Vec<u8>>, OpenError> {
        self.reply
            .open(ANSWER, self.request_id.as_bytes(), &answer.sealed)
    }
}

/// What auth-service reads in a request.
#[derive(Debug)]
pub struct OpenedRequest {
    /// As the requester's client sent it.
    pub email: String,
    /// As the requester's client sent it.
    pub password: SecretString,
    /// Seals the answer.
    pub answerer: Answerer,
}

/// Opens a request, which must not have expired at `now_ms` (milliseconds since the Unix epoch).
pub fn open_request(
    keys: &KeyPair,
    request: &SealedRequest,
    now_ms: i64,
) -> Result<OpenedRequest, RequestError> {
    // Before the key: a requester that no longer waits has no use for a challenge either.
    if request.expires_at_ms <= now_ms {
        return Err(RequestError::Expired);
    }
    let Some(sealed) = request
        .sealed
        .as_ref()
        .filter(|_| request.key_id == keys.public().key_id())
    else {
        return Err(RequestError::UnknownKey);
    };
    let aad = request_aad(&request.request_id, request.expires_at_ms);
    let plaintext = keys.open(REQUEST, &aad, sealed)?;
    let credentials: Credentials = serde_json::from_slice(&plaintext).map_err(|_| OpenError)?;
    let Credentials {
        email,
        password,
        reply_key,
    } = credentials;
    let answerer = Answerer {
        reply_key,
        request_id: request.request_id.clone(),
    };
    Ok(OpenedRequest {
        email,
        password,
        answerer,
    })
}

/// Seals the answer to one request.
#[derive(Debug)]
pub struct Answerer {
    reply_key: PublicKey,
    request_id: String,
}

impl Answerer {
    /// Seals the answer so that only the requester can read it.
    ///
    /// # Errors
    /// When the requester gave a reply key that nobody can own.
    pub fn seal(&self, plaintext: &[u8]) -> Result<SealedAnswer, SealError> {
        let sealed = self
            .reply_key
            .seal(ANSWER, self.request_id.as_bytes(), plaintext)?;
        Ok(SealedAnswer { sealed })
    }
}

/// The number has a fixed length, so no two pairs give the same bytes.
fn request_aad(request_id: &str, expires_at_ms: i64) -> Vec<u8> {
    [&expires_at_ms.to_be_bytes(), request_id.as_bytes()].concat()
}

#[cfg(test)]
mod tests;
