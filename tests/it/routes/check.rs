//! `listener-service check`, on the command line.

use serde_json::Value;
use tests::process;

const ROUTES: &str = r#"
[[route]]
name = "email"
exchange = { name = "order-exchange", kind = "direct" }
queue = "email-queue"
bindings = ["order.placed"]
target = "http://user:secret@mail.test:9000/events?key=secret"
retry_ms = [1000]
"#;

async fn check(text: &str, option: Option<&str>) -> (bool, String, String) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("routes.toml");
    std::fs::write(&path, text).unwrap();
    let mut arguments = vec!["check", path.to_str().unwrap()];
    arguments.extend(option);
    let output = process::run("listener-service", &arguments).await;
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (
        output.status.success(),
        text(output.stdout),
        text(output.stderr),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn every_mistake_is_told_with_its_line_and_nothing_is_printed() {
    let wrong = ROUTES.replace("kind", "king").replace("1000", "0") + "colour = \"red\"\n";
    let (success, printed, told) = check(&wrong, None).await;
    assert!(!success && printed.is_empty(), "{printed}");
    for said in [
        "line 4: route \"email\": exchange: ",
        "line 8: route \"email\": retry_ms: a wait must be from 1 ms to one day",
        "line 9: route \"email\": there is no field colour",
    ] {
        assert!(told.contains(said), "{told}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topology_is_printed_drawn_and_exported_without_secrets() {
    let way = "order-exchange --[order.placed]--> email-queue --> http://mail.test:9000/events\n";
    for (option, expected) in [
        (None, way),
        (
            None,
            "queue email-queue.retry.1000  durable x-queue-type=quorum x-message-ttl=1000 ",
        ),
        (
            Some("--dot"),
            "[shape=hexagon label=\"order-exchange (direct)\"]",
        ),
        (Some("--mermaid"), "[(\"email-queue\")]"),
        (Some("--definitions"), "\"x-message-ttl\": 1000"),
    ] {
        let (success, printed, told) = check(ROUTES, option).await;
        assert!(success, "{told}");
        assert!(printed.contains(expected), "{printed}");
        assert!(!printed.contains("secret"), "{printed}");
        if option == Some("--definitions") {
            let definitions: Value = serde_json::from_str(&printed).unwrap();
            assert_eq!(definitions["queues"].as_array().unwrap().len(), 3);
            assert_eq!(definitions["bindings"].as_array().unwrap().len(), 4);
        }
    }
}
