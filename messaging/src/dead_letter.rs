//! An event that no attempt could deliver, as it lies in the dead letters of a route, and the
//! message that sends it on its way once more.

use bytes::Bytes;
use event::Event;
use lapin::{BasicProperties, types::AMQPValue};
use uuid::Uuid;

use crate::{
    Delivery,
    death::Death,
    event::{insert_headers, properties},
    expiry::Expiry,
    handoff::{
        ANSWER, ATTEMPT, DEATH, EXPIRES_AT, FIRST_FAILURE, LAST_FAILURE, ORIGINAL_EXCHANGE,
        ORIGINAL_KEY, REASON, STATUS, with_rest,
    },
    headers::{DROPPED, Headers, integer, text},
    message::Message,
    original::{carry, keep_properties, read_original},
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
    /// Identifies this death: a later one of the same event has another. A redelivery of the dead letter keeps it.
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
    /// What the message carried beside its event, for a [`Replay`].
    pub original: Bytes,
}

/// A dead letter that is to be delivered after all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replay {
    /// The event, as it was.
    pub event: Event,
    /// The queue of its route.
    pub queue: String,
    /// Where the event was published first.
    pub exchange: String,
    /// The routing key it was published with first.
    pub routing_key: String,
    /// When its first attempt of all failed, RFC 3339.
    pub first_failure: Option<String>,
    /// What the message carried beside its event, where that is known.
    pub original: Option<Bytes>,
}

/// Why a dead letter is not delivered any more.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReplayError {
    /// Its sender wanted it by then.
    #[error("its sender wants it delivered no more: it expired at {0}")]
    Expired(String),
    /// What was kept of the message was not written by a dead letter.
    #[error("what the message carried cannot be read")]
    Damaged,
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
        let original = delivery.original();
        Self {
            death,
            original,
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

impl Replay {
    /// The message that brings the event back into the queue of its route, for a first attempt.
    ///
    /// # Errors
    /// When nobody wants it any more, or what was kept of it is damaged.
    pub fn into_message(self) -> Result<Message, ReplayError> {
        let original = match self.original {
            Some(bytes) => read_original(&bytes).ok_or(ReplayError::Damaged)?,
            None => BasicProperties::default(),
        };
        let originals = original.headers().clone().unwrap_or_default();
        let expiry = integer(&originals, EXPIRES_AT).map(Expiry);
        if let Some(expiry) = expiry.filter(|expiry| expiry.remaining().is_none()) {
            return Err(ReplayError::Expired(expiry.to_string()));
        }
        let mut headers = Headers::new();
        headers.insert(ATTEMPT, AMQPValue::LongLongInt(1));
        headers.insert_text(ORIGINAL_EXCHANGE, &self.exchange);
        headers.insert_text(ORIGINAL_KEY, &self.routing_key);
        if let Some(first_failure) = &self.first_failure {
            headers.insert_text(FIRST_FAILURE, first_failure);
        }
        if let Some(Expiry(at)) = expiry {
            headers.insert(EXPIRES_AT, AMQPValue::LongLongInt(at));
        }
        // Before those that may crowd them out.
        insert_headers(&self.event, &mut headers);
        if let Some(dropped) = text(&originals, DROPPED) {
            headers.dropped_before(dropped);
        }
        // What is left of the attributes' headers was none.
        carry(&originals, None, &mut headers);
        let mut properties = keep_properties(&original, properties(&self.event, headers));
        if let Some(expiry) = expiry {
            properties = with_rest(properties, expiry);
        }
        Ok(Message {
            exchange: RETRY_EXCHANGE.into(),
            routing_key: self.queue.as_str().into(),
            mandatory: true,
            properties,
            payload: self.event.data,
        })
    }
}

/// In words, why RabbitMQ moved a message here.
fn gave_up(reason: Option<&str>) -> String {
    match reason {
        Some("delivery_limit") => {
            "RabbitMQ gave it up: whoever got it went away without an answer, again and again"
                .to_owned()
        }
        Some("rejected") => {
            "it was to be handed off, and RabbitMQ takes no copy of a message as large (max_message_size)"
                .to_owned()
        }
        reason => format!("RabbitMQ moved it here: {}", reason.unwrap_or("unknown")),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use lapin::{
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

    fn replay(dead: &DeadLetter) -> Replay {
        Replay {
            event: dead.event.clone(),
            queue: "Q".to_owned(),
            exchange: dead.exchange.clone(),
            routing_key: dead.routing_key.clone(),
            first_failure: dead.first_failure.clone(),
            original: Some(dead.original.clone()),
        }
    }

    /// All but what would reroute it or impersonate somebody.
    #[test]
    fn a_replay_carries_what_the_message_carried() {
        let mut nested = FieldTable::default();
        nested.insert("deep".into(), AMQPValue::Double(f64::NAN));
        let kept = [
            ("n", AMQPValue::LongLongInt(7)),
            ("yes", AMQPValue::Boolean(true)),
            ("at", AMQPValue::Timestamp(1_700_000_000)),
            ("bytes", AMQPValue::ByteArray(vec![0xff, 0].into())),
            ("text", AMQPValue::LongString(vec![0xe9].into())),
            ("service", AMQPValue::LongString("billing".into())),
            ("nothing", AMQPValue::Void),
        ];
        let mut headers = FieldTable::default();
        for (name, value) in kept.clone() {
            headers.insert(name.into(), value);
        }
        headers.insert("nested".into(), AMQPValue::FieldTable(nested));
        for name in ["CC", "BCC", "x-death", "x-gw-expires-at"] {
            headers.insert(name.into(), AMQPValue::LongLongInt(1));
        }
        let properties = BasicProperties::default()
            .with_headers(headers)
            .with_content_type("application/json".into())
            .with_content_encoding("gzip".into())
            .with_priority(7)
            .with_correlation_id("c-1".into())
            .with_reply_to("replies".into())
            .with_timestamp(1_700_000_000)
            .with_type("placed".into())
            .with_app_id("shop".into())
            .with_cluster_id("east".into())
            .with_message_id("m-1".into())
            .with_expiration("60000".into())
            .with_user_id("guest".into());
        let first = delivery("Q", "events", "a b", properties.clone());
        let copy = first.dead_letter(&failure()).properties;
        let read = |queue, properties| delivery(queue, RETRY_EXCHANGE, queue, properties);
        let dead = DeadLetter::read(read("Q.dead", copy));
        let again = replay(&dead).into_message().unwrap().properties;
        let table = again.headers().clone().unwrap();
        for (name, value) in kept {
            assert_eq!(table.inner().get(name), Some(&value), "{name}");
        }
        assert!(matches!(
            table.inner().get("nested"),
            Some(AMQPValue::FieldTable(_))
        ));
        assert!(
            ["CC", "BCC", "x-death"]
                .iter()
                .all(|name| !table.contains_key(name))
        );
        assert_eq!(text(&table, FIRST_FAILURE), dead.first_failure.as_deref());
        let of = |read: &BasicProperties| keep_properties(read, BasicProperties::default());
        assert_eq!(of(&again), of(&properties));
        assert!(again.user_id().is_none());
        assert_eq!(again.message_id().as_ref().unwrap().as_str(), "m-1");
        let again = read("Q", again);
        assert_eq!((again.expiry, &again.event), (first.expiry, &first.event));
    }

    #[test]
    fn what_is_past_its_time_is_not_replayed() {
        let mut expired = delivery("Q", "events", "a", BasicProperties::default());
        expired.expiry = Some(Expiry(1_000));
        let copy = expired.dead_letter(&failure()).properties;
        let dead = DeadLetter::read(delivery("Q.dead", RETRY_EXCHANGE, "Q.dead", copy));
        let error = replay(&dead).into_message().unwrap_err();
        assert_eq!(
            error,
            ReplayError::Expired("1970-01-01T00:00:01Z".to_owned())
        );
        let damaged = Replay {
            original: Some(Bytes::from_static(b"\xff\xff")),
            ..replay(&dead)
        };
        assert_eq!(damaged.into_message().unwrap_err(), ReplayError::Damaged);
        // What was stored before is replayed as it was.
        let old = Replay {
            original: None,
            ..replay(&dead)
        };
        assert!(old.into_message().is_ok());
    }

    #[test]
    fn a_replay_is_a_first_attempt_of_the_same_event() {
        let dead = dead();
        let replay = replay(&dead).into_message().unwrap();
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
