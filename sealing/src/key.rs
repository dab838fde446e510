//! Key pairs, and sealing to a public key. The only file that calls `hpke`.

use std::fmt;

use hpke::aead::ChaCha20Poly1305;
use hpke::kdf::HkdfSha256;
use hpke::kem::X25519HkdfSha256 as DhKem;
use hpke::{Deserializable as _, HpkeError, Kem, OpModeR, OpModeS, Serializable as _};
use secrecy::zeroize::Zeroizing;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use sha2::{Digest as _, Sha256};

use crate::sealed::{Sealed, base64url};

/// A private key and its public half. The private key is wiped when dropped.
pub struct KeyPair {
    private: <DhKem as Kem>::PrivateKey,
    public: PublicKey,
}

/// The key that others seal to. In JSON: its 32 bytes as base64url text.
#[derive(Clone, PartialEq, Eq)]
pub struct PublicKey(<DhKem as Kem>::PublicKey);

/// The public key cannot be sealed to: it is a point of low order, which nobody owns.
#[derive(Debug, thiserror::Error)]
#[error("cannot seal to this public key")]
pub struct SealError(#[source] HpkeError);

/// Sealed to another key, in another direction, or altered on the way: these cannot be told apart.
#[derive(Debug, thiserror::Error)]
#[error("cannot open the sealed message")]
pub struct OpenError;

impl KeyPair {
    /// A new key pair from the operating system's random generator.
    pub fn generate() -> Self {
        let (private, public) = DhKem::gen_keypair();
        Self {
            private,
            public: PublicKey(public),
        }
    }

    /// The key pair that belongs to a secret seed (RFC 9180, section 7.1.3: DeriveKeyPair).
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        let (private, public) = DhKem::derive_keypair(seed);
        Self {
            private,
            public: PublicKey(public),
        }
    }

    /// The half to give away.
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    /// Opens what was sealed to this key with the same `info` and `aad`.
    pub(crate) fn open(
        &self,
        info: &[u8],
        aad: &[u8],
        sealed: &Sealed,
    ) -> Result<Zeroizing<Vec<u8>>, OpenError> {
        let enc = <DhKem as Kem>::EncappedKey::from_bytes(&sealed.enc).map_err(|_| OpenError)?;
        hpke::single_shot_open::<ChaCha20Poly1305, HkdfSha256, DhKem>(
            &OpModeR::Base,
            &self.private,
            &enc,
            info,
            &sealed.ciphertext,
            aad,
        )
        .map(Zeroizing::new)
        .map_err(|_| OpenError)
    }
}

impl fmt::Debug for KeyPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyPair({})", self.public.key_id())
    }
}

impl PublicKey {
    /// A short name for the key: the first 8 bytes of its SHA-256 as base64url text.
    pub fn key_id(&self) -> String {
        base64url::encode(&Sha256::digest(self.0.to_bytes())[..8])
    }

    /// Seals so that only the owner of the private key can read. `info` separates directions,
    /// `aad` is bound but not sent.
    pub(crate) fn seal(
        &self,
        info: &[u8],
        aad: &[u8],
        plaintext: &[u8],
    ) -> Result<Sealed, SealError> {
        let (enc, ciphertext) = hpke::single_shot_seal::<ChaCha20Poly1305, HkdfSha256, DhKem>(
            &OpModeS::Base,
            &self.0,
            info,
            plaintext,
            aad,
        )
        .map_err(SealError)?;
        Ok(Sealed {
            enc: enc.to_bytes().to_vec(),
            ciphertext,
        })
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({})", self.key_id())
    }
}

impl Serialize for PublicKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        base64url::serialize(&self.0.to_bytes(), serializer)
    }
}

impl<'de> Deserialize<'de> for PublicKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bytes = base64url::deserialize(deserializer)?;
        let key = <DhKem as Kem>::PublicKey::from_bytes(&bytes)
            .map_err(|_| de::Error::custom("expected the 32 bytes of an X25519 public key"))?;
        Ok(Self(key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(text: &str) -> Vec<u8> {
        let digits: Vec<u8> = text
            .chars()
            .map(|c| c.to_digit(16).unwrap() as u8)
            .collect();
        digits
            .chunks(2)
            .map(|pair| pair[0] << 4 | pair[1])
            .collect()
    }

    /// RFC 9180, appendix A.2.1: it pins the suite, the mode and the derivation from the seed.
    #[test]
    fn opens_the_test_vector_of_the_rfc() {
        let seed = hex("1ac01f181fdf9f352797655161c58b75c656a6cc2716dcb66372da835542e1df");
        let pair = KeyPair::from_seed(&seed.try_into().unwrap());
        let public = hex("4310ee97d88cc1f088a5576c77ab0cf5c3ac797f3d95139c6c84b5429c59662a");
        assert_eq!(pair.public().0.to_bytes().to_vec(), public);
        let sealed = Sealed {
            enc: hex("1afa08d3dec047a643885163f1180476fa7ddb54c6a8029ea33f95796bf2ac4a"),
            ciphertext: hex(
                "1c5250d8034ec2b784ba2cfd69dbdb8af406cfe3ff938e131f0def8c8b60b4db\
                 21993c62ce81883d2dd1b51a28",
            ),
        };
        let plaintext = pair
            .open(b"Ode on a Grecian Urn", b"Count-0", &sealed)
            .unwrap();
        assert_eq!(&plaintext[..], b"Beauty is truth, truth beauty");
    }

    #[test]
    fn a_public_key_survives_json_and_a_bad_one_is_refused() {
        let key = KeyPair::generate().public().clone();
        let json = serde_json::to_string(&key).unwrap();
        let read: PublicKey = serde_json::from_str(&json).unwrap();
        assert_eq!((&read, read.key_id()), (&key, key.key_id()));
        for bad in ["\"\"", "\"AAAA\"", "\"not base64url!\"", "1"] {
            assert!(serde_json::from_str::<PublicKey>(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_key_of_low_order_is_an_error_not_a_panic() {
        let zero: PublicKey =
            serde_json::from_str(&format!("\"{}\"", base64url::encode(&[0; 32]))).unwrap();
        assert!(zero.seal(b"info", b"aad", b"text").is_err());
    }

    #[test]
    fn debug_shows_no_private_key() {
        let pair = KeyPair::from_seed(&[7; 32]);
        assert_eq!(
            format!("{pair:?}"),
            format!("KeyPair({})", pair.public().key_id())
        );
    }
}
