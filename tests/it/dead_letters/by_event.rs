//! Dead letters by the id of their event, which is what its sender knows.

use lapin::BasicProperties;
use reqwest::Method;
use serde_json::json;
use tests::foreign::Foreign;

use super::{Refused, command::say};

/// Publishes an event with this id to a route.
async fn publish(refused: &Refused, key: &str, id: &str) {
    let foreign = Foreign::connect(&refused.virtual_host.url).await;
    let properties = BasicProperties::default().with_message_id(id.into());
    let exchange = "events.topic.exchange";
    foreign.publish(exchange, key, properties, b"data").await;
    foreign.close().await;
}

/// `replay` and `discard` are words of the paths, too.
#[tokio::test(flavor = "multi_thread")]
async fn one_is_listed_shown_replayed_and_discarded_by_its_event() {
    let refused = Refused::start().await;
    for event in ["order/4711 ü", "replay", "discard"] {
        publish(&refused, "log.INFO", event).await;
        let query = event.replace('/', "%2F").replace(' ', "+");
        let [letter] = refused
            .listed(&format!("event={query}"), 1)
            .await
            .try_into()
            .unwrap();
        let id = letter["id"].as_str().unwrap();
        let list = say(&refused, "list").await.out;
        assert!(list.contains(event), "{list}");
        // A word of a command line has no spaces here, and by HTTP none has any.
        if !event.contains(' ') {
            let shown = say(&refused, &format!("show {event}")).await;
            assert!(
                shown.out.contains(id) && shown.success,
                "{}{}",
                shown.out,
                shown.error
            );
            assert_eq!(say(&refused, &format!("data {event}")).await.out, "data");
            let discarded = say(&refused, &format!("discard {event}")).await;
            assert!(discarded.success, "{}", discarded.out);
            let replayed = say(&refused, &format!("replay {event}")).await;
            assert!(replayed.success, "{}", replayed.out);
        } else {
            let path = "/order%2F4711%20%C3%BC";
            assert_eq!(refused.ask(Method::GET, path).await.json()["id"], id);
            let replayed = refused.ask(Method::POST, &format!("{path}/replay")).await;
            assert_eq!(replayed.status, 200, "{}", replayed.text);
        }
        let query = format!("event={query}&state=dead");
        let [again] = refused.listed(&query, 1).await.try_into().unwrap();
        assert_eq!(again["deaths"], 2);
        assert_eq!(again["attempts"], 1);
        assert_eq!(again["first_failure"], letter["first_failure"]);
        assert!(again["last_failure"].as_str() > letter["last_failure"].as_str());
        let path = format!("/{id}/discard");
        assert_eq!(refused.ask(Method::POST, &path).await.status, 200);
    }
    refused.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn several_of_one_event_are_listed_and_none_is_chosen() {
    let refused = Refused::start().await;
    for key in ["log.INFO", "log.WARN"] {
        publish(&refused, key, "both").await;
    }
    refused.listed("event=both", 2).await;
    let several = refused.ask(Method::GET, "/both").await;
    assert_eq!(several.status, 300);
    assert_eq!(several.json()["total"], 2);
    let shown = say(&refused, "show both").await;
    assert!(
        shown.success && shown.out.ends_with("2 of 2\n"),
        "{}",
        shown.out
    );
    for route in ["one", "two"] {
        assert!(shown.out.contains(route), "{}", shown.out);
    }
    assert!(
        say(&refused, "data both")
            .await
            .error
            .contains("several dead letters")
    );
    for verb in ["replay", "discard"] {
        let path = format!("/both/{verb}");
        let message = refused.ask(Method::POST, &path).await.problem(409);
        assert!(message.contains("several dead letters"), "{message}");
    }
    refused.listed("event=both&state=dead", 2).await;
    refused.ask(Method::GET, "/neither").await.problem(404);
    assert_eq!(
        refused.ask(Method::GET, "?event=neither").await.json()["total"],
        json!(0)
    );
    refused.stop().await;
}
