//! The envelope: what to do, and the one member that belongs to it.

use std::{borrow::Cow, collections::HashSet, fmt};

use bytes::Bytes;
use event::EventType;
use serde::{
    Deserialize, Deserializer,
    de::{Error as _, IgnoredAny, MapAccess, Visitor},
};
use serde_json::value::RawValue;
use service_kit::{json, problem::Problem};

use super::{auth::Credentials, log};

/// Their names are remembered, to find one that comes twice.
const MEMBERS_MAX: usize = 64;

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

/// What an envelope has. Clients send all members of their type, those of other actions included, so
/// only the one that `action` names counts.
struct Members<'a> {
    action: Action,
    log: Option<&'a RawValue>,
    auth: Option<&'a RawValue>,
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
    pub fn read(body: &Bytes) -> Result<Self, Problem> {
        let Members { action, log, auth } = json::parse(body)?;
        match action {
            Action::Log => {
                let entry = log.ok_or_else(|| missing("log"))?;
                let (key, data) = log::read(body, entry)?;
                Ok(Self::Log { key, data })
            }
            Action::Auth => {
                let credentials = auth.ok_or_else(|| missing("auth"))?;
                json::parse_part(credentials).map(Self::Auth)
            }
        }
    }
}

fn missing(member: &str) -> Problem {
    Problem::bad_request(format!(
        "the action \"{member}\" takes the member \"{member}\""
    ))
}

/// The name of a member.
#[derive(Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Reader)
    }
}

struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = Members<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    /// Refuses a name that comes twice, since parsers differ in which one they take.
    fn visit_map<M: MapAccess<'de>>(self, mut members: M) -> Result<Members<'de>, M::Error> {
        let (mut action, mut log, mut auth) = (None, None, None);
        let mut names = HashSet::new();
        while let Some(Name(name)) = members.next_key()? {
            match &*name {
                "action" => action = Some(members.next_value()?),
                "log" => log = members.next_value()?,
                "auth" => auth = members.next_value()?,
                _ => _ = members.next_value::<IgnoredAny>()?,
            }
            if names.contains(&name) {
                return Err(M::Error::custom(format!("duplicate field `{name}`")));
            }
            if names.len() == MEMBERS_MAX {
                let message = format!("an envelope has at most {MEMBERS_MAX} members");
                return Err(M::Error::custom(message));
            }
            names.insert(name);
        }
        let action = action.ok_or_else(|| M::Error::missing_field("action"))?;
        Ok(Members { action, log, auth })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(body: &str) -> String {
        let problem = Envelope::read(&body.to_owned().into()).unwrap_err();
        assert_eq!(problem.status(), 400, "{body}");
        problem.message().to_owned()
    }

    #[test]
    fn members_beside_the_actions_own_do_not_count() {
        let entry = r#"{"name":"n","data":1}"#;
        for others in [
            r#""auth":{"email":"","password":""},"mail":{"from":"","to":""}"#,
            r#""auth":null,"mail":null"#,
            r#""auth":7,"mail":[[1e400,"auth"]]"#,
            r#""auth":{"email":1,"email":2,"extra":{}}"#,
            r#""Action":"auth","LOG":{},"":0"#,
        ] {
            for body in [
                format!(r#"{{"action":"log","log":{entry},{others}}}"#),
                format!(r#"{{{others},"log":{entry},"action":"log"}}"#),
            ] {
                let Ok(Envelope::Log { data, .. }) = Envelope::read(&body.clone().into()) else {
                    panic!("{body}");
                };
                assert_eq!(data, entry);
            }
        }
        for others in [
            r#""log":{"name":"","data":""}"#,
            r#""log":null,"mail":{}"#,
            r#""log":"x""#,
        ] {
            let credentials = r#""auth":{"email":"a@b.example","password":"p"}"#;
            let body = format!(r#"{{"action":"auth",{others},{credentials}}}"#);
            let read = Envelope::read(&body.clone().into());
            assert!(matches!(read, Ok(Envelope::Auth(_))), "{body}");
        }
    }

    #[test]
    fn the_actions_own_member_is_read_strictly() {
        for (body, reason) in [
            (r#"{"action":"log"}"#, "takes the member \"log\""),
            (
                r#"{"action":"log","log":null,"auth":{}}"#,
                "takes the member \"log\"",
            ),
            (r#"{"action":"auth","log":{}}"#, "takes the member \"auth\""),
            (r#"{"log":{"name":"n","data":1}}"#, "missing field `action`"),
            (r#"{"action":"mail","mail":{}}"#, "unknown variant"),
            (
                r#"{"action":"log","log":{"name":"n","data":1,"extra":1}}"#,
                "unknown field `extra`",
            ),
            (
                r#"{"action":"auth","auth":{"email":"","password":"","extra":1}}"#,
                "unknown field `extra`",
            ),
        ] {
            assert!(refusal(body).contains(reason), "{body}: {}", refusal(body));
        }
    }

    #[test]
    fn no_member_comes_twice_and_there_are_not_too_many() {
        let start = r#"{"action":"log","log":{"name":"n","data":1}"#;
        for (again, name) in [
            (r#""log":{"name":"n","data":1}"#, "log"),
            (r#""action":"log""#, "action"),
            (r#""auth":1,"auth":1"#, "auth"),
            (r#""mail":{},"m\u0061il":{}"#, "mail"),
        ] {
            let refusal = refusal(&format!("{start},{again}}}"));
            assert!(
                refusal.starts_with(&format!("duplicate field `{name}`")),
                "{refusal}"
            );
        }
        let more = |count: usize| {
            let members = (0..count).map(|number| format!(r#","{number}":0"#));
            format!("{start}{}}}", members.collect::<String>())
        };
        assert!(Envelope::read(&more(MEMBERS_MAX - 2).into()).is_ok());
        assert!(refusal(&more(MEMBERS_MAX - 1)).contains("at most"));
        assert!(
            refusal(r#"{"action":"log","log":{"name":"n","data":1},"mail":{]}"#)
                .contains("valid JSON")
        );
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

    /// An envelope with what belongs in it, and often something that does not.
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
            match Envelope::read(&body.clone().into()) {
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
