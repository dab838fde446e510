//! Which publish a confirm and a return belong to.
//!
//! RabbitMQ sends the return of an unroutable message before its confirm, but lapin attaches a
//! return to whichever confirm completes next, not to its own. So a confirm that resolves is not
//! yet a verdict. Its returned message, whosever it is, is remembered by identity, and the verdict
//! waits until every return that can belong to it has been seen: until lapin has completed the
//! whole batch of confirms that it came in, and all that are complete by then are noted.

use std::collections::HashMap;

use lapin::Confirmation;
use tokio::sync::oneshot;

use crate::{
    PublishError,
    message::{Identity, identity},
};

/// Whom to tell the verdict.
pub(crate) type Waiting = oneshot::Sender<Result<(), PublishError>>;

/// A publish whose confirm has resolved.
pub(crate) struct Resolved {
    identity: Identity,
    acked: bool,
    waiting: Option<Waiting>,
}

/// The publishes of one channel between their confirm and their verdict.
#[derive(Default)]
pub(crate) struct Verdicts {
    resolved: Vec<Resolved>,
    returned: HashMap<Identity, usize>,
}

impl Verdicts {
    /// Notes a confirm, and the return that came along with it. With nobody waiting any more it is
    /// noted all the same: its own return must not be left behind.
    pub(crate) fn resolve(
        &mut self,
        identity: Identity,
        confirm: Confirmation,
        waiting: Option<Waiting>,
    ) {
        let acked = confirm.is_ack();
        if let Some(message) = confirm.take_message() {
            *self
                .returned
                .entry(self::identity(&message.properties, &message.routing_key))
                .or_default() += 1;
        }
        self.resolved.push(Resolved {
            identity,
            acked,
            waiting,
        });
    }

    /// Takes what has resolved so far, to be settled once the returns that belong to it are noted.
    pub(crate) fn take_resolved(&mut self) -> Vec<Resolved> {
        std::mem::take(&mut self.resolved)
    }

    /// Tells the verdicts of publishes whose returns have all been seen.
    pub(crate) fn settle(&mut self, resolved: Vec<Resolved>) {
        for Resolved {
            identity,
            acked,
            waiting,
        } in resolved
        {
            let verdict = if self.was_returned(&identity) {
                Err(PublishError::Unroutable)
            } else if acked {
                Ok(())
            } else {
                Err(PublishError::Nacked)
            };
            if let Some(waiting) = waiting {
                // An error says that the caller's deadline passed; it took the fate as unknown.
                let _ = waiting.send(verdict);
            }
        }
    }

    fn was_returned(&mut self, identity: &Identity) -> bool {
        let Some(count) = self.returned.get_mut(identity) else {
            return false;
        };
        *count -= 1;
        if *count == 0 {
            self.returned.remove(identity);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use lapin::{BasicProperties, message::BasicReturnMessage};

    use super::*;

    fn id(text: &str) -> Identity {
        (Some(text.into()), "key".into())
    }

    type Verdict = oneshot::Receiver<Result<(), PublishError>>;

    fn resolve(verdicts: &mut Verdicts, name: &str, confirm: Confirmation) -> Verdict {
        let (sender, receiver) = oneshot::channel();
        verdicts.resolve(id(name), confirm, Some(sender));
        receiver
    }

    #[test]
    fn a_return_on_anothers_confirm_is_given_to_its_own_publish() {
        let mut verdicts = Verdicts::default();
        let mut good = resolve(
            &mut verdicts,
            "good",
            Confirmation::Ack(Some(returned("bad"))),
        );
        let mut bad = resolve(&mut verdicts, "bad", Confirmation::Ack(None));
        let mut refused = resolve(&mut verdicts, "refused", Confirmation::Nack(None));
        assert!(good.try_recv().is_err(), "told before it was settled");

        let resolved = verdicts.take_resolved();
        verdicts.settle(resolved);
        assert_eq!(good.try_recv().unwrap(), Ok(()));
        assert_eq!(bad.try_recv().unwrap(), Err(PublishError::Unroutable));
        assert_eq!(refused.try_recv().unwrap(), Err(PublishError::Nacked));
        assert!(verdicts.returned.is_empty(), "a return was left behind");
    }

    fn returned(name: &str) -> BasicReturnMessage {
        let mut delivery =
            lapin::message::Delivery::mock(0, "exchange".into(), "key".into(), false, Vec::new());
        delivery.properties = BasicProperties::default().with_message_id(name.into());
        BasicReturnMessage {
            delivery,
            reply_code: 312,
            reply_text: "NO_ROUTE".into(),
        }
    }
}
