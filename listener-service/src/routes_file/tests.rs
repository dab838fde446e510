//! What a file of routes may say, and what is said of one that is wrong.

mod forward;

use std::{collections::HashSet, num::NonZeroU32, time::Duration};

use messaging::{Binding, ExchangeKind, Format, Queue, Value};
use proptest::prelude::*;
use reqwest::header::AUTHORIZATION;

use super::*;

fn parse(text: &str) -> Result<Routes, String> {
    let broker_url = "http://localhost:8080".parse().unwrap();
    let environment = Environment {
        variable: &|name| match name {
            "LOGGER_URL" => Some("http://logger:8082/".to_owned()),
            "SECRET" => Some("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".to_owned()),
            _ => None,
        },
        own_token_file: None,
        broker_url: &broker_url,
    };
    read(text, &environment).map_err(|mistakes| mistakes.to_string())
}

/// A route with what it must have, and `lines`.
fn route(lines: &str) -> String {
    let lines = format!("{lines}\n");
    let default = |name: &str, line: &str| {
        let has = lines.lines().any(|line| line.starts_with(name));
        if has {
            String::new()
        } else {
            format!("{line}\n")
        }
    };
    format!(
        "[[route]]\n{}{}{}{lines}",
        default("name", "name = \"mailer\""),
        default("bindings", "bindings = [\"a\"]"),
        default("target", "target = \"http://x/\""),
    )
}

fn one(lines: &str) -> crate::routes::EventRoute {
    parse(&route(lines)).unwrap().events.remove(0)
}

#[test]
fn a_route_has_good_defaults() {
    let route = one("");
    let subscription = &route.subscription;
    let queue = "events.topic.exchange.queue.mailer";
    assert_eq!(subscription.source.queue, Queue::Own(queue.to_owned()));
    assert_eq!((subscription.concurrency, subscription.prefetch), (64, 128));
    assert_eq!(subscription.retries.len(), 5);
    assert_eq!(route.target.timeout, Duration::from_secs(10));
    assert!(subscription.types.is_empty() && !subscription.ordered);
}

#[test]
fn a_route_takes_every_kind_of_exchange_and_queue() {
    let source = |lines: &str| one(lines).subscription.source;
    let direct = source(
        "exchange = { name = \"order-exchange\", kind = \"direct\" }\nqueue = \"email-queue\"\n\
         bindings = [\"order.placed\", \"any: thing\"]",
    );
    assert_eq!(direct.exchange.unwrap().kind, ExchangeKind::Direct);
    assert_eq!(direct.queue, Queue::Own("email-queue".to_owned()));
    assert_eq!(direct.bindings.len(), 2);

    let text = "[[route]]\nname = \"copy\"\ntarget = \"http://x/\"\nqueue = { exclusive = true }\n\
         exchange = { name = \"news\", kind = \"fanout\", existing = true }\n";
    let fanout = parse(text).unwrap().events.remove(0).subscription;
    assert_eq!(
        fanout.source.queue,
        Queue::Exclusive("news.queue.copy".to_owned())
    );
    assert_eq!(fanout.source.bindings, [Binding::Key(String::new())]);
    assert!(fanout.source.exchange.as_ref().unwrap().existing && fanout.waits_in_hand());
    assert_eq!(fanout.prefetch, fanout.concurrency);

    let headers = source(
        "exchange = { name = \"reports\", kind = \"headers\" }\n\
         bindings = [{ match = \"any\", headers = { format = \"pdf\", pages = 3, final = true } }]",
    );
    let [Binding::Headers { match_all, headers }] = headers.bindings.as_slice() else {
        panic!("{headers:?}");
    };
    assert!(!match_all);
    assert_eq!(headers["format"], Value::Text("pdf".to_owned()));
    assert_eq!(headers["pages"], Value::Integer(3));
    assert_eq!(headers["final"], Value::Boolean(true));

    let text = "[[route]]\nname = \"a\"\ntarget = \"http://x/\"\nqueue = { name = \"q\", existing = true }\n";
    let existing = parse(text).unwrap().events.remove(0).subscription.source;
    assert_eq!(existing.queue, Queue::Existing("q".to_owned()));
    assert!(existing.exchange.is_none() && existing.bindings.is_empty());
}

#[test]
fn a_route_takes_all_else() {
    let route = one(
        "types = [\"order.*\"]\nformat = \"celery\"\ntarget = \"${LOGGER_URL}/log\"\n\
         target_headers = { X-Team = \"blue\", Authorization = \"Basic ${SECRET}\" }\n\
         signing_secrets = [\"${SECRET}\", \"MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\"]\nordered = true\n\
         http2 = true\ntimeout_ms = 5\nrate_per_second = 7\nretry_ms = [1]",
    );
    assert_eq!(route.subscription.format, Format::Celery);
    assert_eq!(route.subscription.rate_per_second, NonZeroU32::new(7));
    assert_eq!(route.subscription.concurrency, 1);
    assert_eq!(route.target.url.as_str(), "http://logger:8082/log");
    assert_eq!(route.target.headers["x-team"], "blue");
    assert!(route.target.headers[AUTHORIZATION].is_sensitive());
    assert_eq!(route.target.signing_secrets.len(), 2);
    assert!(route.target.http2);
    assert!(route.subscription.types[0].matches("order.placed"));
}

#[test]
fn a_request_is_awaited_or_durable() {
    let routes = parse(
        "[[request]]\nservice = \"users\"\nkey = \"get\"\ntarget = \"http://x/\"\n\
         [[request]]\nname = \"fib\"\nqueue = \"rpc_queue\"\ntarget = \"http://x/\"\n\
         [[request]]\nservice = \"orders\"\nkey = \"get\"\nreply = \"response-exchange\"\ntarget = \"http://x/\"\n",
    )
    .unwrap();
    let [users, fib] = routes.requests.as_slice() else {
        panic!("{routes:?}");
    };
    let queue = "users.direct.exchange.request.queue";
    assert_eq!(users.source.queue, Queue::Own(queue.to_owned()));
    assert!(fib.source.exchange.is_none());
    assert_eq!(routes.events[0].answers_for.as_deref(), Some("orders"));
}

#[test]
fn a_mistake_is_told_with_its_line() {
    for (line, said) in [
        ("name = \"a.b\"", "name: it must have 1 to 100"),
        ("concurrency = 0", "concurrency: it must be 1 to 1024"),
        (
            "concurrency = \"3\"",
            "concurrency: invalid type: string \"3\", expected a whole number of 0 to 65535",
        ),
        ("bindings = 1", "expected a list"),
        ("target = { a = 1 }", "invalid type: table"),
        ("exchange = 1", "write { name = "),
        (
            "prefetch = 3",
            "prefetch: 3 is less than the concurrency, 64",
        ),
        ("timeout_ms = 0", "timeout_ms: it must be"),
        ("retry_ms = [0]", "retry_ms: a wait must be"),
        ("retries = [1]", "no field retries"),
        ("rate_per_second = 0", "rate_per_second: it must be"),
        ("format = \"xml\"", "format: it must be"),
        ("types = [\"a..b\"]", "types: \"a..b\" is not a pattern"),
        ("bindings = []", "bindings: it is empty"),
        ("bindings = [\"a*\"]", "\"a*\" is not a pattern"),
        ("bindings = [\"a b\"]", "\"a b\" is not a pattern"),
        (
            "bindings = [{ match = \"all\", headers = { a = 1 } }]",
            "only a headers exchange",
        ),
        ("bindings = [3]", "write \"key\", or {"),
        ("target = \"ftp://x/\"", "is not http or https"),
        ("target = \"${NO_SUCH}/\"", "${NO_SUCH} is not set"),
        (
            "target_headers = { ce-id = \"1\" }",
            "ce-id is set by the listener",
        ),
        (
            "target_headers = { \"a b\" = \"1\" }",
            "is not a header name",
        ),
        ("bearer_token_file = \"/no/such\"", "/no/such"),
        ("signing_secrets = [\"short\"]", "a secret"),
        ("queue = { exclusive = false }", "leave it out"),
        ("queue = \"amq.mine\"", "reserved for RabbitMQ"),
        (
            "exchange = { name = \"x\", kind = \"topical\" }",
            "exchange: unknown variant",
        ),
        (
            "exchange = { name = \"amq.topic\", kind = \"topic\" }",
            "existing = true",
        ),
        (
            "exchange = { name = \"x\", kind = \"headers\" }",
            "a headers exchange requires",
        ),
        (
            "exchange = { name = \"x\", kind = \"fanout\" }",
            "leave bindings out",
        ),
        ("concurrency = 500\nrate_per_second = 1", "lasts for 1000 s"),
        ("ordered = true\nconcurrency = 2", "leave concurrency out"),
        ("ordered = true\nprefetch = 2", "wait in the listener"),
        (
            "ordered = true\nretry_ms = [3600000]",
            "RabbitMQ would take the event back",
        ),
    ] {
        let text = format!("# a comment\n\n{}", route(line));
        let refusal = parse(&text).unwrap_err();
        assert!(refusal.contains(said), "{line}: {refusal}");
        // Of the line itself, or of the table where it is wrong as a whole.
        let first = line.lines().next().unwrap();
        let own = text.lines().position(|other| other == first).unwrap() + 1;
        let is_told = [own, own + 1, 3, 5]
            .iter()
            .any(|line| refusal.contains(&format!("line {line}: ")));
        assert!(is_told, "{line}: {refusal}");
    }
    let direct = "exchange = { name = \"x\", kind = \"direct\" }\nbindings = [\"a.*\"]";
    assert!(
        parse(&route(direct))
            .unwrap_err()
            .contains("does not support wildcards")
    );
}

#[test]
fn all_mistakes_are_told_at_once() {
    let text = "[[route]]\nname = \"one\"\nbindings = \"a\"\ntimeout_ms = 0\n\n\
                [[route]]\nname = \"one\"\nbindings = [\"a\"]\ntarget = \"http://x/\"\n\n\
                [[route]]\nname = \"two\"\nbindings = [\"a\"]\ntarget = \"http://x/\"\n\
                queue = \"events.topic.exchange.queue.one\"\n[[request]]\n[other]\n";
    let refusal = parse(text).unwrap_err();
    let mut lines: Vec<_> = refusal
        .lines()
        .map(|line| line.split(": ").next().unwrap())
        .collect();
    lines.dedup();
    assert_eq!(
        lines,
        [
            "line 1", "line 3", "line 4", "line 6", "line 11", "line 16", "line 17"
        ],
        "{refusal}"
    );
    let repeated = format!("{0}{0}", route(""));
    assert!(
        parse(&repeated)
            .unwrap_err()
            .contains("line 6: route \"mailer\": the name is taken")
    );
    assert!(parse("").unwrap_err().contains("neither a [[route]]"));
    assert!(
        parse("[[route]\nname = 1 2\n")
            .unwrap_err()
            .contains("line 1: ")
    );
}

/// One slip makes one mistake, with its place, whatever the rest of the file then looks like.
#[test]
fn what_is_no_toml_is_one_mistake() {
    let routes = |count: usize| {
        (0..count)
            .map(|_| route("retry_ms = [1, 2]"))
            .collect::<String>()
    };
    let after = |line: &str| format!("{}{}{}", routes(1), route(line), routes(10));
    for (what, text) in [
        ("a bracket", after("types = [\"a\"")),
        (
            "the bracket of a table",
            after("").replacen("[[route]]", "[[route]", 1),
        ),
        ("a quote", after("types = [\"a]")),
        ("a quote of a text", after("format = \"celery")),
        ("an equals sign", after("timeout_ms 5")),
        ("a key twice", after("timeout_ms = 5\ntimeout_ms = 6")),
        (
            "a brace",
            after("exchange = { name = \"x\", kind = \"topic\""),
        ),
        ("a value", after("timeout_ms =")),
        ("a text without quotes", after("format = celery")),
        ("CRLF", after("types = [\"a\"").replace('\n', "\r\n")),
        (
            "a byte order mark",
            format!("\u{feff}{}", after("types = [\"a\"")),
        ),
        (
            "a table in one bracket",
            route("").replace("[[route]]", "[route]"),
        ),
        (
            "one bracket for two",
            (route("") + &route("name = \"b\"")).replace("[[route]]", "[route]"),
        ),
    ] {
        let refusal = parse(&text).unwrap_err();
        assert_eq!(refusal.lines().count(), 1, "{what}: {refusal}");
        assert!(refusal.starts_with("line "), "{what}: {refusal}");
        if what == "one bracket for two" {
            assert!(
                refusal.contains("write [[route]], in two brackets"),
                "{refusal}"
            );
        }
    }
}

#[test]
fn the_place_of_a_syntax_error_is_a_line_and_a_column() {
    let refusal = parse("# é\r\n[[route]]\r\nname = \"é\" x\r\n").unwrap_err();
    assert!(
        refusal.starts_with("line 3: column 12: this is not valid TOML: "),
        "{refusal}"
    );
    // What editors put before a text and at the end of its lines is no mistake.
    for text in [
        format!("\u{feff}{}", route("")),
        route("").replace('\n', "\r\n"),
    ] {
        assert_eq!(parse(&text).unwrap().events.len(), 1);
    }
}

#[test]
fn what_cannot_be_declared_is_a_mistake() {
    let own = |queue: &str| format!("name = \"other\"\nqueue = \"{queue}\"");
    let of = |name: &str, kind: &str| {
        format!("name = \"other\"\nexchange = {{ name = \"{name}\", kind = \"{kind}\" }}")
    };
    let existing = |queue: &str| {
        format!("name = \"other\"\nqueue = {{ name = \"{queue}\", existing = true }}")
    };
    let of_rabbitmq = |kind: &str| {
        format!(
            "name = \"other\"\nexchange = {{ name = \"amq.{kind}\", kind = \"{kind}\", existing = true }}"
        )
    };
    let long = "x".repeat(250);
    let headers = |headers: &str| {
        of("reports", "headers") + "\nbindings = [{ match = \"all\", headers = " + headers + " }]"
    };
    for (lines, said) in [
        (
            own("events.topic.exchange.queue.mailer.dead"),
            "belongs to route \"mailer\"",
        ),
        (
            own("events.topic.exchange.queue.mailer.retry.1000"),
            "route \"mailer\", for its retries: use another name",
        ),
        (
            own("events.topic.exchange.queue.mailer.retry.77"),
            "route \"mailer\", for its retries: use another name",
        ),
        (
            existing("events.topic.exchange.queue.mailer.dead"),
            "route \"mailer\", for its dead letters: use another name",
        ),
        (
            existing("events.topic.exchange.queue.mailer.retry.5000"),
            "route \"mailer\", for its retries: use another name",
        ),
        (
            of_rabbitmq("topic"),
            "line 11: route \"other\": the name of its queue is amq.topic.queue.other: names that begin \
             with amq. are reserved for RabbitMQ; set another name with queue",
        ),
        (of_rabbitmq("direct"), "amq.direct.queue.other: names"),
        (
            of_rabbitmq("topic") + "\nqueue = { exclusive = true }",
            "amq.topic.queue.other: names",
        ),
        (existing("amq.gen-1"), "amq.gen-1: names that begin"),
        (
            of("events.topic.exchange", "direct"),
            "another kind in this gateway",
        ),
        (of("gw.retry", "topic"), "another kind in this gateway"),
        (of("shop", "topic"), "another kind in route \"third\""),
        (of(&long, "topic"), "1 to 240 bytes"),
        (
            headers(&format!("{{ {long}xxxxxx = 1 }}")),
            "255 bytes each",
        ),
        (
            headers(&format!("{{ a = \"{long}xxxxxx\" }}")),
            "255 bytes each",
        ),
    ] {
        let third = "name = \"third\"\nexchange = { name = \"shop\", kind = \"direct\" }";
        let refusal = parse(&(route("") + &route(third) + &route(&lines))).unwrap_err();
        assert!(refusal.contains(said), "{lines}: {refusal}");
    }
    // With a name of its own, or for somebody else's dead letters, it is fine; so is a request to a
    // queue that RabbitMQ named, which has no copies.
    for lines in [
        of_rabbitmq("topic") + "\nqueue = \"mine\"",
        existing("shop.dead"),
        own("shop.retry.5"),
    ] {
        assert_eq!(parse(&route(&lines)).unwrap().events.len(), 1, "{lines}");
    }
    let request = |queue: &str| {
        format!(
            "[[request]]\nname = \"other\"\nqueue = {{ name = \"{queue}\", existing = true }}\ntarget = \"http://x/\"\n"
        )
    };
    parse(&request("amq.gen-1")).unwrap();
    // Before the route, and as a request, it is the same.
    let dead = request("events.topic.exchange.queue.mailer.dead");
    for text in [dead.clone() + &route(""), route("") + &dead] {
        let refusal = parse(&text).unwrap_err();
        assert!(refusal.contains("for its dead letters"), "{refusal}");
    }
    // The dead letters of the two would be one queue.
    let copies = "[[route]]\nname = \"copies\"\ntarget = \"http://x/\"\nqueue = { exclusive = true }\n\
                  exchange = { name = \"news\", kind = \"fanout\" }\n";
    let refusal = parse(&(copies.to_owned() + &route(&own("news.queue.copies")))).unwrap_err();
    assert!(
        refusal.contains("route \"copies\" also consumes the queue"),
        "{refusal}"
    );
}

#[test]
fn no_secret_is_told() {
    for line in [
        "signing_secrets = \"whsec_c2VjcmV0c2VjcmV0\"",
        "signing_secrets = [3, \"whsec_c2VjcmV0c2VjcmV0\"]",
        "signing_secrets = [\"whsec_c2VjcmV0c2VjcmV0\"]",
        "target_headers = \"Bearer c2VjcmV0\"",
        "target_headers = [\"Bearer c2VjcmV0\"]",
        "target_headers = { Authorization = \"Bearer\\u0000c2VjcmV0\" }",
        "target = \"http://user:c2VjcmV0@x:99999/\"",
        "target = \"amqp://user:c2VjcmV0@x/\"",
    ] {
        let refusal = parse(&route(line)).unwrap_err();
        assert!(!refusal.contains("c2VjcmV0"), "{refusal}");
    }
}

/// Nor are fields that are there taken for unknown ones where the rest of a route is wrong.
#[test]
fn a_wrong_source_or_name_hides_no_other_field() {
    let policy = "retry_ms = [0]\nconcurrency = 3\nrate_per_second = 5\nordered = false";
    for wrong in [
        format!("bindings = \"a\"\n{policy}"),
        format!("name = \"a.b\"\n{policy}"),
    ] {
        let refusal = parse(&route(&wrong)).unwrap_err();
        assert_eq!(refusal.lines().count(), 2, "{refusal}");
        assert!(refusal.contains("retry_ms: a wait must be"), "{refusal}");
    }
    let text = format!(
        "[[request]]\nservice = \"a.b\"\nkey = \"k\"\ntarget = \"http://x/\"\n\
         reply = \"response-exchange\"\n{policy}\n"
    );
    let refusal = parse(&text).unwrap_err();
    assert_eq!(refusal.lines().count(), 2, "{refusal}");
}

#[test]
fn a_route_that_would_run_in_circles_is_refused() {
    let to = |name: &str, key: &str, path: &str| {
        format!(
            "[[route]]\nname = \"{name}\"\nbindings = [\"{key}\"]\ntarget = \"http://127.0.0.1:8080{path}\"\n"
        )
    };
    for text in [
        to("a", "order.*", "/events"),
        to("a", "order.*", "/events/order.copied"),
        to("a", "#", "/handle"),
        to("a", "order.*", "/events/mail.sent") + &to("b", "mail.#", "/events/order.placed"),
    ] {
        let refusal = parse(&text).unwrap_err();
        assert!(
            refusal.contains("come back to it forever"),
            "{text}: {refusal}"
        );
    }
    for text in [
        to("a", "order.*", "/events/mail.sent"),
        to("a", "order.*", "/events/mail.sent") + &to("b", "mail.#", "/events/done"),
        to("a", "order.*", "/elsewhere"),
        to("a", "#", "/events").replace("8080", "8090"),
        to("a", "#", "/events/mail.sent") + "types = [\"order.*\"]\n",
    ] {
        assert!(parse(&text).is_ok(), "{text}");
    }
}

/// One line of a file of routes, most of them as they should be.
fn line() -> impl Strategy<Value = String> {
    prop_oneof![
        2 => "\\[\\[(route|request)\\]\\]",
        2 => "(name|service|key) = \"[a-z.#]{0,5}\"",
        2 => "bindings = \\[\"[a-z.#*]{0,8}\"\\]",
        2 => "target = \"(http://a/|\\$\\{LOGGER_URL\\}/|\\$\\{NO_SUCH\\}|[ -!#-~]{0,9})\"",
        2 => "(concurrency|prefetch|timeout_ms) = -?[0-9]{1,20}",
        2 => "retry_ms = \\[[0-9]{1,20}, 1000\\]",
        1 => "queue = (\"[a-z]?\"|\\{ (exclusive|existing) = true \\})",
        1 => "exchange = \\{ name = \"[a-z]\", kind = \"(topic|direct|fanout|headers)\" \\}",
        1 => "(ordered = true|reply = \"response-exchange\")",
        1 => any::<String>(),
    ]
}

proptest! {
    /// A file that is accepted names nothing twice, and keeps to every limit.
    #[test]
    fn any_text_is_a_file_of_routes_or_refused(
        lines in proptest::collection::vec(line(), 0..12),
    ) {
        let Ok(routes) = parse(&lines.join("\n")) else {
            return Ok(());
        };
        let events = routes.events.iter().map(|route| &route.subscription);
        let flows = events.clone().map(|route| (route.concurrency, route.prefetch));
        let requests = routes.requests.iter().map(|route| (route.flow.concurrency, route.flow.prefetch));
        for (concurrency, prefetch) in flows.chain(requests) {
            prop_assert!(concurrency >= 1 && prefetch >= concurrency);
        }
        let names: HashSet<_> = events.clone().map(|route| &route.name).collect();
        prop_assert_eq!(names.len(), routes.events.len());
    }

    #[test]
    fn a_file_of_one_route_is_accepted_as_it_is_written(
        name in "[A-Za-z0-9_-]{1,100}", concurrency in 1..=1024_u16, ahead in 0..=1000_u16,
        wait in 1..=86_400_000_u64,
    ) {
        let prefetch = concurrency + ahead;
        let route = one(&format!(
            "name = \"{name}\"\nconcurrency = {concurrency}\nprefetch = {prefetch}\nretry_ms = [{wait}]"
        ));
        prop_assert_eq!(route.subscription.name, name);
        prop_assert_eq!(route.subscription.concurrency, concurrency);
        prop_assert_eq!(route.subscription.prefetch, prefetch);
        prop_assert_eq!(route.subscription.retries, [Duration::from_millis(wait)]);
    }
}
