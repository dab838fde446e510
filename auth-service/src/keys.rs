//! The one secret of the service, and the two keys that are derived from it.
//!
//! Instances that share the file issue and accept the same tokens and open the same sealed
//! requests. Replacing the file replaces both keys.

use std::path::Path;

use anyhow::{Context as _, anyhow};
use aws_lc_rs::hkdf::{HKDF_SHA256, Salt};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sealing::KeyPair;
use secrecy::zeroize::Zeroizing;
use secrecy::{ExposeSecret as _, SecretString};

use crate::private_file;

type Seed = Zeroizing<[u8; 32]>;

pub(crate) struct Keys {
    /// The private key of Ed25519 (RFC 8032 calls it that; it is the seed of the scalar).
    pub(crate) signing_seed: Seed,
    pub(crate) sealing: KeyPair,
}

impl Keys {
    /// Reads the file, and makes it at the first start. Of several instances that start at once
    /// one makes it, and all read the same.
    pub(crate) fn load(path: &Path) -> anyhow::Result<Self> {
        let text = match private_file::read(path)? {
            Some(text) => text,
            None => {
                let mut secret = Seed::default();
                aws_lc_rs::rand::fill(&mut secret[..])
                    .map_err(|_| anyhow!("no random numbers from the operating system"))?;
                let line = Zeroizing::new(STANDARD.encode(&secret[..]) + "\n");
                private_file::create(path, &line)?;
                private_file::read(path)?.context("the key file vanished")?
            }
        };
        let secret = decode(&text)
            .with_context(|| format!("{} does not hold 32 bytes in base64", path.display()))?;
        Ok(Self {
            signing_seed: derive(&secret, b"token signing, Ed25519, v1")?,
            sealing: KeyPair::from_seed(&*derive(&secret, b"credential sealing, X25519, v1")?),
        })
    }
}

fn decode(text: &SecretString) -> Option<Seed> {
    let bytes = Zeroizing::new(STANDARD.decode(text.expose_secret()).ok()?);
    bytes.as_slice().try_into().ok().map(Zeroizing::new)
}

/// HKDF (RFC 5869) with the label as `info`: neither key tells anything about the other.
fn derive(secret: &Seed, label: &[u8]) -> anyhow::Result<Seed> {
    let mut seed = Seed::default();
    Salt::new(HKDF_SHA256, b"event gateway auth-service")
        .extract(&secret[..])
        .expand(&[label], HKDF_SHA256)
        .and_then(|okm| okm.fill(&mut seed[..]))
        .map_err(|_| anyhow!("key derivation failed"))?;
    Ok(seed)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn the_same_file_gives_the_same_two_different_keys() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("auth.key");
        let first = Keys::load(&path).unwrap();
        let second = Keys::load(&path).unwrap();
        assert_eq!(first.signing_seed, second.signing_seed);
        assert_eq!(first.sealing.public(), second.sealing.public());
        let crossed = KeyPair::from_seed(&first.signing_seed);
        assert_ne!(crossed.public(), first.sealing.public());
        let other = Keys::load(&directory.path().join("other.key")).unwrap();
        assert_ne!(first.signing_seed, other.signing_seed);
        assert_ne!(first.sealing.public(), other.sealing.public());
    }

    #[test]
    fn a_damaged_file_is_refused_and_kept() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("auth.key");
        for contents in ["", "AAAA", "not base64"] {
            fs::write(&path, contents).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
            assert!(Keys::load(&path).is_err(), "{contents}");
            assert_eq!(fs::read_to_string(&path).unwrap(), contents);
        }
    }
}
