//! Every field that a message is bound to, altered.

use super::*;

const NOW_MS: i64 = 1_700_000_000_000;
const EXPIRES_AT_MS: i64 = NOW_MS + 5_000;

fn request(keys: &KeyPair) -> (SealedRequest, ReplyOpener) {
    let password = SecretString::from("correct \0 horse \u{1F40E}");
    seal_request(
        keys.public(),
        "r-1".to_owned(),
        EXPIRES_AT_MS,
        "a@example.com",
        &password,
    )
    .unwrap()
}

#[test]
fn a_request_and_its_answer_survive_json() {
    let keys = KeyPair::generate();
    let (request, opener) = request(&keys);
    let json = serde_json::to_string(&request).unwrap();
    assert!(
        !json.contains("horse") && !json.contains("example.com"),
        "{json}"
    );
    let request = serde_json::from_str(&json).unwrap();
    let opened = open_request(&keys, &request, NOW_MS).unwrap();
    assert_eq!(opened.email, "a@example.com");
    assert_eq!(
        opened.password.expose_secret(),
        "correct \0 horse \u{1F40E}"
    );
    assert!(!format!("{opened:?}").contains("horse"));
    let json = serde_json::to_string(&opened.answerer.seal(b"token").unwrap()).unwrap();
    let answer = serde_json::from_str(&json).unwrap();
    assert_eq!(&opener.open(&answer).unwrap()[..], b"token");
}

#[test]
fn an_altered_request_is_not_opened() {
    let keys = KeyPair::generate();
    let (original, _) = request(&keys);
    let sealed = original.sealed.clone().unwrap();
    let mut altered = vec![
        SealedRequest {
            request_id: "r-2".to_owned(),
            ..original.clone()
        },
        SealedRequest {
            expires_at_ms: EXPIRES_AT_MS + 1,
            ..original.clone()
        },
    ];
    let mut push = |sealed| {
        altered.push(SealedRequest {
            sealed: Some(sealed),
            ..original.clone()
        })
    };
    for index in 0..sealed.enc.len() {
        let mut copy = sealed.clone();
        copy.enc[index] ^= 1;
        push(copy);
    }
    for index in 0..sealed.ciphertext.len() {
        let mut copy = sealed.clone();
        copy.ciphertext[index] ^= 1;
        push(copy);
    }
    push(Sealed {
        enc: sealed.enc[1..].to_vec(),
        ..sealed.clone()
    });
    push(Sealed {
        ciphertext: Vec::new(),
        ..sealed.clone()
    });
    for request in altered {
        let error = open_request(&keys, &request, NOW_MS).unwrap_err();
        assert!(matches!(error, RequestError::Open(_)), "{request:?}");
    }
}

#[test]
fn an_expired_request_is_told_so_even_without_a_key() {
    let keys = KeyPair::generate();
    let (request, _) = request(&keys);
    let open = |request, now_ms| open_request(&keys, request, now_ms);
    assert!(open(&request, EXPIRES_AT_MS - 1).is_ok());
    assert!(matches!(
        open(&request, EXPIRES_AT_MS),
        Err(RequestError::Expired)
    ));
    let asking = SealedRequest::for_key("r-1".to_owned(), EXPIRES_AT_MS);
    assert!(matches!(
        open(&asking, EXPIRES_AT_MS),
        Err(RequestError::Expired)
    ));
}

#[test]
fn another_key_is_challenged_and_cannot_be_claimed() {
    let (old, new) = (KeyPair::generate(), KeyPair::generate());
    let (mut request, _) = request(&old);
    let error = open_request(&new, &request, NOW_MS).unwrap_err();
    assert!(matches!(error, RequestError::UnknownKey));
    request.key_id = new.public().key_id();
    let error = open_request(&new, &request, NOW_MS).unwrap_err();
    assert!(matches!(error, RequestError::Open(_)));
    let asking = SealedRequest::for_key("r-1".to_owned(), EXPIRES_AT_MS);
    let error = open_request(&new, &asking, NOW_MS).unwrap_err();
    assert!(matches!(error, RequestError::UnknownKey));
}

#[test]
fn an_answer_opens_for_its_own_request_only() {
    let keys = KeyPair::generate();
    let (first, opener) = request(&keys);
    let answer = open_request(&keys, &first, NOW_MS)
        .unwrap()
        .answerer
        .seal(b"token")
        .unwrap();
    // The same text sealed by the same requester under another request.
    let (_, other) = request(&keys);
    assert!(other.open(&answer).is_err());
    let renamed = ReplyOpener {
        request_id: "r-2".to_owned(),
        ..opener
    };
    assert!(renamed.open(&answer).is_err());
}

#[test]
fn the_two_directions_are_separate() {
    let keys = KeyPair::generate();
    let aad = request_aad("r-1", EXPIRES_AT_MS);
    let reflected = keys.public().seal(ANSWER, &aad, b"{}").unwrap();
    let (original, _) = request(&keys);
    let request = SealedRequest {
        sealed: Some(reflected),
        ..original
    };
    assert!(matches!(
        open_request(&keys, &request, NOW_MS),
        Err(RequestError::Open(_))
    ));
    assert!(
        keys.open(ANSWER, &aad, request.sealed.as_ref().unwrap())
            .is_ok()
    );
}

#[test]
fn unknown_members_are_refused() {
    let json = r#"{"request_id":"r","expires_at_ms":1,"key_id":"","sealed":null,"x":1}"#;
    assert!(serde_json::from_str::<SealedRequest>(json).is_err());
}
