//! `POST /handle`: one envelope for all actions.

mod auth;
mod log;

use std::sync::Arc;

use axum::{extract::State, response::Response};
use serde::Deserialize;
use serde_json::value::RawValue;
use service_kit::{json, posted::Posted, problem::Problem};

use crate::App;

/// What to do, and the one member that belongs to it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Envelope {
    action: Action,
    log: Option<Box<RawValue>>,
    auth: Option<auth::Credentials>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Action {
    Log,
    Auth,
}

pub(crate) async fn handle(
    State(app): State<Arc<App>>,
    Posted { headers, body }: Posted,
) -> Result<Response, Problem> {
    json::check_headers(&headers)?;
    let envelope: Envelope = json::parse(&body)?;
    match envelope {
        Envelope {
            action: Action::Log,
            log: Some(entry),
            auth: None,
        } => log::log(&app, &headers, entry).await,
        Envelope {
            action: Action::Auth,
            log: None,
            auth: Some(credentials),
        } => {
            // Boxed: its state is large, and every request would carry room for it.
            Box::pin(auth::auth(&app, credentials)).await
        }
        Envelope { action, .. } => {
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

#[cfg(test)]
mod properties {
    use proptest::prelude::*;

    use super::*;

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
            let envelope: Result<Envelope, _> = json::parse(&body);
            let entry = match envelope {
                Ok(Envelope { log: Some(entry), .. }) => entry,
                Ok(_) => return Ok(()),
                Err(problem) => {
                    prop_assert_eq!(problem.status(), 400);
                    return Ok(());
                }
            };
            let text = entry.get().to_owned();
            match log::read(entry) {
                Err(problem) => prop_assert_eq!(problem.status(), 400),
                Ok((key, data)) => {
                    prop_assert!(key.as_str().starts_with("log."));
                    prop_assert_eq!(&data[..], text.as_bytes());
                    let body = std::str::from_utf8(&body).unwrap();
                    prop_assert!(body.contains(&text));
                    // As the logger does to find the name in it, and to give it out again.
                    let read: Result<serde::de::IgnoredAny, _> = serde_json::from_slice(&data);
                    prop_assert!(read.is_ok());
                    prop_assert!(json::check_depth(&data).is_ok());
                }
            }
        }
    }
}
