//! Envelopes by the hundred, as they should be and as they should not, through the whole suite.

use std::collections::HashMap;

use proptest::{collection::vec, prelude::*, strategy::ValueTree as _, test_runner::TestRunner};
use reqwest::header;
use tests::{http, rabbitmq::virtual_host, suite::Suite};

const ENVELOPES: usize = 300;

/// JSON that a parser would write otherwise than it was, and some that is none.
fn value() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        8 => "(null|true|1e400|-0.0|18446744073709551617|[1-9]{30})",
        8 => r#""([a-z é,]|\\u00e9|\\/|\\"){0,8}""#,
        1 => r#"(NaN|01||")"#,
        1 => "\\[{1,140}",
    ];
    leaf.prop_recursive(4, 20, 4, |value| {
        let member = (r#""[ab]" ?"#, value.clone());
        prop_oneof![
            vec(value, 0..4).prop_map(|values| format!("[{}]", values.join(" , "))),
            vec(member, 0..4).prop_map(|members| {
                let members = members
                    .iter()
                    .map(|(name, value)| format!("{name}:{value}"));
                format!("{{{}}}", members.collect::<Vec<_>>().join(", "))
            }),
        ]
    })
}

/// An entry, and the body that it is posted in.
fn envelope() -> impl Strategy<Value = (String, Vec<u8>)> {
    let more = prop_oneof![
        6 => Just(String::new()),
        2 => r#", "level" : "[a-zA-Z.#]{1,5}""#,
        1 => value().prop_map(|extra| format!(r#","extra":{extra}"#)),
    ];
    let damage = proptest::option::weighted(0.2, (any::<prop::sample::Index>(), any::<u8>()));
    (value(), more, damage).prop_map(|(data, more, damage)| {
        let entry = format!(r#"{{"name":"envelope","data":{data}{more}}}"#);
        let mut body = format!(r#"{{"action":"log","log": {entry} }}"#).into_bytes();
        if let Some((at, byte)) = damage {
            let at = at.index(body.len());
            body[at] = byte;
        }
        (entry, body)
    })
}

/// What is accepted is at the logger as it was written, and what is not is the client's fault.
#[tokio::test(flavor = "multi_thread")]
async fn an_envelope_is_stored_as_it_is_or_refused() {
    let suite = Suite::start(&virtual_host().await.url).await;
    let client = http::client();
    let mut runner = TestRunner::default();
    let mut accepted = HashMap::new();
    let mut refused = 0;
    for _ in 0..ENVELOPES {
        let (entry, body) = envelope().new_tree(&mut runner).unwrap().current();
        let shown = String::from_utf8_lossy(&body).into_owned();
        let request = client
            .post(suite.broker.url("/handle"))
            .header(header::CONTENT_TYPE, "application/json")
            .body(body);
        let answer = http::read(request.send().await.unwrap()).await;
        if answer.status == 202 {
            let id = answer.json()["data"]["id"].as_str().unwrap().to_owned();
            // A damaged one may be valid still, with another entry than this.
            if shown.contains(&entry) {
                accepted.insert(id, entry);
            }
        } else {
            assert_eq!(answer.status, 400, "{shown}: {}", answer.text);
            answer.problem(400);
            refused += 1;
        }
    }
    assert!(
        accepted.len() > ENVELOPES / 4 && refused > ENVELOPES / 10,
        "{refused}"
    );
    for (id, entry) in accepted {
        let stored = suite.logged_text(&id).await;
        assert!(stored.text.contains(&entry), "{entry}: {}", stored.text);
    }
    suite.stop().await;
}
