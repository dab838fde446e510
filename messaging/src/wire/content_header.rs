//! The header frame of a message: its properties and headers.

use std::{
    borrow::Cow,
    cmp::Reverse,
    collections::{HashMap, HashSet},
};

use super::{
    note::{CLEANED, NOTE_BYTES_MAX, Note},
    table::{VALUES_MAX, entry, table},
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

/// Where the payload of a header frame says how large its body is.
pub(super) fn body_size(payload: &mut [u8]) -> Option<&mut [u8; 8]> {
    payload.get_mut(4..12)?.first_chunk_mut()
}

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

/// Properties as AMQP writes them, from the flags on, such that they can be parsed on a stack: what is
/// nested too deep has become bytes. `None` where the headers cannot be read.
pub(crate) fn parsable(properties: &[u8]) -> Option<Vec<u8>> {
    const BEFORE_FLAGS: usize = FIXED - 2;
    let mut payload = [&[0; BEFORE_FLAGS], properties].concat();
    if flags(payload.get(..FIXED)?) & flag(HEADERS) != 0 {
        let (start, length) = headers(&mut payload)?;
        let headers = payload.get_mut(start..start.checked_add(length)?)?;
        table(headers, 0, &mut { VALUES_MAX })?;
    }
    Some(payload.split_off(BEFORE_FLAGS))
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
    let (mut place, mut renamed) = (0, Vec::new());
    let id = walk(flags(fixed), rest, &mut note, |part| {
        if let Part::Header(.., is_renamed) = part {
            renamed.extend(is_renamed.then_some(place));
            place += 1;
        }
    });
    if fits && note.is_empty() {
        return None;
    }
    let mut message = Message::default();
    // Clean by now, so it has nothing to note.
    walk(flags(fixed), rest, &mut Note::default(), |part| {
        message.take(part);
    });
    message.tell_apart(&renamed);
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
    /// With its name, its value from the tag on, and whether bytes of the name were replaced.
    Header(&'a [u8], &'a [u8], bool),
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
                    note.replaced_property(name);
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
            note.replaced_header(name);
        }
        visit(Part::Header(name, value, entry.renamed));
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
    name: Cow<'a, [u8]>,
    value: Cow<'a, [u8]>,
}

impl<'a> Message<'a> {
    fn take(&mut self, part: Part<'a>) {
        match part {
            Part::Property(place, content) => self.properties.push((place, content.into())),
            Part::Header(name, value, _) => self.headers.push(Header {
                name: name.into(),
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

    /// Numbers headers that have the name of another one since bytes of theirs were replaced: of
    /// equal names a table holds one.
    fn tell_apart(&mut self, renamed: &[usize]) {
        let mut names = HashSet::new();
        let mut numbers = HashMap::<_, usize>::new();
        if !renamed.is_empty() {
            let mut next = renamed.iter().peekable();
            let others = (self.headers.iter().enumerate())
                .filter(|(place, _)| next.next_if_eq(&place).is_none());
            names.extend(others.map(|(_, header)| header.name.clone()));
        }
        for place in renamed {
            let name = &mut self.headers[*place].name;
            let plain = name.clone();
            while !names.insert(name.clone()) {
                let number = numbers.entry(plain.clone()).or_insert(1);
                *number += 1;
                *name = numbered(&plain, *number).into();
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
            note.dropped("the header", &header.name);
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
        // This one's own is written last.
        let theirs = |header: &&Header<'_>| *header.name != *CLEANED.as_bytes();
        for header in self.headers.iter().filter(theirs) {
            write_short(&mut out, &header.name);
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
        IDS.contains(&&*self.name)
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

/// A name with a number behind it, as long as a name can be.
fn numbered(name: &[u8], number: usize) -> Vec<u8> {
    let number = format!("~{number}");
    let mut length = name.len().min(usize::from(u8::MAX) - number.len());
    while name.get(length).is_some_and(|byte| byte & 0xc0 == 0x80) {
        length -= 1; // the next character as a whole
    }
    [&name[..length], number.as_bytes()].concat()
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
