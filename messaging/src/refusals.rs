//! What RabbitMQ has refused to let its user publish, remembered for a moment.
//!
//! A refused publish costs the channel, and all that is in flight on it their verdict. Whoever
//! publishes the same again is told at once, and nothing is sent.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use lapin::types::ShortString;
use tokio::time::Instant;

use crate::{Message, PublishError};

/// So long, and a permission that is granted meanwhile takes no longer to be noticed.
const REMEMBERED: Duration = Duration::from_secs(10);
/// Beyond it all are forgotten; each then costs a channel once more.
const REFUSALS_MAX: usize = 1_000;
/// RabbitMQ cuts its words off with these, so that they fit into a short string.
const CUT: &str = "...";

/// The refusals of one publisher. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Refusals(Arc<Mutex<HashMap<Refused, Refusal>>>);

/// What may not be published.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Refused {
    /// Anything to an exchange.
    Exchange(ShortString),
    /// Messages of one routing key to a topic exchange.
    Topic(ShortString, ShortString),
    /// Bodies of more bytes than the refusal says.
    Large,
}

#[derive(Clone, Debug)]
struct Refusal {
    reason: Arc<str>,
    /// Of a body that is not refused.
    bytes_max: usize,
    until: Instant,
}

impl Refusals {
    /// Remembers that RabbitMQ gave `reason`, if it was about a message to `exchange` under
    /// `key`.
    pub(crate) fn note(&self, reason: &str, exchange: &ShortString, key: &ShortString) -> bool {
        let Some(refused) = Refused::of(reason, exchange, key) else {
            return false;
        };
        self.insert(refused, reason, 0);
        true
    }

    /// Remembers that RabbitMQ gave `reason`, and takes bodies of `bytes_max` at most.
    pub(crate) fn note_bytes_max(&self, reason: &str, bytes_max: usize) {
        self.insert(Refused::Large, reason, bytes_max);
    }

    fn insert(&self, refused: Refused, reason: &str, bytes_max: usize) {
        let refusal = Refusal {
            reason: reason.into(),
            bytes_max,
            until: Instant::now() + REMEMBERED,
        };
        let mut refusals = self.lock();
        if refusals.len() >= REFUSALS_MAX {
            refusals.clear();
        }
        refusals.insert(refused, refusal);
    }

    /// What is to be told of `message`, if it would be refused.
    pub(crate) fn verdict_of(&self, message: &Message) -> Option<PublishError> {
        let refused = self.verdict(&message.exchange, &message.routing_key);
        refused.or_else(|| self.too_large(message.payload.len()))
    }

    /// What is to be told of a body of `bytes`, if it would be refused.
    pub(crate) fn too_large(&self, bytes: usize) -> Option<PublishError> {
        let refusals = self.lock();
        let refusal = refusals.get(&Refused::Large)?;
        let is_refused = refusal.until > Instant::now() && bytes > refusal.bytes_max;
        is_refused.then(|| PublishError::TooLarge(refusal.reason.clone()))
    }

    /// What is to be told of a message to `exchange` under `key`, if it would be refused.
    pub(crate) fn verdict(
        &self,
        exchange: &ShortString,
        key: &ShortString,
    ) -> Option<PublishError> {
        let refusals = self.lock();
        if refusals.is_empty() {
            return None; // as it nearly always is
        }
        let topic = Refused::Topic(exchange.clone(), key.clone());
        let any = Refused::Exchange(exchange.clone());
        let now = Instant::now();
        let live = |refused| refusals.get(refused).filter(|refusal| refusal.until > now);
        let of_topic = live(&topic).map(|refusal| PublishError::Forbidden(refusal.reason.clone()));
        let of_any = live(&any).map(|refusal| PublishError::Disconnected(refusal.reason.clone()));
        of_topic.or(of_any)
    }

    /// Why nothing at all can be published to some exchange.
    pub(crate) fn of_exchange(&self) -> Option<Arc<str>> {
        let now = Instant::now();
        let refusals = self.lock();
        let mut live = refusals.iter().filter(|(_, refusal)| refusal.until > now);
        let (_, refusal) = live.find(|(refused, _)| matches!(refused, Refused::Exchange(_)))?;
        Some(refusal.reason.clone())
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Refused, Refusal>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Refused {
    /// RabbitMQ says what it refused in words only: `… topic 'KEY' in exchange 'EXCHANGE' …`, or
    /// `… exchange 'EXCHANGE' …`.
    fn of(reason: &str, exchange: &ShortString, key: &ShortString) -> Option<Self> {
        // RabbitMQ's name in such words for the exchange without a name.
        let name = match exchange.as_str() {
            "" => "amq.default",
            name => name,
        };
        if says(reason, &format!("topic '{key}' in exchange '{name}'")) {
            return Some(Self::Topic(exchange.clone(), key.clone()));
        }
        let about_topic = reason.contains(" topic '");
        let about_exchange = says(reason, &format!("exchange '{name}' in vhost"));
        (about_exchange && !about_topic).then(|| Self::Exchange(exchange.clone()))
    }
}

/// Whether `reason` has these words, or as many of them as it was not cut off before.
fn says(reason: &str, words: &str) -> bool {
    if reason.contains(words) {
        return true;
    }
    let Some(kept) = reason.strip_suffix(CUT) else {
        return false;
    };
    let quote = words.find('\'').unwrap_or_default();
    let start = kept.find(&words[..=quote]);
    start.is_some_and(|start| words.starts_with(&kept[start..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(refusals: &Refusals, reason: &str, exchange: &str, key: &str) -> bool {
        refusals.note(reason, &exchange.into(), &key.into())
    }

    fn verdict(refusals: &Refusals, exchange: &str, key: &str) -> Option<PublishError> {
        refusals.verdict(&exchange.into(), &key.into())
    }

    const TOPIC: &str = "ACCESS_REFUSED - access to topic 'order.placed' in exchange 'events' in vhost 'v' refused for user 'u'";
    const EXCHANGE: &str =
        "ACCESS_REFUSED - write access to exchange 'events' in vhost 'v' refused for user 'u'";

    #[tokio::test(start_paused = true)]
    async fn a_refused_type_is_refused_again_for_a_while_and_no_other_one() {
        let refusals = Refusals::default();
        assert!(!note(&refusals, TOPIC, "events", "order.place"));
        assert!(!note(&refusals, TOPIC, "others", "order.placed"));
        assert!(note(&refusals, TOPIC, "events", "order.placed"));
        let forbidden = Some(PublishError::Forbidden(TOPIC.into()));
        assert_eq!(verdict(&refusals, "events", "order.placed"), forbidden);
        assert_eq!(verdict(&refusals, "events", "order.paid"), None);
        assert_eq!(refusals.of_exchange(), None);
        tokio::time::advance(REMEMBERED).await;
        assert_eq!(verdict(&refusals, "events", "order.placed"), None);
    }

    #[test]
    fn a_refused_exchange_takes_nothing() {
        let refusals = Refusals::default();
        assert!(!note(&refusals, EXCHANGE, "event", "order.placed"));
        assert!(note(&refusals, EXCHANGE, "events", "order.placed"));
        let away = Some(PublishError::Disconnected(EXCHANGE.into()));
        assert_eq!(verdict(&refusals, "events", "order.paid"), away);
        assert_eq!(refusals.of_exchange().as_deref(), Some(EXCHANGE));
        assert_eq!(verdict(&refusals, "others", "order.paid"), None);
        let default = EXCHANGE.replace("'events'", "'amq.default'");
        assert!(note(&refusals, &default, "", "q"));
    }

    #[test]
    fn a_size_that_is_refused_leaves_smaller_ones() {
        let refusals = Refusals::default();
        assert_eq!(refusals.too_large(usize::MAX), None);
        refusals.note_bytes_max("too large", 100);
        let told = PublishError::TooLarge("too large".into());
        assert_eq!(refusals.too_large(101), Some(told));
        assert_eq!(refusals.too_large(100), None);
        assert_eq!(verdict(&refusals, "events", "order.paid"), None);
        assert_eq!(refusals.of_exchange(), None);
    }

    #[test]
    fn words_that_were_cut_off_are_understood() {
        let refusals = Refusals::default();
        let long = "o".repeat(250);
        let cut = format!("ACCESS_REFUSED - access to topic '{}...", "o".repeat(219));
        assert!(note(&refusals, &cut, "events", &long));
        assert!(!note(&refusals, &cut, "events", "log.INFO"));
        assert!(verdict(&refusals, "events", &long).is_some());
    }

    #[test]
    fn so_many_are_remembered_and_no_more() {
        let refusals = Refusals::default();
        for number in 0..=REFUSALS_MAX {
            let reason = TOPIC.replace("order.placed", &format!("order.{number}"));
            assert!(note(
                &refusals,
                &reason,
                "events",
                &format!("order.{number}")
            ));
        }
        assert_eq!(refusals.lock().len(), 1);
    }
}
