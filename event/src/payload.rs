//! Rust types as the data of events.

use bytes::Bytes;
use serde::{Serialize, de::DeserializeOwned};

use crate::{Event, EventType};

/// A Rust type whose values, as JSON, are the data of one type of event.
/// [`payloads!`](crate::payloads) declares a program's table of these types.
pub trait Payload: Serialize + DeserializeOwned + Send + 'static {
    /// The event's type, by which it is routed.
    const KEY: EventType;
}

/// Maps Rust types to event types:
///
/// ```
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize)]
/// struct OrderPlaced {
///     id: u64,
/// }
///
/// #[derive(Serialize, Deserialize)]
/// struct OrderCancelled {
///     id: u64,
///     why: String,
/// }
///
/// event::payloads! {
///     OrderPlaced => "order.placed",
///     OrderCancelled => "order.cancelled",
/// }
///
/// let event = event::Event::of("/orders", &OrderPlaced { id: 7 })?;
/// assert_eq!(event.event_type, "order.placed");
/// assert_eq!(&event.data[..], br#"{"id":7}"#);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[macro_export]
macro_rules! payloads {
    ($($payload:ty => $key:literal),+ $(,)?) => {
        $(impl $crate::Payload for $payload {
            const KEY: $crate::EventType = $crate::EventType::from_static($key);
        }
        // Checked here, not only at its use.
        const _: $crate::EventType = <$payload as $crate::Payload>::KEY;)+
    };
}

impl Event {
    /// A new event with the current time and `payload` as its data.
    ///
    /// # Errors
    /// When it cannot be written as JSON: for example, a map whose keys are not strings.
    pub fn of<P: Payload>(source: &str, payload: &P) -> Result<Self, serde_json::Error> {
        let data = Bytes::from(serde_json::to_vec(payload)?);
        Ok(Self::new(&P::KEY, source, "application/json", data))
    }
}
