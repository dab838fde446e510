//! `listener-service dead-letters …`.

use serde_json::Value;
use tests::process::run;

use super::Refused;

pub struct Said {
    pub out: String,
    pub error: String,
    pub success: bool,
}

pub async fn say(refused: &Refused, words: &str) -> Said {
    let addr = refused.suite.listener.addr.to_string();
    let mut arguments = vec!["--addr", &addr, "dead-letters"];
    arguments.extend(words.split_whitespace());
    let output = run("listener-service", &arguments).await;
    Said {
        out: String::from_utf8(output.stdout).unwrap(),
        error: String::from_utf8(output.stderr).unwrap(),
        success: output.status.success(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_lists_shows_replays_and_discards() {
    let refused = Refused::start().await;
    for name in ["a", "b", "c"] {
        refused.post("INFO", name).await;
    }
    refused.post("WARN", "d").await;
    refused.listed("", 4).await;

    let list = say(&refused, "list --route two").await;
    let lines: Vec<_> = list.out.lines().collect();
    assert!(
        lines[0].starts_with("ID ") && lines[0].ends_with("ANSWER"),
        "{}",
        list.out
    );
    assert!(
        lines[1].contains("the target answered 422  no such tenant"),
        "{}",
        list.out
    );
    assert_eq!(lines[2], "1 of 1");
    let id = lines[1].split(' ').next().unwrap();
    let page = say(&refused, "list --limit 3").await.out;
    assert!(page.contains("3 of 4\nmore with --cursor "), "{page}");
    let json: Value = serde_json::from_str(&say(&refused, "list --json").await.out).unwrap();
    assert_eq!(json["total"], 4);

    let shown = say(&refused, &format!("show {id}")).await.out;
    assert!(shown.contains("\nstatus         422\n"), "{shown}");
    let data = say(&refused, &format!("data {id}")).await.out;
    assert_eq!(data, r#"{"data":{"n":1},"level":"WARN","name":"d"}"#);
    assert!(
        shown.ends_with(&format!("data           {data}\n")),
        "{shown}"
    );

    refused.accept();
    let replayed = say(&refused, "replay --route one --rate 1000").await;
    assert!(replayed.success, "{}", replayed.error);
    assert_eq!(replayed.out, "3 replayed, 0 failed, of 3\n");
    let discarded = say(&refused, "discard --all").await;
    assert_eq!(discarded.out, "1 discarded\n", "{}", discarded.error);
    let one = say(&refused, &format!("replay {id}")).await;
    assert_eq!(one.out, format!("{id} replayed\n"));
    let again = say(&refused, &format!("replay {id} x")).await;
    assert!(!again.success);
    assert!(
        again
            .out
            .contains(&format!("{id} not replayed: it was replayed before")),
        "{}",
        again.out
    );
    assert!(
        again.out.contains("x not replayed: no dead letter"),
        "{}",
        again.out
    );
    refused.target.wait_for(4 + 4).await;
    refused.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mistakes_are_told_in_a_line_and_do_nothing() {
    let refused = Refused::start().await;
    refused.post("INFO", "a").await;
    refused.listed("", 1).await;
    for (words, told) in [
        ("replay", "--all"),
        ("discard", "--all"),
        ("discard id --route one", "not both"),
        ("discard --all --route one", "not both"),
        ("discard discard?all=true#", "1 of 1 not discarded"),
        ("replay x/../replay?all=true#", "1 of 1 not replayed"),
        ("show ../routes", "no dead letter"),
        ("list --state gone", "state"),
        ("list --since yesterday", "since"),
        ("replay --all --rate 0", "rate"),
        ("show none", "no dead letter"),
    ] {
        let said = say(&refused, words).await;
        assert!(!said.success, "{words}");
        assert!(said.error.contains(told), "{words}: {}", said.error);
        assert_eq!(
            said.error.trim_end().lines().count(),
            1,
            "{words}: {}",
            said.error
        );
    }
    refused.listed("", 1).await;
    assert_eq!(refused.target.count(), 1);
    let nobody = run(
        "listener-service",
        &["--addr", "127.0.0.1:1", "dead-letters", "list"],
    )
    .await;
    let error = String::from_utf8(nobody.stderr).unwrap();
    assert!(
        error.contains("is it running there (LISTENER_ADDR)?"),
        "{error}"
    );
    refused.stop().await;
}
