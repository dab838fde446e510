//! An event that no attempt could deliver, as it lies in the dead letters of a route, and the
//! message that sends it on its way once more.

use event::Event;
use lapin::types::AMQPValue;
use uuid::Uuid;

use crate::{
    Delivery,
    death::Death,
    event::properties,
    handoff::{
        ANSWER, ATTEMPT, DEATH, FIRST_FAILURE, LAST_FAILURE, ORIGINAL_EXCHANGE, ORIGINAL_KEY,
        REASON, STATUS,
    },
    headers::{Headers, integer, text},
    message::Message,
    topology::RETRY_EXCHANGE,
};

/// A dead letter with its story.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// The event, as it was.
    pub event: Event,
    /// Where the event was published first.
    pub exchange: String,
    /// The routing key it was published with first.
    pub routing_key: String,
    /// Tells this death of the event from any other. A redelivery of the dead letter keeps it.
    pub death: String,
    /// Attempts that were made.
    pub attempts: u32,
    /// Why the last one failed.
    pub reason: String,
    /// The HTTP status of the target's last answer.
    pub status: Option<u16>,
    /// The beginning of that answer.
    pub answer: Option<String>,
    /// When the first attempt failed, RFC 3339.
    pub first_failure: Option<String>,
    /// When the last attempt failed, RFC 3339.
    pub last_failure: Option<String>,
}

impl DeadLetter {
    /// Reads what was consumed from a queue of dead letters, whoever put it there.
    pub fn read(delivery: Delivery) -> Self {
        let headers = delivery.properties.headers().clone().unwrap_or_default();
        let owned = |name| text(&headers, name).map(str::to_owned);
        let story = |name| owned(name).filter(|value| !value.is_empty());
        // What RabbitMQ moved itself may hold the story of an earlier attempt, or even of an
        // earlier death; a hand-off of the listener leaves no `x-death` behind.
        let moved = Death::last(&headers);
        let own = story(DEATH).filter(|_| delivery.handed_off && moved.is_none());
        let reason = match (&own, moved) {
            (Some(_), _) => story(REASON).unwrap_or_else(|| "unknown".to_owned()),
            (None, Some(death)) => gave_up(death.reason),
            (None, None) => "another program put it here".to_owned(),
        };
        // A new one each time it is read: a redelivery may then count twice, but no death is ever
        // taken for an earlier one that has been dealt with.
        let death = own.unwrap_or_else(|| Uuid::now_v7().to_string());
        Self {
            death,
            attempts: delivery.attempt,
            reason,
            status: integer(&headers, STATUS).and_then(|status| status.try_into().ok()),
            answer: owned(ANSWER),
            first_failure: story(FIRST_FAILURE),
            last_failure: story(LAST_FAILURE),
            exchange: delivery.exchange,
            routing_key: delivery.routing_key,
            event: delivery.event,
        }
    }
}

impl Message {
    /// The message that brings `event` back into the queue `queue` of its route, for a first
    /// attempt. `exchange` and `routing_key` say where it was published first.
    pub fn replay(event: Event, queue: &str, exchange: &str, routing_key: &str) -> Self {
        let mut headers = Headers::new();
        headers.insert(ATTEMPT, AMQPValue::LongLongInt(1));
        headers.insert_text(ORIGINAL_EXCHANGE, exchange);
        headers.insert_text(ORIGINAL_KEY, routing_key);
        Self {
            exchange: RETRY_EXCHANGE.into(),
            routing_key: queue.into(),
            mandatory: true,
            properties: properties(&event, headers),
            payload: event.data,
        }
    }
}

/// In words, why RabbitMQ moved a message here.
fn gave_up(reason: Option<&str>) -> String {
    match reason {
        Some("delivery_limit") => {
            "RabbitMQ gave it up: whoever got it went away without an answer, again and again"
                .to_owned()
        }
        reason => format!("RabbitMQ moved it here: {}", reason.unwrap_or("unknown")),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use lapin::{
        BasicProperties,
        message::Delivery as Raw,
        types::{FieldArray, FieldTable},
    };

    use super::*;
    use crate::Failure;

    fn delivery(queue: &str, exchange: &str, key: &str, properties: BasicProperties) -> Delivery {
        let mut raw = Raw::mock(1, exchange.into(), key.into(), false, b"data".to_vec());
        raw.properties = properties;
        Delivery::read(queue, raw)
    }

    fn failure() -> Failure {
        Failure {
            reason: "the target answered 422".to_owned(),
            status: Some(422),
            answer: Some("no such tenant".to_owned()),
        }
    }

    fn dead() -> DeadLetter {
        let first = delivery("Q", "events", "a b", BasicProperties::default());
        let wait = Duration::from_secs(1);
        let retry = first.retry(wait, wait, &failure()).properties;
        let second = delivery("Q", RETRY_EXCHANGE, "Q", retry);
        let copy = second.dead_letter(&failure());
        DeadLetter::read(delivery(
            "Q.dead",
            RETRY_EXCHANGE,
            "Q.dead",
            copy.properties,
        ))
    }

    #[test]
    fn a_dead_letter_tells_its_story() {
        let dead = dead();
        assert_eq!(dead.attempts, 2);
        assert_eq!(dead.reason, "the target answered 422");
        assert_eq!(dead.status, Some(422));
        assert_eq!(dead.answer.as_deref(), Some("no such tenant"));
        assert!(dead.first_failure <= dead.last_failure && dead.first_failure.is_some());
        assert_eq!(
            (dead.exchange.as_str(), dead.routing_key.as_str()),
            ("events", "a b")
        );
        assert_ne!(dead.death, self::dead().death);
    }

    #[test]
    fn a_replay_is_a_first_attempt_of_the_same_event() {
        let dead = dead();
        let replay = Message::replay(dead.event.clone(), "Q", &dead.exchange, &dead.routing_key);
        assert_eq!(replay.routing_key.as_str(), "Q");
        assert!(replay.mandatory);
        let again = delivery("Q", RETRY_EXCHANGE, "Q", replay.properties);
        assert_eq!(again.event, dead.event);
        assert_eq!(again.attempt, 1);
        assert_eq!(
            (again.exchange, again.routing_key),
            (dead.exchange, dead.routing_key)
        );
    }

    /// A listener that is killed by an event each time never hands it off.
    #[test]
    fn what_rabbitmq_moves_keeps_its_id_and_has_a_reason() {
        let mut keys = FieldArray::default();
        keys.push(AMQPValue::LongString("a b".into()));
        let mut entry = FieldTable::default();
        for (name, value) in [("reason", "delivery_limit"), ("exchange", "events")] {
            entry.insert(name.into(), AMQPValue::LongString(value.into()));
        }
        entry.insert("routing-keys".into(), AMQPValue::FieldArray(keys));
        let mut deaths = FieldArray::default();
        deaths.push(AMQPValue::FieldTable(entry));
        let mut headers = FieldTable::default();
        headers.insert("x-death".into(), AMQPValue::FieldArray(deaths));
        let named = BasicProperties::default().with_message_id("m-1".into());
        let moved = named.clone().with_headers(headers);

        let first = delivery("Q", "events", "a b", named);
        let read =
            |exchange| DeadLetter::read(delivery("Q.dead", exchange, "Q.dead", moved.clone()));
        let dead = read(RETRY_EXCHANGE);
        assert_eq!(dead.event, first.event);
        assert!(dead.reason.contains("gave it up"), "{}", dead.reason);
        assert_ne!(dead.death, read(RETRY_EXCHANGE).death);
        // The header of a message that came another way is anybody's.
        assert_eq!(read("").exchange, "");
    }

    /// Somebody put a dead letter back into its queue by hand, with all its headers, and there it
    /// was given up.
    #[test]
    fn an_earlier_death_is_not_this_one() {
        let first = delivery("Q", "events", "key", BasicProperties::default());
        let dead = first.dead_letter(&failure()).properties;
        let read = |exchange, properties| {
            DeadLetter::read(delivery("Q.dead", exchange, "Q.dead", properties))
        };
        let earlier = read(RETRY_EXCHANGE, dead.clone());
        let mut headers = dead.headers().clone().unwrap();
        let mut deaths = FieldArray::default();
        deaths.push(AMQPValue::FieldTable(FieldTable::default()));
        headers.insert("x-death".into(), AMQPValue::FieldArray(deaths));
        for later in [
            read(RETRY_EXCHANGE, dead.clone().with_headers(headers)),
            read("", dead.clone()),
        ] {
            assert_ne!(later.death, earlier.death);
            assert_ne!(later.reason, earlier.reason);
            assert_eq!(later.event.id, earlier.event.id);
        }
        assert_eq!(read(RETRY_EXCHANGE, dead).death, earlier.death);
    }
}
