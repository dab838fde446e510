//! Tokens: JWTs (RFC 7519) signed with Ed25519, and the published key to verify them with.

use anyhow::Context as _;
use jsonwebtoken::jwk::{Jwk, JwkSet, PublicKeyUse, ThumbprintHash};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation, decode, encode};
use secrecy::zeroize::Zeroizing;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::user::User;

const ISSUER: &str = "auth-service";

/// What comes before the 32 bytes of the seed in PKCS #8, the form that jsonwebtoken takes
/// (RFC 8410, section 7).
const PKCS8_PREFIX: [u8; 16] = [
    0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20,
];

/// Signs and verifies tokens.
pub(crate) struct Tokens {
    header: Header,
    signing_key: EncodingKey,
    verifying_key: DecodingKey,
    validation: Validation,
    published: JwkSet,
    ttl_seconds: u32,
}

/// What a token says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Claims {
    iss: String,
    /// Id of the user.
    pub(crate) sub: String,
    pub(crate) email: String,
    pub(crate) admin: bool,
    /// Seconds since the Unix epoch, as is `exp`.
    iat: i64,
    exp: i64,
    jti: String,
}

impl Tokens {
    pub(crate) fn new(seed: &[u8; 32], ttl_seconds: u32) -> anyhow::Result<Self> {
        let pkcs8 = Zeroizing::new([&PKCS8_PREFIX[..], seed].concat());
        let signing_key = EncodingKey::from_ed_der(&pkcs8);
        let mut jwk = Jwk::from_encoding_key(&signing_key, Algorithm::EdDSA)?;
        // RFC 7638: the name of the key follows from the key.
        let key_id = jwk.thumbprint(ThumbprintHash::SHA256)?;
        jwk.common.key_id = Some(key_id.clone());
        jwk.common.public_key_use = Some(PublicKeyUse::Signature);
        let mut validation = Validation::new(Algorithm::EdDSA);
        validation.set_issuer(&[ISSUER]);
        validation.set_required_spec_claims(&["exp", "iss", "sub"]);
        // One clock issues and verifies, so there is no skew to forgive.
        validation.leeway = 0;
        Ok(Self {
            header: Header {
                kid: Some(key_id),
                ..Header::new(Algorithm::EdDSA)
            },
            signing_key,
            verifying_key: DecodingKey::from_jwk(&jwk)?,
            validation,
            published: JwkSet { keys: vec![jwk] },
            ttl_seconds,
        })
    }

    pub(crate) fn key_id(&self) -> Option<&str> {
        self.header.kid.as_deref()
    }

    pub(crate) fn issue(&self, user: &User) -> anyhow::Result<String> {
        self.issue_at(user, jiff::Timestamp::now().as_second())
    }

    fn issue_at(&self, user: &User, now: i64) -> anyhow::Result<String> {
        let claims = Claims {
            iss: ISSUER.to_owned(),
            sub: user.id.clone(),
            email: user.email.clone(),
            admin: user.admin,
            iat: now,
            exp: now + i64::from(self.ttl_seconds),
            jti: Uuid::now_v7().to_string(),
        };
        encode(&self.header, &claims, &self.signing_key).context("cannot sign a token")
    }

    /// The claims of a token that this service (or another instance with the same key) issued and
    /// that has not expired.
    pub(crate) fn verify(&self, token: &str) -> Option<Claims> {
        let token = decode(token, &self.verifying_key, &self.validation).ok()?;
        Some(token.claims)
    }

    /// The public key as a JWK set (RFC 7517).
    pub(crate) fn published(&self) -> &JwkSet {
        &self.published
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(admin: bool) -> User {
        User {
            id: Uuid::now_v7().to_string(),
            email: "ann@example.com".to_owned(),
            admin,
            created_at: jiff::Timestamp::UNIX_EPOCH,
        }
    }

    fn now() -> i64 {
        jiff::Timestamp::now().as_second()
    }

    /// RFC 8037, appendix A: its private key, its public key, and the thumbprint of that.
    #[test]
    fn the_published_key_is_that_of_the_rfc() {
        let seed = b"\x9d\x61\xb1\x9d\xef\xfd\x5a\x60\xba\x84\x4a\xf4\x92\xec\x2c\xc4\
                     \x44\x49\xc5\x69\x7b\x32\x69\x19\x70\x3b\xac\x03\x1c\xae\x7f\x60";
        let tokens = Tokens::new(seed, 60).unwrap();
        let published = serde_json::to_value(tokens.published()).unwrap();
        let expected = serde_json::json!({"keys": [{
            "kty": "OKP", "crv": "Ed25519", "use": "sig", "alg": "EdDSA",
            "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",
            "kid": "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k",
        }]});
        assert_eq!(published, expected);
    }

    #[test]
    fn a_token_verifies_with_the_published_key_alone() {
        let tokens = Tokens::new(&[7; 32], 60).unwrap();
        let user = user(true);
        let token = tokens.issue(&user).unwrap();
        let key_id = jsonwebtoken::decode_header(&token).unwrap().kid.unwrap();
        let key = DecodingKey::from_jwk(tokens.published().find(&key_id).unwrap()).unwrap();
        let validation = Validation::new(Algorithm::EdDSA);
        let claims = decode::<serde_json::Value>(&token, &key, &validation)
            .unwrap()
            .claims;
        assert_eq!(claims["iss"], "auth-service");
        assert_eq!(claims["sub"], user.id);
        assert_eq!(claims["email"], user.email);
        assert_eq!(claims["admin"], true);
        assert_eq!(
            claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(),
            60
        );
        assert!(claims["jti"].as_str().unwrap().parse::<Uuid>().is_ok());
        assert!(tokens.verify(&token).unwrap().admin);
    }

    #[test]
    fn refuses_expired_foreign_and_altered_tokens() {
        let tokens = Tokens::new(&[7; 32], 60).unwrap();
        let user = user(false);
        assert!(
            tokens
                .verify(&tokens.issue_at(&user, now() - 61).unwrap())
                .is_none()
        );
        let foreign = Tokens::new(&[8; 32], 60).unwrap();
        assert!(tokens.verify(&foreign.issue(&user).unwrap()).is_none());
        let token = tokens.issue(&user).unwrap();
        assert!(tokens.verify(&token).is_some());
        for position in 0..token.len() - 1 {
            let mut bytes = token.clone().into_bytes();
            bytes[position] = if bytes[position] == b'A' { b'B' } else { b'A' };
            let altered = String::from_utf8(bytes).unwrap();
            assert!(tokens.verify(&altered).is_none(), "at {position}");
        }
    }

    #[test]
    fn refuses_other_algorithms() {
        let tokens = Tokens::new(&[7; 32], 60).unwrap();
        let claims = tokens.verify(&tokens.issue(&user(true)).unwrap()).unwrap();
        // The classic confusion: the public key used as an HMAC secret.
        let public = serde_json::to_string(tokens.published()).unwrap();
        let secret = EncodingKey::from_secret(public.as_bytes());
        let forged = encode(&Header::new(Algorithm::HS256), &claims, &secret).unwrap();
        assert!(tokens.verify(&forged).is_none());
        let unsigned = "eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0.e30.";
        assert!(tokens.verify(unsigned).is_none());
    }
}
