//! Field tables and arrays (AMQP 0-9-1, 4.2.5.5), cleaned in place: nothing here changes a length.

use std::collections::HashSet;

use super::text::{replace_invalid, short};

/// Tables and arrays may be nested this deep. Parsing, copying and dropping them recurses as deep,
/// for example in lapin's thread, on a stack of 2 MiB.
pub(super) const DEPTH_MAX: usize = 16;
/// The most values in the headers of a message. A value of one byte takes a hundred in memory.
pub(super) const VALUES_MAX: usize = 4096;

/// The first entry of a table, cleaned.
pub(super) struct Entry {
    /// Bytes of its name, without the length byte.
    pub(super) name: usize,
    /// Bytes of all of it.
    pub(super) length: usize,
    pub(super) changed: bool,
    /// Whether bytes of its name were replaced.
    pub(super) renamed: bool,
}

/// The first value of a table or array, cleaned.
struct Value {
    length: usize,
    changed: bool,
}

/// Cleans the first entry of a table, if `values` more are allowed. `None` if it, and so the rest,
/// cannot be read.
pub(super) fn entry(table: &mut [u8], depth: usize, values: &mut usize) -> Option<Entry> {
    let name = short(table)?;
    let renamed = replace_invalid(name);
    let (name, before) = (name.len(), 1 + name.len());
    let value = value(&mut table[before..], depth, values)?;
    Some(Entry {
        name,
        length: before + value.length,
        changed: renamed || value.changed,
        renamed,
    })
}

/// Cleans all entries of a table; returns whether one changed. `None` also if two names became
/// equal: a table would keep only one of them.
pub(super) fn table(table: &mut [u8], depth: usize, values: &mut usize) -> Option<bool> {
    let (mut at, mut changed, mut renamed) = (0, false, false);
    while at < table.len() {
        let entry = entry(&mut table[at..], depth, values)?;
        at += entry.length;
        changed |= entry.changed;
        renamed |= entry.renamed;
    }
    (!renamed || names_differ(table, depth)).then_some(changed)
}

/// Of a table that is clean.
fn names_differ(mut table: &mut [u8], depth: usize) -> bool {
    let (mut names, mut values) = (HashSet::new(), VALUES_MAX);
    while let Some(entry) = entry(table, depth, &mut values) {
        let (read, rest) = table.split_at_mut(entry.length);
        if !names.insert(&read[1..=entry.name]) {
            return false;
        }
        table = rest;
    }
    true
}

fn array(array: &mut [u8], depth: usize, values: &mut usize) -> Option<bool> {
    let (mut at, mut changed) = (0, false);
    while at < array.len() {
        let value = value(&mut array[at..], depth, values)?;
        at += value.length;
        changed |= value.changed;
    }
    Some(changed)
}

/// The tags are those of lapin's parser, which follow RabbitMQ, not the specification.
fn value(bytes: &mut [u8], depth: usize, values: &mut usize) -> Option<Value> {
    *values = values.checked_sub(1)?;
    let (tag, content) = bytes.split_first_mut()?;
    let mut changed = false;
    let length = match *tag {
        b'V' => 0,
        b't' | b'b' | b'B' => 1,
        b's' | b'u' | b'U' => 2,
        b'I' | b'i' | b'f' => 4,
        b'D' => 5,
        b'l' | b'L' | b'd' | b'T' => 8,
        b'S' | b'x' => long(content)?,
        b'F' | b'A' => {
            let length = long(content)?;
            let nested = content.get_mut(4..length)?;
            let clean = match (depth.checked_add(1)?, *tag) {
                (deeper, _) if deeper > DEPTH_MAX => None,
                (deeper, b'F') => bounded(nested, deeper, values, table),
                (deeper, _) => bounded(nested, deeper, values, array),
            };
            changed = clean.unwrap_or_else(|| {
                *tag = b'x'; // bytes, with the same kind of length
                true
            });
            length
        }
        _ => return None,
    };
    (length <= content.len()).then_some(Value {
        length: 1 + length,
        changed,
    })
}

/// An unreadable value counts as one, because it becomes bytes.
fn bounded(
    nested: &mut [u8],
    depth: usize,
    values: &mut usize,
    clean: fn(&mut [u8], usize, &mut usize) -> Option<bool>,
) -> Option<bool> {
    let mut left = *values;
    let changed = clean(nested, depth, &mut left)?;
    *values = left;
    Some(changed)
}

/// Bytes of a four-byte length and its content.
fn long(content: &[u8]) -> Option<usize> {
    let length = u32::from_be_bytes(*content.first_chunk()?);
    usize::try_from(length).ok()?.checked_add(4)
}
