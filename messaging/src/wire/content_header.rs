//! The header frame of a message: its properties and headers.

use std::{borrow::Cow, cmp::Reverse};

use super::{
    note::{CLEANED, NOTE_BYTES_MAX, Note},
    table::{VALUES_MAX, entry},
    text::{replace_invalid, short},
};
use event::Event;

use crate::identity::raw_id;

/// Class, weight, size of the body, and the flags that say which properties there are (AMQP 0-9-1,
/// 4.2.6.1).
pub(super) const FIXED: usize = 14;
/// The places of the headers and of the id among the properties.
const HEADERS: usize = 2;
const MESSAGE_ID: usize = 8;
/// Bytes of the note as a header.
const NOTE_HEADER_MAX: usize = 1 + CLEANED.len() + 5 + NOTE_BYTES_MAX;
/// Headers that tell messages apart, so they are left out last.
const IDS: [&[u8]; 5] = [
    b"cloudEvents_id",
    b"cloudEvents:id",
    b"ce-id",
    b"ce_id",
    b"id",
];

enum Kind {
    Text,
    Table,
    Bytes(usize),
}

/// In the order of their flags, from the highest bit.
const PROPERTIES: [(&str, Kind); 14] = [
    ("content_type", Kind::Text),
    ("content_encoding", Kind::Text),
    ("headers", Kind::Table),
    ("delivery_mode", Kind::Bytes(1)),
    ("priority", Kind::Bytes(1)),
    ("correlation_id", Kind::Text),
    ("reply_to", Kind::Text),
    ("expiration", Kind::Text),
    ("message_id", Kind::Text),
    ("timestamp", Kind::Bytes(8)),
    ("type", Kind::Text),
    ("user_id", Kind::Text),
    ("app_id", Kind::Text),
    ("cluster_id", Kind::Text),
];

/// Where in a payload the table of headers is, without the length before it.
pub(super) fn headers(payload: &mut [u8]) -> Option<(usize, usize)> {
    let (fixed, mut rest) = payload.split_at_mut_checked(FIXED)?;
    let mut at = FIXED;
    for place in 0..HEADERS {
        if flags(fixed) & flag(place) != 0 {
            let length = 1 + short(rest)?.len();
            rest = rest.get_mut(length..)?;
            at += length;
        }
    }
    let length = u32::from_be_bytes(*rest.first_chunk()?);
    let length = usize::try_from(length).ok()?;
    (flags(fixed) & flag(HEADERS) != 0).then_some((at + 4, length))
}

/// Cleans the payload of a header frame in place, or returns another one in its stead, which has
/// `bytes_max` bytes at most: no less than the smallest frame holds. `skipped` bytes of headers were
/// left out on the way here.
pub(super) fn clean(payload: &mut [u8], skipped: usize, bytes_max: usize) -> Option<Vec<u8>> {
    let fits = payload.len() <= bytes_max;
    let (fixed, rest) = payload.split_first_chunk_mut::<FIXED>()?;
    let mut note = Note::default();
    if skipped > 0 {
        note.dropped("bytes of headers:", skipped.to_string().as_bytes());
    }
    let id = walk(flags(fixed), rest, &mut note, |_| {});
    if fits && note.is_empty() {
        return None;
    }
    let mut message = Message::default();
    // Clean by now, so it has nothing to note.
    walk(flags(fixed), rest, &mut Note::default(), |part| {
        message.take(part);
    });
    if let Some(id) = id {
        message.replace_id(id);
    }
    message.fit(bytes_max - FIXED, &mut note);
    Some(message.write(fixed, &note.into_text()))
}

fn flags(fixed: &[u8]) -> u16 {
    fixed
        .last_chunk()
        .map_or(0, |flags| u16::from_be_bytes(*flags))
}

fn flag(place: usize) -> u16 {
    1 << (15 - place)
}

/// Something of a message that can be read.
enum Part<'a> {
    /// By its place; a text without its length.
    Property(usize, &'a [u8]),
    /// With its name, and its value from the tag on.
    Header(&'a [u8], &'a [u8]),
}

/// Reads properties and headers up to where they cannot be read, cleans them in place, and notes
/// what that took. Returns an id in place of one that is not UTF-8.
fn walk<'a>(
    flags: u16,
    mut bytes: &'a mut [u8],
    note: &mut Note,
    mut visit: impl FnMut(Part<'a>),
) -> Option<String> {
    let mut id = None;
    for (place, (name, kind)) in PROPERTIES.iter().enumerate() {
        if flags & flag(place) == 0 {
            continue;
        }
        let Some((content, rest)) = split(bytes, kind) else {
            note.dropped("the properties from", name.as_bytes());
            return id;
        };
        bytes = rest;
        match kind {
            Kind::Bytes(_) => visit(Part::Property(place, content)),
            Kind::Table => walk_headers(content, note, &mut visit),
            Kind::Text => {
                let raw = (place == MESSAGE_ID)
                    .then(|| unlike_utf8(content))
                    .flatten();
                id = id.or(raw);
                if replace_invalid(content) {
                    note.replaced(name, b"");
                }
                visit(Part::Property(place, content));
            }
        }
    }
    if !bytes.is_empty() {
        note.dropped("what follows the properties", b"");
    }
    id
}

/// An id in place of bytes that are no text.
fn unlike_utf8(id: &[u8]) -> Option<String> {
    std::str::from_utf8(id).is_err().then(|| raw_id(id))
}

fn walk_headers<'a>(mut table: &'a mut [u8], note: &mut Note, visit: &mut impl FnMut(Part<'a>)) {
    let mut values = VALUES_MAX;
    while !table.is_empty() {
        let Some(entry) = entry(table, 0, &mut values) else {
            return note.dropped("the headers after the first", b"");
        };
        let (header, rest) = table.split_at_mut(entry.length);
        table = rest;
        let (name, value) = header[1..].split_at(entry.name);
        if entry.changed {
            note.replaced("the header", name);
        }
        visit(Part::Header(name, value));
    }
}

/// The content of a property, without its length, and what follows.
fn split<'a>(bytes: &'a mut [u8], kind: &Kind) -> Option<(&'a mut [u8], &'a mut [u8])> {
    match kind {
        Kind::Bytes(length) => bytes.split_at_mut_checked(*length),
        Kind::Text => {
            let (length, rest) = bytes.split_first_mut()?;
            rest.split_at_mut_checked(usize::from(*length))
        }
        Kind::Table => {
            let (length, rest) = bytes.split_first_chunk_mut()?;
            rest.split_at_mut_checked(usize::try_from(u32::from_be_bytes(*length)).ok()?)
        }
    }
}

/// A message that is written once more.
#[derive(Default)]
struct Message<'a> {
    properties: Vec<(usize, Cow<'a, [u8]>)>,
    headers: Vec<Header<'a>>,
}

struct Header<'a> {
    name: &'a [u8],
    value: Cow<'a, [u8]>,
}

impl<'a> Message<'a> {
    fn take(&mut self, part: Part<'a>) {
        match part {
            Part::Property(place, content) => self.properties.push((place, content.into())),
            // This one's own is written last.
            Part::Header(name, _) if name == CLEANED.as_bytes() => {}
            Part::Header(name, value) => self.headers.push(Header {
                name,
                value: value.into(),
            }),
        }
    }

    fn replace_id(&mut self, id: String) {
        for (place, content) in &mut self.properties {
            if *place == MESSAGE_ID {
                *content = id.clone().into_bytes().into();
            }
        }
    }

    /// Leaves out headers, the largest ones first, until all of it has `room` bytes.
    fn fit(&mut self, room: usize, note: &mut Note) {
        let lengths = self.properties.iter().map(|(_, content)| 1 + content.len());
        let room = room.saturating_sub(lengths.sum::<usize>() + 4 + NOTE_HEADER_MAX);
        let mut length: usize = self.headers.iter().map(Header::length).sum();
        if length <= room {
            return;
        }
        for header in &mut self.headers {
            header.shorten_id();
        }
        length = self.headers.iter().map(Header::length).sum();
        let mut order: Vec<usize> = (0..self.headers.len()).collect();
        order.sort_by_key(|index| {
            let header = &self.headers[*index];
            (header.is_id(), Reverse(header.length()))
        });
        let mut dropped = vec![false; order.len()];
        for index in order {
            if length <= room {
                break;
            }
            let header = &self.headers[index];
            note.dropped("the header", header.name);
            length -= header.length();
            dropped[index] = true;
        }
        let mut dropped = dropped.into_iter();
        self.headers.retain(|_| dropped.next() != Some(true));
    }

    fn write(&self, fixed: &[u8; FIXED], note: &str) -> Vec<u8> {
        let mut out = fixed.to_vec();
        let mut flags = flag(HEADERS);
        let (before, after): (Vec<_>, Vec<_>) = self
            .properties
            .iter()
            .partition(|(place, _)| *place < HEADERS);
        for (place, content) in before {
            flags |= flag(*place);
            write_property(&mut out, *place, content);
        }
        let table = out.len();
        out.extend_from_slice(&[0; 4]);
        for header in &self.headers {
            write_short(&mut out, header.name);
            out.extend_from_slice(&header.value);
        }
        write_short(&mut out, CLEANED.as_bytes());
        out.extend_from_slice(&long_string(note));
        let length = out.len() - table - 4;
        out[table..table + 4].copy_from_slice(&length_in_four(length));
        for (place, content) in after {
            flags |= flag(*place);
            write_property(&mut out, *place, content);
        }
        out[FIXED - 2..FIXED].copy_from_slice(&flags.to_be_bytes());
        out
    }
}

impl Header<'_> {
    fn length(&self) -> usize {
        1 + self.name.len() + self.value.len()
    }

    fn is_id(&self) -> bool {
        IDS.contains(&self.name)
    }

    /// Makes of an id that is too long for one what the event would make of it.
    fn shorten_id(&mut self) {
        if let (true, [b'S', _, _, _, _, id @ ..]) = (self.is_id(), &*self.value)
            && id.len() > Event::MAX_ID_BYTES
        {
            self.value = long_string(&raw_id(id)).into();
        }
    }
}

fn write_property(out: &mut Vec<u8>, place: usize, content: &[u8]) {
    match PROPERTIES[place].1 {
        Kind::Text => write_short(out, content),
        Kind::Bytes(_) | Kind::Table => out.extend_from_slice(content),
    }
}

fn write_short(out: &mut Vec<u8>, text: &[u8]) {
    // Read as one, or of this suite.
    out.push(u8::try_from(text.len()).unwrap_or(u8::MAX));
    out.extend_from_slice(text);
}

/// A value that is a text.
fn long_string(text: &str) -> Vec<u8> {
    let mut value = vec![b'S'];
    value.extend_from_slice(&length_in_four(text.len()));
    value.extend_from_slice(text.as_bytes());
    value
}

/// No frame is as long as four bytes can count.
fn length_in_four(length: usize) -> [u8; 4] {
    u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes()
}
