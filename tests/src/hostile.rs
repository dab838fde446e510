//! Messages that lapin cannot parse, of every kind.

use crate::raw::{entry, long, nested, properties, with_text};

/// The number of kinds, used in turn.
pub const KINDS: usize = 18;

/// A message.
pub struct Hostile {
    /// Flags and properties, as they go over the wire.
    pub properties: Vec<u8>,
    /// Whether it is dead-lettered once before: RabbitMQ then adds headers, and the header frame
    /// gets larger than frame_max, which no publisher can send.
    pub dies_first: bool,
}

impl Hostile {
    /// The message with this number, with a unique id.
    pub fn new(number: usize) -> Self {
        let kind = number % KINDS;
        let id = format!("m-{number}");
        let id = id.as_bytes();
        let header = |name: &[u8], tag, value: &[u8]| properties(&entry(name, tag, value), id);
        let deep = |depth, tag| header(b"deep", tag, &nested(depth, tag));
        let bad = |byte| [b"caf".as_slice(), &[byte], id].concat();
        let properties = match kind {
            0 => properties(b"", &bad(0xe9)),
            1 => properties(b"", &bad(0xe8)),
            2 => properties(&entry(b"cloudEvents:id", b'S', &long(&bad(0xff))), b"x"),
            3 => header(b"caf\xe9", b'S', &long(b"\xff")),
            4 => header(b"t", b'F', &long(&entry(b"caf\xe9", b'S', &long(b"\xff")))),
            5 => deep(5_000, b'F'),
            6 => deep(5_000, b'A'),
            // Twice as deep, RabbitMQ 4.3.6 delivered in bursts, minutes late.
            7 => deep(9_000, b'A'),
            8 => header(b"wide", b'A', &long(&[b'V'; 100_000])),
            9 => header(b"large", b'S', &long(&[b'x'; 131_000])),
            10 => properties(&many(904), id),
            // content_type, content_encoding, correlation_id, reply_to, type, app_id, cluster_id
            _ => with_text([0, 1, 5, 6, 10, 12, 13][kind - 11], b"caf\xe9", id),
        };
        Self {
            properties,
            dies_first: matches!(kind, 9 | 10),
        }
    }
}

fn many(count: usize) -> Vec<u8> {
    let header = |number| entry(format!("n{number}").as_bytes(), b'S', &long(&[b'x'; 135]));
    (0..count).flat_map(header).collect()
}
