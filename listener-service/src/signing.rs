//! Signs requests by Standard Webhooks: the target can verify who sent an event, that it is
//! unchanged, and that it is not a replay.

use std::{fmt, str::FromStr, time::SystemTime};

use aws_lc_rs::hmac;
use base64::{Engine as _, prelude::BASE64_STANDARD};
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};

const ID: HeaderName = HeaderName::from_static("webhook-id");
const TIMESTAMP: HeaderName = HeaderName::from_static("webhook-timestamp");
const SIGNATURE: HeaderName = HeaderName::from_static("webhook-signature");
/// The prefix of a secret (Standard Webhooks, "Signature scheme").
const PREFIX: &str = "whsec_";
/// Length of a secret in bytes, by the same page.
const SECRET_BYTES: std::ops::RangeInclusive<usize> = 24..=64;

/// A secret shared with a target.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct SigningSecret(Vec<u8>);

impl SigningSecret {
    /// HMAC-SHA256 of id, time and body.
    fn sign(&self, id: &[u8], seconds: &str, body: &[u8]) -> String {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &self.0);
        let mut context = hmac::Context::with_key(&key);
        for part in [id, b".", seconds.as_bytes(), b".", body] {
            context.update(part);
        }
        format!("v1,{}", BASE64_STANDARD.encode(context.sign()))
    }
}

/// Adds the headers of a signed request with the current time. Several secrets give several
/// signatures, so that a target can change its secret without interruption. `id` is the header
/// value as sent.
pub(crate) fn sign(
    secrets: &[SigningSecret],
    id: &HeaderValue,
    body: &[u8],
    headers: &mut HeaderMap,
) {
    if secrets.is_empty() {
        return;
    }
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let seconds = since.unwrap_or_default().as_secs().to_string();
    let signatures: Vec<_> = secrets
        .iter()
        .map(|secret| secret.sign(id.as_bytes(), &seconds, body))
        .collect();
    headers.insert(ID, id.clone());
    // Digits, and base64 with spaces: both are valid header values.
    for (name, value) in [(TIMESTAMP, seconds), (SIGNATURE, signatures.join(" "))] {
        if let Ok(value) = HeaderValue::try_from(value) {
            headers.insert(name, value);
        }
    }
}

impl FromStr for SigningSecret {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let bytes = BASE64_STANDARD
            .decode(text.strip_prefix(PREFIX).unwrap_or(text))
            .map_err(|_| format!("a secret must be {PREFIX} followed by base64"))?;
        if SECRET_BYTES.contains(&bytes.len()) {
            Ok(Self(bytes))
        } else {
            let (least, most) = (SECRET_BYTES.start(), SECRET_BYTES.end());
            Err(format!(
                "a secret must have {least} to {most} bytes: create one with `echo \
                 {PREFIX}$(openssl rand -base64 32)`"
            ))
        }
    }
}

impl fmt::Debug for SigningSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningSecret")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the Standard Webhooks libraries.
    #[test]
    fn signs_as_the_specification_has_it() {
        let secret: SigningSecret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".parse().unwrap();
        let body = br#"{"test": 2432232314}"#;
        assert_eq!(
            secret.sign(b"msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", body),
            "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
        );
    }

    #[test]
    fn a_secret_must_be_long_enough_and_is_never_shown() {
        assert!("whsec_c2hvcnQ=".parse::<SigningSecret>().is_err());
        assert!("whsec_?".parse::<SigningSecret>().is_err());
        let secret: SigningSecret = "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".parse().unwrap();
        assert_eq!(format!("{secret:?}"), "SigningSecret");
    }

    #[test]
    fn each_secret_has_its_signature() {
        let secrets: Vec<SigningSecret> = [[1; 32], [2; 32]]
            .map(|bytes| BASE64_STANDARD.encode(bytes).parse().unwrap())
            .into();
        let mut headers = HeaderMap::new();
        sign(
            &secrets,
            &HeaderValue::from_static("id"),
            b"body",
            &mut headers,
        );
        assert_eq!(headers[ID], "id");
        let signatures = headers[SIGNATURE].to_str().unwrap();
        let seconds = headers[TIMESTAMP].to_str().unwrap();
        let expected: Vec<_> = secrets
            .iter()
            .map(|secret| secret.sign(b"id", seconds, b"body"))
            .collect();
        assert_eq!(signatures, expected.join(" "));
        let mut unsigned = HeaderMap::new();
        sign(&[], &HeaderValue::from_static("id"), b"body", &mut unsigned);
        assert!(unsigned.is_empty());
    }
}
