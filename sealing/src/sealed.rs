//! A sealed message, and base64url text for its bytes.

use serde::{Deserialize, Serialize};

/// What only the owner of one private key can read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sealed {
    /// The sender's ephemeral public key (RFC 9180 calls it `enc`).
    #[serde(with = "base64url")]
    pub(crate) enc: Vec<u8>,
    /// Ciphertext and authentication tag.
    #[serde(with = "base64url")]
    pub(crate) ciphertext: Vec<u8>,
}

pub(crate) mod base64url {
    use std::borrow::Cow;

    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use serde::{Deserialize as _, Deserializer, Serializer, de};

    pub(crate) fn encode(bytes: &[u8]) -> String {
        URL_SAFE_NO_PAD.encode(bytes)
    }

    pub(crate) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&encode(bytes))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<u8>, D::Error> {
        let text = Cow::<str>::deserialize(deserializer)?;
        URL_SAFE_NO_PAD
            .decode(text.as_bytes())
            .map_err(|_| de::Error::custom("expected base64url without padding"))
    }
}
