//! Method frames: their short strings and tables, cleaned in place.

use super::{
    table::{VALUES_MAX, table},
    text::{replace_invalid, short},
};

/// A part of a method's arguments (AMQP 0-9-1, chapter 1.5 and on).
enum Part {
    Short,
    Table,
    Bytes(usize),
}

use Part::{Bytes, Short, Table};

/// The arguments of a method that RabbitMQ sends, up to the last one that can be invalid.
const fn layout(class: u16, method: u16) -> &'static [Part] {
    match (class, method) {
        (10, 10) => &[Bytes(2), Table],               // connection.start
        (10, 41) => &[Short],                         // connection.open-ok
        (10, 50) | (20, 40) => &[Bytes(2), Short],    // connection.close, channel.close
        (10, 60) => &[Short],                         // connection.blocked
        (50, 11) => &[Short],                         // queue.declare-ok
        (60, 21 | 30 | 31) => &[Short],               // basic.consume-ok, cancel, cancel-ok
        (60, 50) => &[Bytes(2), Short, Short, Short], // basic.return
        (60, 60) => &[Short, Bytes(9), Short, Short], // basic.deliver
        (60, 71) => &[Bytes(9), Short, Short],        // basic.get-ok
        (60, 72) => &[Short],                         // basic.get-empty
        _ => &[],
    }
}

/// Cleans a method. If it is shorter than declared, the rest is unchanged.
pub(super) fn clean(payload: &mut [u8]) {
    let Some(([a, b, c, d], mut rest)) = payload.split_first_chunk_mut() else {
        return;
    };
    for part in layout(u16::from_be_bytes([*a, *b]), u16::from_be_bytes([*c, *d])) {
        let length = match part {
            Bytes(length) => *length,
            Short => {
                let Some(text) = short(rest) else { return };
                replace_invalid(text);
                1 + text.len()
            }
            Table => {
                let Some((length, content)) = rest.split_first_chunk_mut() else {
                    return;
                };
                let length = u32::from_be_bytes(*length) as usize;
                let Some(content) = content.get_mut(..length) else {
                    return;
                };
                // RabbitMQ wrote it, so it is readable.
                let _ = table(content, 0, &mut { VALUES_MAX });
                4 + length
            }
        };
        let Some(next) = rest.get_mut(length..) else {
            return;
        };
        rest = next;
    }
}

/// The tag of the delivery that a basic.deliver announces, and whether it was delivered before, where
/// this is one.
pub(super) fn delivered(payload: &[u8]) -> Option<(u64, bool)> {
    let [0, 60, 0, 60, length, rest @ ..] = payload else {
        return None;
    };
    let (tag, rest) = rest.get(usize::from(*length)..)?.split_first_chunk()?;
    Some((u64::from_be_bytes(*tag), *rest.first()? & 1 == 1))
}

/// Whether this is the last method of its channel: channel.close, or channel.close-ok.
pub(super) fn ends_channel(payload: &[u8]) -> bool {
    matches!(payload, [0, 20, 0, 40 | 41, ..])
}

/// The frame_max, if this is a connection.tune.
pub(super) fn tuned(payload: &[u8]) -> Option<u32> {
    match payload {
        [0, 10, 0, 30, _, _, frame_max @ ..] => Some(u32::from_be_bytes(*frame_max.first_chunk()?)),
        _ => None,
    }
}
