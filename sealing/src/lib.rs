//! Credentials in transit through RabbitMQ, readable only by auth-service.
//!
//! broker-service seals an e-mail and a password to auth-service's public key; auth-service seals
//! its answer to a key that the requester made for this one request. An attacker who reads
//! RabbitMQ, its disks or its traces learns neither credentials nor token, and one who replays a
//! recorded request gets an answer that only the original requester can open.
//!
//! The cryptography is HPKE (RFC 9180) in base mode as the crate `hpke` implements it, with
//! DHKEM(X25519, HKDF-SHA256), HKDF-SHA256 and ChaCha20Poly1305. This crate adds only what goes
//! in: one info string per direction, and the fields that each message is bound to.
//!
//! The requester starts without the key: a request that is not sealed, or sealed to an old key,
//! is answered with status 409 and the problem code [`UNKNOWN_SEALING_KEY`], whose extension
//! member [`SEALING_KEY_MEMBER`] is the [`PublicKey`] to use from now on.
//!
//! Limit: base mode does not authenticate the key. An attacker who can consume auth-service's
//! request queue and publish replies can offer his own key.

mod key;
mod request;
mod sealed;

pub use key::{KeyPair, OpenError, PublicKey, SealError};
pub use request::{
    Answerer, OpenedRequest, ReplyOpener, RequestError, SealedAnswer, SealedRequest, open_request,
    seal_request,
};
pub use sealed::Sealed;

/// Problem code of the answer to a request that was not sealed to the current key.
pub const UNKNOWN_SEALING_KEY: &str = "unknown-sealing-key";

/// Extension member of that answer: the current [`PublicKey`].
pub const SEALING_KEY_MEMBER: &str = "sealing_key";

/// Problem code of the answer to a request whose e-mail or password is wrong. It distinguishes this
/// 401 from that of a proxy in front of auth-service.
pub const WRONG_CREDENTIALS: &str = "wrong-credentials";
