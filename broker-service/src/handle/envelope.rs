//! The envelope: what to do, and the one member that belongs to it.

use bytes::Bytes;
use event::EventType;
use serde::Deserialize;
use serde_json::value::RawValue;
use service_kit::{json, problem::Problem};

use super::{auth::Credentials, log};

/// What the body of `POST /handle` asks for.
#[derive(Debug)]
pub enum Envelope {
    /// To publish an entry.
    Log {
        /// The type of its event.
        key: EventType,
        /// The entry, byte for byte.
        data: Bytes,
    },
    /// To authenticate somebody.
    Auth(Credentials),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Members {
    action: Action,
    log: Option<Box<RawValue>>,
    auth: Option<Credentials>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Action {
    Log,
    Auth,
}

impl Envelope {
    /// Reads a body.
    ///
    /// # Errors
    /// 400, with what is wrong.
    pub fn read(body: &[u8]) -> Result<Self, Problem> {
        match json::parse(body)? {
            Members {
                action: Action::Log,
                log: Some(entry),
                auth: None,
            } => {
                let (key, data) = log::read(entry)?;
                Ok(Self::Log { key, data })
            }
            Members {
                action: Action::Auth,
                log: None,
                auth: Some(credentials),
            } => Ok(Self::Auth(credentials)),
            Members { action, .. } => {
                let member = match action {
                    Action::Log => "log",
                    Action::Auth => "auth",
                };
                Err(Problem::bad_request(format!(
                    "the action \"{member}\" takes the member \"{member}\", and no other one"
                )))
            }
        }
    }
}

#[cfg(test)]
mod properties {
    use proptest::prelude::*;

    use super::*;

    /// What a client sent, as a reader of its own finds it.
    #[derive(Deserialize)]
    struct Sent<'a> {
        #[serde(borrow)]
        log: &'a RawValue,
    }

    /// JSON that only a parser of bytes leaves as it is, and that fits or does not.
    fn value() -> impl Strategy<Value = String> {
        let leaf = prop_oneof![
            8 => "(null|true|1e400|-0.0|18446744073709551617|[1-9]{30})",
            8 => r#""[a-z\u{e9} ,]{0,8}""#,
            1 => r#"(NaN|01||"[\\"\u{0}]{1,8}")"#,
            1 => Just(r#""\u0000\ud800""#.to_owned()),
            1 => Just("[".repeat(200)),
        ];
        leaf.prop_recursive(4, 20, 4, |value| {
            let name = prop_oneof![
                Just("\"a\""),
                Just("\"a\" "),
                Just("\"\\u0061\""),
                Just("a")
            ];
            prop_oneof![
                proptest::collection::vec(value.clone(), 0..4)
                    .prop_map(|values| format!("[{}]", values.join(" , "))),
                proptest::collection::vec((name, value), 0..4).prop_map(|members| {
                    let members: Vec<_> = members
                        .iter()
                        .map(|(name, value)| format!("{name}:{value}"))
                        .collect();
                    format!("{{{}}}", members.join(","))
                }),
            ]
        })
    }

    /// An envelope with what belongs into it, and often something that does not.
    fn envelope() -> impl Strategy<Value = String> {
        let more = prop_oneof![
            3 => Just(String::new()),
            2 => r#","level":"[a-zA-Z.#* ]{0,6}""#,
            1 => value().prop_map(|name| format!(r#","name":{name}"#)),
            1 => value().prop_map(|extra| format!(r#","extra":{extra}"#)),
        ];
        let name = r#"("name":"event",|"name":"event" , |"name":"",|)"#;
        (value(), name, more, "(log|log|log|auth|other)").prop_map(|(data, name, more, action)| {
            format!(r#" {{"action":"{action}","log": {{{name}"data":{data}{more}}}}} "#)
        })
    }

    /// A valid envelope, with a byte of it replaced.
    fn damaged() -> impl Strategy<Value = Vec<u8>> {
        (envelope(), any::<prop::sample::Index>(), any::<u8>()).prop_map(|(text, at, byte)| {
            let mut bytes = text.into_bytes();
            let at = at.index(bytes.len());
            bytes[at] = byte;
            bytes
        })
    }

    fn body() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..200),
            envelope().prop_map(String::into_bytes),
            damaged(),
        ]
    }

    proptest! {
        #[test]
        fn a_body_is_refused_as_the_clients_fault_or_taken_as_it_is(body in body()) {
            match Envelope::read(&body) {
                Err(problem) => prop_assert_eq!(problem.status(), 400),
                Ok(Envelope::Auth(_)) => prop_assert!(false, "nobody sent credentials"),
                Ok(Envelope::Log { key, data }) => {
                    prop_assert!(key.as_str().starts_with("log."));
                    let sent: Sent = serde_json::from_slice(&body).unwrap();
                    prop_assert_eq!(&data, sent.log.get().as_bytes());
                    // As the logger does to find the name in it, and to give it out again.
                    let read: Result<serde::de::IgnoredAny, _> = serde_json::from_slice(&data);
                    prop_assert!(read.is_ok());
                    prop_assert!(json::check_depth(&data).is_ok());
                }
            }
        }
    }
}
