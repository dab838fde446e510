//! The copies of a message that go to a retry queue or to the dead letters.
//!
//! A copy is published and confirmed before the original is acknowledged, so there is no instant
//! at which the event is in no queue. RabbitMQ's `x-death` cannot carry the count of attempts:
//! RabbitMQ 4 ignores what a client sends there.

use std::time::Duration;

use lapin::{BasicProperties, types::AMQPValue};
use uuid::Uuid;

use crate::{
    Delivery,
    event::insert_headers,
    expiry::Expiry,
    headers::{Headers, text},
    message::{Message, PERSISTENT, short},
    original::keep_properties,
    topology::{RETRY_EXCHANGE, dead_queue, retry_queue},
    wire::{CLEANED, NOTE_BYTES_MAX},
};

/// Number of the attempt that the copy is for, from 1.
pub(crate) const ATTEMPT: &str = "x-gw-attempt";
/// Exchange of the first publish.
pub(crate) const ORIGINAL_EXCHANGE: &str = "x-gw-exchange";
/// Routing key of the first publish.
pub(crate) const ORIGINAL_KEY: &str = "x-gw-routing-key";
/// When the first attempt failed, RFC 3339.
pub(crate) const FIRST_FAILURE: &str = "x-gw-first-failure";
/// When the last attempt failed, RFC 3339.
pub(crate) const LAST_FAILURE: &str = "x-gw-last-failure";
/// Why the last attempt failed.
pub(crate) const REASON: &str = "x-gw-reason";
/// HTTP status of the last attempt, where there was one.
pub(crate) const STATUS: &str = "x-gw-status";
/// What the target said in the last attempt, shortened.
pub(crate) const ANSWER: &str = "x-gw-answer";
/// Tells this hand-off to the dead letters from any other of the same event.
pub(crate) const DEATH: &str = "x-gw-death";

/// When its sender wants it delivered no more, in milliseconds since 1970 UTC.
pub(crate) const EXPIRES_AT: &str = "x-gw-expires-at";

/// The longest expiration of a message in RabbitMQ.
const EXPIRATION_MAX: Duration = Duration::from_millis(u32::MAX as u64);
/// More than a time in RFC 3339 has.
const TIME_BYTES_MAX: usize = 64;

/// What all of these begin with.
pub(crate) const OWN_PREFIX: &str = "x-gw-";

/// Why an attempt failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// In words, without any of the event's data.
    pub reason: String,
    /// The HTTP status of the target's answer, where it gave one.
    pub status: Option<u16>,
    /// The beginning of that answer. It may repeat the event's data, so it is for the copy only
    /// and never for a log.
    pub answer: Option<String>,
}

impl Delivery {
    /// The copy for the next attempt, `delay` from now. It waits in the queue of `level`, one of
    /// the route's topology, whose messages stay that long at most; a copy with a shorter delay
    /// may have to wait for those before it.
    pub fn retry(&self, level: Duration, delay: Duration, failure: &Failure) -> Message {
        let queue = retry_queue(&self.queue, level);
        let next = self.attempt.saturating_add(1);
        let mut message = self.handoff(&queue, next, failure, Headers::new());
        // RabbitMQ drops the property when it moves the expired message on.
        let expiration = short(&delay.as_millis().to_string()).unwrap_or_default();
        message.properties = message.properties.with_expiration(expiration);
        message
    }

    /// The copy that takes this delivery's place at the end of its queue, without an attempt used
    /// up. RabbitMQ counts how often a message itself came back, and gives it up at a limit.
    pub fn put_back(&self, failure: &Failure) -> Message {
        let mut message = self.handoff(&self.queue, self.attempt, failure, Headers::new());
        if let Some(expiry) = self.expiry {
            message.properties = with_rest(message.properties, expiry);
        }
        message
    }

    /// The copy for the dead letters.
    pub fn dead_letter(&self, failure: &Failure) -> Message {
        let mut headers = Headers::new();
        headers.insert_text(DEATH, &Uuid::now_v7().to_string());
        self.handoff(&dead_queue(&self.queue), self.attempt, failure, headers)
    }

    fn handoff(
        &self,
        queue: &str,
        attempt: u32,
        failure: &Failure,
        mut headers: Headers,
    ) -> Message {
        let now = jiff::Timestamp::now().to_string();
        let inherited = self.properties.headers().as_ref();
        let first = inherited
            .and_then(|headers| text(headers, FIRST_FAILURE))
            // A longer one is forged, and would crowd out the rest.
            .filter(|first| self.handed_off && first.len() <= TIME_BYTES_MAX)
            .unwrap_or(&now);
        headers.insert(ATTEMPT, AMQPValue::LongLongInt(attempt.into()));
        headers.insert_text(ORIGINAL_EXCHANGE, &self.exchange);
        headers.insert_text(ORIGINAL_KEY, &self.routing_key);
        headers.insert_text(FIRST_FAILURE, first);
        headers.insert_text(LAST_FAILURE, &now);
        headers.insert_text(REASON, &failure.reason);
        if let Some(status) = failure.status {
            headers.insert(STATUS, AMQPValue::LongInt(status.into()));
        }
        insert_headers(&self.event, &mut headers);
        if let Some(answer) = &failure.answer {
            headers.insert_text(ANSWER, answer);
        }
        let cleaned = inherited.and_then(|headers| text(headers, CLEANED));
        if let Some(cleaned) = cleaned.filter(|note| note.len() <= NOTE_BYTES_MAX) {
            headers.insert_text(CLEANED, cleaned);
        }
        self.carry_headers(&mut headers);
        let own = BasicProperties::default()
            .with_headers(headers.into_table())
            .with_delivery_mode(PERSISTENT);
        let mut properties = keep_properties(&self.properties, own);
        if let Some(id) = short(&self.event.id) {
            properties = properties.with_message_id(id);
        }
        // Not that of the original, which may say that the body holds the attributes too.
        if let Some(content_type) = self.event.content_type.as_deref().and_then(short) {
            properties = properties.with_content_type(content_type);
        }
        Message {
            exchange: RETRY_EXCHANGE.into(),
            routing_key: queue.into(),
            mandatory: true,
            properties,
            payload: self.event.data.clone(),
        }
    }
}

/// With the time that remains, for a copy that goes straight to the queue of its route. An expired event
/// gets one millisecond, and the next attempt finds it expired. RabbitMQ closes the channel of a message that
/// asks for more than 49 days, so that is the most.
pub(crate) fn with_rest(properties: BasicProperties, expiry: Expiry) -> BasicProperties {
    let rest = expiry.remaining().unwrap_or(Duration::from_millis(1));
    let rest = rest.min(EXPIRATION_MAX);
    let rest = short(&rest.as_millis().to_string()).unwrap_or_default();
    properties.with_expiration(rest)
}

#[cfg(test)]
mod tests {
    use lapin::{message::Delivery as Raw, types::FieldTable};

    use super::*;
    use crate::{
        headers::{DROPPED, entries, integer},
        original::STRIPPED,
    };

    fn failure() -> Failure {
        Failure {
            reason: "the target answered 503".to_owned(),
            status: Some(503),
            answer: Some("come back later".to_owned()),
        }
    }

    fn raw(exchange: &str, key: &str, properties: BasicProperties) -> Raw {
        let mut raw = Raw::mock(1, exchange.into(), key.into(), false, b"data".to_vec());
        raw.properties = properties;
        raw
    }

    fn redelivered(copy: Message) -> Delivery {
        // RabbitMQ routes an expired copy back to the queue through the same exchange.
        Delivery::read("Q", raw(RETRY_EXCHANGE, "Q", copy.properties))
    }

    /// RabbitMQ closes the channel of a longer one, and all that is under way on it.
    #[test]
    fn what_remains_for_ever_is_what_rabbitmq_takes() {
        for at in [8_000_000_000_000_000_000, i64::MAX] {
            let mut headers = Headers::new();
            headers.insert(EXPIRES_AT, AMQPValue::LongLongInt(at));
            let properties = BasicProperties::default().with_headers(headers.into_table());
            let delivery = Delivery::read("Q", raw(RETRY_EXCHANGE, "Q", properties));
            let copy = delivery.put_back(&failure()).properties;
            assert_eq!(copy.expiration().as_ref().unwrap().as_str(), "4294967295");
            let headers = copy.headers().as_ref().unwrap();
            assert_eq!(integer(headers, EXPIRES_AT), Some(at));
        }
    }

    /// They would say what is ours to say, or make the copy another event than the original was.
    #[test]
    fn a_copy_names_what_its_producer_wrote_under_names_of_ours() {
        let mut headers = Headers::new();
        for (name, value) in [
            ("x-tenant", "blue"),
            ("x-gw-note", "mine"),
            ("cloudEvents_subject", "S"),
            // As the copy has it anyway.
            ("cloudEvents_source", "amqp:events"),
        ] {
            headers.insert_text(name, value);
        }
        headers.insert_text(CLEANED, "a note");
        let properties = BasicProperties::default().with_headers(headers.into_table());
        let first = Delivery::read("Q", raw("events", "a.b", properties));
        let retry = first.retry(Duration::from_secs(1), Duration::from_secs(1), &failure());
        let second = redelivered(retry);
        for copy in [
            second.dead_letter(&failure()),
            first.dead_letter(&failure()),
        ] {
            let headers = copy.properties.headers().as_ref().unwrap();
            let dropped = text(headers, DROPPED).unwrap();
            let mut names: Vec<_> = dropped.split(", ").collect();
            names.sort_unstable();
            assert_eq!(names, ["cloudEvents_subject", "x-gw-note"]);
            assert_eq!(text(headers, "x-tenant"), Some("blue"));
            assert_eq!(text(headers, CLEANED), Some("a note"));
        }
        // With an id the attributes are the event's, and nothing is lost.
        let mut headers = Headers::new();
        for name in ["cloudEvents_id", "cloudEvents_subject", "cloudEvents_other"] {
            headers.insert_text(name, "1");
        }
        let properties = BasicProperties::default().with_headers(headers.into_table());
        let copy = Delivery::read("Q", raw("events", "a.b", properties)).dead_letter(&failure());
        let headers = copy.properties.headers().as_ref().unwrap();
        assert!(!headers.contains_key(DROPPED), "{headers:?}");
    }

    #[test]
    fn a_retry_counts_up_and_keeps_what_the_event_was() {
        let foreign = BasicProperties::default().with_app_id("shop".into());
        let first = Delivery::read("Q", raw("events", "order placed", foreign));
        assert_eq!(first.attempt, 1);

        let copy = first.retry(
            Duration::from_secs(1),
            Duration::from_millis(850),
            &failure(),
        );
        assert_eq!(copy.routing_key.as_str(), "Q.retry.1000");
        assert_eq!(
            copy.properties.expiration().as_ref().unwrap().as_str(),
            "850"
        );
        assert!(copy.mandatory);
        let second = redelivered(copy);
        assert_eq!(second.attempt, 2);
        assert_eq!(second.event, first.event);
        assert_eq!(
            (second.exchange.as_str(), second.routing_key.as_str()),
            ("events", "order placed")
        );

        let dead = second.dead_letter(&failure());
        assert_eq!(dead.routing_key.as_str(), "Q.dead");
        let headers = dead.properties.headers().as_ref().unwrap();
        assert_eq!(integer(headers, ATTEMPT), Some(2));
        assert_eq!(integer(headers, STATUS), Some(503));
        assert_eq!(text(headers, REASON), Some("the target answered 503"));
        assert!(text(headers, FIRST_FAILURE).unwrap() <= text(headers, LAST_FAILURE).unwrap());
    }

    #[test]
    fn what_is_put_back_has_used_up_no_attempt_and_keeps_its_first_failure() {
        let first = Delivery::read("Q", raw("events", "key", BasicProperties::default()));
        let again = redelivered(first.put_back(&failure()));
        assert_eq!((again.attempt, &again.event), (1, &first.event));
        let second = again.put_back(&failure());
        assert_eq!(second.routing_key.as_str(), "Q");
        let headers = |properties: &BasicProperties| properties.headers().clone().unwrap();
        let (old, new) = (headers(&again.properties), headers(&second.properties));
        assert_eq!(text(&old, FIRST_FAILURE), text(&new, FIRST_FAILURE));
        assert_ne!(text(&new, FIRST_FAILURE), text(&new, LAST_FAILURE));
    }

    #[test]
    fn a_copy_drops_what_would_reroute_expire_or_impersonate() {
        let mut headers = Headers::new();
        for name in ["CC", "BCC", "x-death", "x-gw-status", "tenant"] {
            headers.insert_text(name, "value");
        }
        let properties = BasicProperties::default()
            .with_headers(headers.into_table())
            .with_user_id("admin".into())
            .with_expiration("1".into())
            .with_reply_to("elsewhere".into());
        let copy = Delivery::read("Q", raw("events", "key", properties)).dead_letter(&failure());
        let headers = copy.properties.headers().as_ref().unwrap();
        assert_eq!(text(headers, "tenant"), Some("value"));
        assert!(STRIPPED.iter().all(|name| text(headers, name).is_none()));
        assert_eq!(integer(headers, STATUS), Some(503));
        assert!(copy.properties.user_id().is_none());
        assert!(copy.properties.expiration().is_none());
        let asked = copy.properties.reply_to().as_ref().unwrap();
        assert_eq!(asked.as_str(), "elsewhere");
    }

    /// What a sender set as a span counts on from the first delivery, through all copies.
    #[test]
    fn a_copy_keeps_until_when_its_event_is_wanted() {
        let of = |milliseconds: &str| {
            let properties = BasicProperties::default().with_expiration(milliseconds.into());
            Delivery::read("Q", raw("events", "key", properties))
        };
        let first = of("60000");
        let second = redelivered(first.retry(
            Duration::from_secs(1),
            Duration::from_millis(850),
            &failure(),
        ));
        assert_eq!(second.expiry, first.expiry);
        let back = second.put_back(&failure()).properties;
        let rest: u64 = back
            .expiration()
            .as_ref()
            .unwrap()
            .as_str()
            .parse()
            .unwrap();
        assert!((50_000..=60_000).contains(&rest), "{rest}");
        assert_eq!(
            redelivered(second.put_back(&failure())).expiry,
            first.expiry
        );
        assert!(
            second
                .dead_letter(&failure())
                .properties
                .expiration()
                .is_none()
        );
        assert!(second.expired().is_none());

        let mut late = second;
        late.expiry = Some(Expiry(1_000));
        let late = redelivered(late.put_back(&failure()));
        let reason = late.expired().unwrap().reason;
        assert!(reason.ends_with("at 1970-01-01T00:00:01Z"), "{reason}");
        for forever in [&u64::MAX.to_string()[..], "no number", ""] {
            assert!(of(forever).expired().is_none(), "{forever}");
        }
        // Delivered in time, by RabbitMQ's word.
        assert!(of("0").expired().is_none());
    }

    #[test]
    fn an_expiry_counts_only_from_our_own_exchange() {
        let mut headers = FieldTable::default();
        headers.insert(EXPIRES_AT.into(), AMQPValue::LongLongInt(1));
        let forged = BasicProperties::default().with_headers(headers);
        let forged = Delivery::read("Q", raw("events", "key", forged));
        assert!(forged.expired().is_none());
        let copy = forged.put_back(&failure()).properties.headers().clone();
        assert!(!copy.unwrap().contains_key(EXPIRES_AT));
    }

    /// Such a copy would close the connection of every route, again and again.
    #[test]
    fn a_copy_fits_into_a_frame_whatever_its_original_held() {
        let mut headers = FieldTable::default();
        for name in [
            "cloudEvents:id",
            "cloudEvents:subject",
            "cloudEvents:type",
            "other",
        ] {
            let value = AMQPValue::LongString("x".repeat(40_000).into());
            headers.insert(name.into(), value);
        }
        headers.insert("tenant".into(), AMQPValue::LongString("blue".into()));
        let properties = BasicProperties::default().with_headers(headers);
        let dead = Delivery::read("Q", raw("events", "key", properties)).dead_letter(&failure());
        let headers = dead.properties.headers().as_ref().unwrap();
        let bytes: usize = entries(headers)
            .filter_map(|(name, _)| text(headers, name.as_str()))
            .map(str::len)
            .sum();
        assert!(bytes < 64 * 1024, "{bytes}");
        assert_eq!(text(headers, "tenant"), Some("blue"));
        assert_eq!(integer(headers, ATTEMPT), Some(1));
        // Named, by this copy and by those that follow it.
        let dropped = text(headers, DROPPED).unwrap();
        assert!(dropped.contains("other"), "{dropped}");
        let again = redelivered(dead.clone()).put_back(&failure());
        let again = again.properties.headers().clone().unwrap();
        assert_eq!(text(&again, DROPPED), Some(dropped));
        assert!(entries(headers).all(|(name, _)| !name.as_str().starts_with("cloudEvents:")));
    }

    #[test]
    fn attempts_count_only_from_our_own_exchange() {
        let mut headers = FieldTable::default();
        headers.insert(ATTEMPT.into(), AMQPValue::LongLongInt(i64::MAX));
        let forged = BasicProperties::default().with_headers(headers);
        assert_eq!(
            Delivery::read("Q", raw("events", "key", forged.clone())).attempt,
            1
        );
        assert_eq!(
            Delivery::read("Q", raw(RETRY_EXCHANGE, "Q", forged)).attempt,
            1
        );
    }
}
