//! What a route can forward of a message.

use super::*;
use crate::forward::Property;

#[test]
fn a_route_and_a_request_name_what_they_forward() {
    let both = "forward = { headers = [\"x-tenant\", \"Trace_Level\"], properties = [\"routing_key\", \"priority\"] }";
    let forward = one(both).target.forward;
    assert_eq!(
        forward.properties,
        [Property::RoutingKey, Property::Priority]
    );
    let names: Vec<_> = forward.headers().map(|name| name.as_str()).collect();
    assert_eq!(names, ["x-tenant", "trace_level"]);
    assert_eq!(forward.headers[1].0, "Trace_Level");
    let request = format!(
        "[[request]]\nname = \"fib\"\nqueue = \"rpc_queue\"\ntarget = \"http://x/\"\n{}\n",
        "forward = { properties = [\"correlation_id\"] }"
    );
    let routes = parse(&request).unwrap();
    assert_eq!(
        routes.requests[0].target.forward.properties,
        [Property::CorrelationId]
    );
    assert_eq!(one("").target.forward, Default::default());
}

#[test]
fn what_is_not_for_producers_to_set_is_refused_with_its_line() {
    let dangerous = [
        "Authorization",
        "cookie",
        "Host",
        "content-type",
        "Content_Length",
        "CONTENT-ENCODING",
        "connection",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "Transfer_Encoding",
        "upgrade",
        "expect",
        "x-user-token",
        "x-forwarded-for",
        "X-Forwarded-Host",
        "forwarded",
        "x-real-ip",
        "x-http-method-override",
        "sec-fetch-site",
        "origin",
        "if-match",
        "accept-encoding",
        "ce-id",
        "ce_id",
        "cloudEvents_tenant",
        "webhook-signature",
        "x-gw-attempt",
        "x_gw_attempt",
        "traceparent",
        "tracestate",
        "baggage",
        "idempotency-key",
        "Idempotency_Key",
        "CC",
        "BCC",
        "x-death",
        "True-Client-IP",
        "CF-Connecting-IP",
        "Remote_User",
        "X-Amzn-Oidc-Identity",
        "X-Goog-IAP-JWT-Assertion",
        "Client-Cert",
        "X-Hub-Signature-256",
    ];
    for name in dangerous {
        let line = format!("forward = {{ headers = [\"x-tenant\", \"{name}\"] }}");
        let refusal = parse(&route(&line)).unwrap_err();
        assert!(
            refusal.starts_with("line 5: route \"mailer\": forward: ") && refusal.contains(name),
            "{name}: {refusal}"
        );
        assert_eq!(refusal.lines().count(), 1, "{refusal}");
    }
}

#[test]
fn a_mistake_in_what_is_forwarded_is_told() {
    let long = "x".repeat(65);
    let many: Vec<_> = (0..33).map(|number| format!("\"x-{number}\"")).collect();
    for (value, said) in [
        ("{}", "it names no headers"),
        ("{ headers = [], properties = [] }", "it names no headers"),
        ("{ headers = \"x-tenant\" }", "expected a list"),
        ("\"x-tenant\"", "write { headers"),
        ("{ header = [\"x-tenant\"] }", "unknown field `header`"),
        ("{ headers = [\"a b\"] }", "\"a b\" is not a header name"),
        ("{ headers = [\"\"] }", "\"\" is not a header name"),
        ("{ headers = [\"é\"] }", "\"é\" is not a header name"),
        ("{ headers = [\"x-A\", \"X-a\"] }", "X-a is named twice"),
        (
            &format!("{{ headers = [\"{long}\"] }}"),
            "more than 64 bytes",
        ),
        (
            &format!("{{ headers = [{}] }}", many.join(",")),
            "at most 32",
        ),
        (
            "{ properties = [\"reply_to\"] }",
            "unknown variant `reply_to`, expected",
        ),
        (
            "{ properties = [\"priority\", \"priority\"] }",
            "named twice",
        ),
        (
            "{ headers = [\"x-team\"] }\ntarget_headers = { X-Team = \"blue\" }",
            "forward and target_headers both set x-team",
        ),
    ] {
        let refusal = parse(&route(&format!("forward = {value}"))).unwrap_err();
        assert!(refusal.contains(said), "{value}: {refusal}");
    }
}

#[test]
fn a_route_delivers_in_the_mode_that_it_names() {
    use crate::target::Mode;
    for (line, mode) in [
        ("", Mode::Binary),
        ("mode = \"binary\"", Mode::Binary),
        ("mode = \"structured\"", Mode::Structured),
    ] {
        assert_eq!(one(line).target.mode, mode, "{line}");
    }
    for line in ["mode = \"batch\"", "mode = \"\"", "mode = \"Structured\""] {
        let refusal = parse(&route(line)).unwrap_err();
        assert_eq!(
            refusal,
            "line 5: route \"mailer\": mode: it must be binary or structured"
        );
    }
    let refusal = parse(&route("mode = true")).unwrap_err();
    assert!(refusal.starts_with("line 5: ") && refusal.contains("mode: invalid type"));
}
