//! What comes out can be parsed, whatever went in; and what is whole comes out as it was.

use std::sync::Arc;

use amq_protocol::frame::{AMQPFrame, WriteContext, gen_frame, parse_frame};
use budget::Budget;
use lapin::{
    BasicProperties,
    types::{AMQPValue, FieldArray, FieldTable},
};
use proptest::{collection::vec, prelude::*};

use super::{frames::Frames, inbox::Inbox, note::CLEANED, table::DEPTH_MAX};
use crate::intake::{Intake, Taken};

const FRAME_MAX: usize = 131_072;

/// What lapin reads, where the socket gives `chunks` of bytes and lapin has as much room again.
fn through(bytes: &[u8], frame_max: u32, chunk: usize) -> Vec<u8> {
    read(Frames::new(Some(frame_max), None), bytes, chunk)
}

fn read(frames: Frames, bytes: &[u8], chunk: usize) -> Vec<u8> {
    let mut inbox = Inbox::new(frames);
    let mut out = Vec::new();
    for (index, chunk) in bytes.chunks(chunk).enumerate() {
        // As the stream does it, by both of its ways.
        let mut read = inbox.partial().to_vec();
        inbox.forget_partial();
        read.extend_from_slice(chunk);
        if index % 2 == 0 {
            let passed = inbox.clean(&mut read);
            out.extend_from_slice(&read[..passed]);
        } else {
            inbox.keep(&mut read);
        }
        let mut given = [0; 1000];
        loop {
            match inbox.give(&mut given) {
                0 => break,
                count => out.extend_from_slice(&given[..count]),
            }
        }
    }
    out
}

fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![kind, 0, 1];
    frame.extend_from_slice(&u32::try_from(payload.len()).unwrap().to_be_bytes());
    frame.extend_from_slice(payload);
    frame.push(0xce);
    frame
}

/// A header frame with these flags and properties.
fn header(flags: u16, properties: &[u8]) -> Vec<u8> {
    let mut payload = vec![0, 60, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7];
    payload.extend_from_slice(&flags.to_be_bytes());
    payload.extend_from_slice(properties);
    frame(2, &payload)
}

const HEADERS: u16 = 1 << 13;
const MESSAGE_ID: u16 = 1 << 7;

fn table(entries: &[u8]) -> Vec<u8> {
    let mut table = u32::try_from(entries.len()).unwrap().to_be_bytes().to_vec();
    table.extend_from_slice(entries);
    table
}

/// A header of this name whose value is nested so deep, in tables or in arrays.
fn nested(name: &str, depth: usize, tag: u8) -> Vec<u8> {
    let mut value = vec![b'V'];
    for _ in 0..depth {
        let mut content = if tag == b'F' {
            b"\x01n".to_vec()
        } else {
            Vec::new()
        };
        content.extend_from_slice(&value);
        value = vec![tag];
        value.extend_from_slice(&table(&content));
    }
    let mut entry = vec![u8::try_from(name.len()).unwrap()];
    entry.extend_from_slice(name.as_bytes());
    entry.extend_from_slice(&value);
    entry
}

fn text(name: &[u8], value: &[u8]) -> Vec<u8> {
    let mut entry = vec![u8::try_from(name.len()).unwrap()];
    entry.extend_from_slice(name);
    entry.push(b'S');
    entry.extend_from_slice(&table(value));
    entry
}

fn properties(bytes: &[u8]) -> BasicProperties {
    match parse_frame(bytes) {
        Ok((rest, AMQPFrame::Header(1, header))) => {
            assert!(rest.is_empty());
            assert_eq!(header.body_size, 7);
            header.properties
        }
        other => panic!("{other:?}"),
    }
}

fn cleaned(bytes: &[u8], frame_max: usize) -> BasicProperties {
    let clean = through(bytes, u32::try_from(frame_max).unwrap(), bytes.len());
    assert!(clean.len() <= frame_max, "{} bytes", clean.len());
    properties(&clean)
}

fn note(properties: &BasicProperties) -> String {
    let headers = properties.headers().as_ref().unwrap();
    headers.inner()[CLEANED]
        .as_long_string()
        .unwrap()
        .to_string()
}

#[test]
fn ids_that_differ_stay_different() {
    let id = |raw: &[u8]| {
        let mut short = vec![u8::try_from(raw.len()).unwrap()];
        short.extend_from_slice(raw);
        let clean = cleaned(&header(MESSAGE_ID, &short), FRAME_MAX);
        let note = clean.headers().as_ref().map(|_| note(&clean));
        (clean.message_id().clone().unwrap().to_string(), note)
    };
    assert_eq!(id("café".as_bytes()), ("café".to_owned(), None));
    let (bad, note) = id(b"caf\xe9");
    assert_eq!(note.as_deref(), Some("replaced bytes in message_id"));
    assert_eq!(id(b"caf\xe9").0, bad);
    assert_ne!(id(b"caf\xe8").0, bad);
    assert_ne!(id(b"caf?").0, bad);
}

#[test]
fn names_are_cleaned_at_any_depth_and_values_stay() {
    let inner = text(b"b\xe9", b"\xff\xfe");
    let mut entries = b"\x02a\xe9F".to_vec();
    entries.extend_from_slice(&table(&inner));
    entries.extend_from_slice(&text(b"fine", b"\xe9"));
    let clean = cleaned(&header(HEADERS, &table(&entries)), FRAME_MAX);
    let headers = clean.headers().as_ref().unwrap().inner();
    let AMQPValue::FieldTable(inner) = &headers["a?"] else {
        panic!("{headers:?}");
    };
    let long = |bytes: &[u8]| AMQPValue::LongString(bytes.to_vec().into());
    assert_eq!(inner.inner()["b?"], long(b"\xff\xfe"));
    assert_eq!(headers["fine"], long(b"\xe9"));
    assert_eq!(note(&clean), "replaced bytes in the header a?");
}

#[test]
fn names_that_become_one_are_numbered() {
    let long = [&[b'x'; 251][..], "\u{e9}".as_bytes(), b"\xe9"].concat();
    let also = [&[b'x'; 251][..], "\u{e9}".as_bytes(), b"\xe8"].concat();
    let entries = [
        text(b"caf\xe9", b"1"),
        text(b"caf\xe8", b"2"),
        text(b"caf?", b"kept"),
        text(b"caf\xea", b"3"),
        text(b"caf?~3", b"kept"),
        text(b"other\xea", b"4"),
        text(&long, b"5"),
        text(&also, b"6"),
    ];
    let clean = cleaned(&header(HEADERS, &table(&entries.concat())), FRAME_MAX);
    let headers = clean.headers().as_ref().unwrap().inner();
    let value = |name: &str| headers[name].as_long_string().unwrap().to_string();
    let rest = "x".repeat(251);
    for (name, expected) in [
        ("caf?", "kept"),
        ("caf?~2", "1"),
        ("caf?~3", "kept"),
        ("caf?~4", "2"),
        ("caf?~5", "3"),
        ("other?", "4"),
        (&format!("{rest}\u{e9}?"), "5"),
        (&format!("{rest}\u{e9}~2"), "6"),
    ] {
        assert_eq!(value(name), expected, "{name}");
    }
    assert_eq!(headers.len(), entries.len() + 1);
}

/// Its names cannot get longer where they are.
#[test]
fn a_table_with_names_that_become_one_becomes_bytes() {
    let of = |names: [&[u8]; 2]| names.map(|name| text(name, b"value")).concat();
    for (names, is_bytes) in [
        ([&b"caf\xe9"[..], b"caf\xe8"], true),
        ([b"caf?", b"caf\xe8"], true),
        ([b"caf\xe9", b"car\xe9"], false),
    ] {
        let nested = [b"\x01tF".to_vec(), table(&of(names))].concat();
        let deeper = [b"\x01dF".to_vec(), table(&nested)].concat();
        let entries = [nested, deeper, text(b"next", b"")].concat();
        let clean = cleaned(&header(HEADERS, &table(&entries)), FRAME_MAX);
        let headers = clean.headers().as_ref().unwrap().inner();
        let AMQPValue::FieldTable(deeper) = &headers["d"] else {
            panic!("{headers:?}");
        };
        for value in [&headers["t"], &deeper.inner()["t"]] {
            assert_eq!(matches!(value, AMQPValue::ByteArray(_)), is_bytes);
        }
        assert!(headers.contains_key("next"));
    }
}

/// Thousands of them take no longer than thousands of others.
#[test]
fn many_names_that_become_one_are_numbered_too() {
    let mut entries: Vec<_> = (0..4000).map(|_| text(b"\xe9", b"")).collect();
    entries.push(text(b"?", b"kept"));
    let clean = cleaned(&header(HEADERS, &table(&entries.concat())), FRAME_MAX);
    let headers = clean.headers().as_ref().unwrap().inner();
    assert_eq!(headers.len(), entries.len() + 1);
    assert!(headers.contains_key("?~4001"));
}

#[test]
fn what_is_nested_too_deep_becomes_bytes() {
    for tag in [b'F', b'A'] {
        for depth in [1, DEPTH_MAX, DEPTH_MAX + 1, 5000, 20_000] {
            let bytes = header(HEADERS, &table(&nested("deep", depth, tag)));
            let frame_max = bytes.len().max(4096) + 1000;
            let clean = cleaned(&bytes, frame_max);
            let mut value = &clean.headers().as_ref().unwrap().inner()["deep"];
            let mut deep = 0;
            loop {
                value = match value {
                    AMQPValue::FieldTable(table) => &table.inner()["n"],
                    AMQPValue::FieldArray(array) => &array.as_slice()[0],
                    _ => break,
                };
                deep += 1;
            }
            assert_eq!(deep, depth.min(DEPTH_MAX));
            let is_bytes = matches!(value, AMQPValue::ByteArray(_));
            assert_eq!(is_bytes, depth > DEPTH_MAX);
        }
    }
}

/// lapin's thread has 2 MiB, and so have tokio's.
#[test]
fn the_depth_that_is_left_needs_an_eighth_of_a_stack() {
    let deep = [nested("t", DEPTH_MAX, b'F'), nested("a", DEPTH_MAX, b'A')].concat();
    let bytes = header(HEADERS, &table(&deep));
    let thread = std::thread::Builder::new().stack_size(256 * 1024);
    let used = thread.spawn(move || {
        let properties = properties(&bytes);
        let copy = properties.clone();
        assert_eq!(format!("{copy:?}"), format!("{properties:?}"));
        let headers = copy.headers().as_ref().unwrap();
        assert!(
            crate::headers::entries(headers)
                .map(|(_, value)| crate::headers::size(value))
                .sum::<usize>()
                > 0
        );
        written(&AMQPFrame::Header(
            1,
            amq_protocol::frame::AMQPContentHeader {
                class_id: 60,
                body_size: 7,
                properties: copy,
            },
        ))
    });
    assert!(!used.unwrap().join().unwrap().is_empty());
}

#[test]
fn a_frame_that_is_too_large_loses_its_largest_headers_and_says_so() {
    let id = "i".repeat(200);
    let entries = [
        text(b"small", b"kept"),
        text(b"large", &[b'x'; 3800]),
        text(b"larger", &[b'x'; 100_000]),
        text(b"cloudEvents_id", id.as_bytes()),
    ];
    for (frame_max, kept) in [(131_072, 4), (8192, 3), (4096, 2)] {
        let clean = cleaned(&header(HEADERS, &table(&entries.concat())), frame_max);
        let headers = clean.headers().as_ref().unwrap().inner();
        assert!(headers.contains_key("small") && headers.contains_key("cloudEvents_id"));
        assert_eq!(headers.len() - usize::from(kept < 4), kept);
    }
    let clean = cleaned(&header(HEADERS, &table(&entries.concat())), 4096);
    assert_eq!(
        note(&clean),
        "left out the header larger; left out the header large"
    );
}

#[test]
fn many_headers_fit_as_well_and_a_long_id_is_the_one_that_the_event_has() {
    let long = [b'i'; 3900];
    let mut entries = text(b"cloudEvents_id", &long);
    for number in 0..3000 {
        entries.extend_from_slice(&text(format!("{number:04}").as_bytes(), b""));
    }
    let clean = cleaned(&header(HEADERS, &table(&entries)), 4096);
    let headers = clean.headers().as_ref().unwrap().inner();
    let id = headers["cloudEvents_id"].as_long_string().unwrap();
    assert_eq!(id.to_string(), crate::identity::raw_id(&long));
    assert!(
        headers.len() > 50 && note(&clean).ends_with("more"),
        "{headers:?}"
    );
}

#[test]
fn the_smallest_frame_holds_all_properties() {
    let mut all = Vec::new();
    let text = [&[255][..], &[0xe9; 255]].concat();
    all.extend_from_slice(&[&text[..], &text].concat());
    all.extend_from_slice(&table(&nested("h", 3000, b'F')));
    all.extend_from_slice(&[2, 9]);
    all.extend_from_slice(&text.repeat(4));
    all.extend_from_slice(&[0; 8]);
    all.extend_from_slice(&text.repeat(4));
    let clean = cleaned(&header(0xfffc, &all), 4096);
    assert_eq!(clean.priority(), &Some(9));
    assert_eq!(
        clean.cluster_id().as_ref().unwrap().as_str(),
        "?".repeat(255)
    );
}

#[test]
fn values_beyond_a_number_become_bytes_or_are_left_out() {
    let array = [
        b"\x05array\x41".to_vec(),
        table(&[b'V'; 100_000]),
        text(b"next", b""),
    ]
    .concat();
    let clean = cleaned(&header(HEADERS, &table(&array)), FRAME_MAX);
    let headers = clean.headers().as_ref().unwrap().inner();
    assert!(matches!(&headers["array"], AMQPValue::ByteArray(_)));
    assert!(headers.contains_key("next"));
    let many = b"\x01aV".repeat(40_000);
    assert!(note(&cleaned(&header(HEADERS, &table(&many)), FRAME_MAX)).contains("after the first"));
}

#[test]
fn a_header_frame_that_nobody_gathers_keeps_its_properties() {
    let large = text(b"large", &vec![b'x'; 3_000_000]);
    let bytes = [
        header(
            HEADERS | MESSAGE_ID,
            &[table(&large), b"\x02id".to_vec()].concat(),
        ),
        frame(3, b"1234567"),
    ]
    .concat();
    let clean = through(&bytes, 131_072, 50_000);
    let (body, first) = parse_frame(&clean[..]).unwrap();
    let AMQPFrame::Header(1, header) = first else {
        panic!("{first:?}")
    };
    assert_eq!(
        header.properties.message_id().as_ref().unwrap().as_str(),
        "id"
    );
    assert!(note(&header.properties).starts_with("left out bytes of headers: 3000"));
    assert_eq!(body, frame(3, b"1234567"));
}

#[test]
fn the_texts_of_methods_are_cleaned() {
    for (method, expected) in [
        // basic.deliver: tag, delivery tag, redelivered, exchange, routing key
        (
            &b"\0\x3c\0\x3c\x01\xff\0\0\0\0\0\0\0\x01\x01\x02x\xe9\x04caf\xe9"[..],
            "caf?",
        ),
        // basic.return: code, text, exchange, routing key
        (b"\0\x3c\0\x32\x01\x38\x02N\xff\x01\xff\x04caf\xe9", "caf?"),
        // basic.cancel: tag, nowait
        (b"\0\x3c\0\x1e\x04caf\xe9\x01", "caf?"),
        // channel.close and connection.close: code, text, class, method
        (b"\0\x14\0\x28\x01\x96\x04caf\xe9\0\x3c\0\x28", "caf?"),
        (b"\0\x0a\0\x32\x01\x40\x04caf\xe9\0\0\0\0", "caf?"),
        // connection.blocked: reason
        (b"\0\x0a\0\x3c\x04caf\xe9", "caf?"),
        // queue.declare-ok: name, messages, consumers
        (b"\0\x32\0\x0b\x04caf\xe9\0\0\0\0\0\0\0\0", "caf?"),
        // basic.get-ok: delivery tag, redelivered, exchange, routing key, messages
        (
            b"\0\x3c\0\x47\0\0\0\0\0\0\0\x01\0\x01\xe9\x04caf\xe9\0\0\0\0",
            "caf?",
        ),
        // connection.start: version, properties, mechanisms, locales
        (
            b"\0\x0a\0\x0a\0\x09\0\0\0\x06\x04caf\xe9V\0\0\0\0\0\0\0\0",
            "caf?",
        ),
    ] {
        let bytes = frame(1, method);
        assert!(
            parse_frame(&bytes[..]).is_err(),
            "this one is no test: {method:?}"
        );
        let clean = through(&bytes, 131_072, 1000);
        let (rest, frame) = parse_frame(&clean[..]).unwrap();
        assert!(
            rest.is_empty() && format!("{frame:?}").contains(expected),
            "{frame:?}"
        );
    }
}

/// What RabbitMQ offers counts, as it does for lapin.
/// What RabbitMQ sends of a message of `bytes`, in frames of at most 1000.
fn delivery(channel: u8, tag: u8, bytes: usize) -> Vec<Vec<u8>> {
    let on_channel = |mut frame: Vec<u8>| {
        frame[2] = channel;
        frame
    };
    let method = [b"\0\x3c\0\x3c\x01t\0\0\0\0\0\0\0", &[tag][..], b"\0\0\0"].concat();
    let mut header = header(0, b"");
    header[11..19].copy_from_slice(&(bytes as u64).to_be_bytes());
    let mut frames = vec![on_channel(frame(1, &method)), on_channel(header)];
    let body = vec![channel; bytes];
    frames.extend(body.chunks(1000).map(|part| on_channel(frame(3, part))));
    frames
}

#[test]
fn a_body_without_room_is_left_out_and_others_come_between() {
    let bytes: Vec<u8> = {
        let (large, small) = (delivery(1, 1, 3500), delivery(2, 1, 1500));
        let mut frames = large.into_iter();
        let mut mixed: Vec<_> = frames.by_ref().take(3).collect();
        mixed.extend(small);
        mixed.extend(frames);
        mixed.extend(delivery(1, 2, 1000));
        mixed.concat()
    };
    for chunk in [1, 7, 1000, 100_000] {
        let intake = Arc::new(Intake::new(Budget::new(4000)));
        // Somebody holds so much that the first one finds no room.
        assert!(intake.admit(9, 1, false, 0, 900));
        let frames = Frames::new(Some(131_072), Some(intake.clone()));
        let clean = read(frames, &bytes, chunk);
        let (mut rest, mut bodies, mut heartbeats) = (&clean[..], vec![0; 3], 0);
        let mut sizes = Vec::new();
        while !rest.is_empty() {
            let (next, frame) = parse_frame(rest).unwrap();
            match frame {
                AMQPFrame::Header(channel, header) => sizes.push((channel, header.body_size)),
                AMQPFrame::Body(channel, part) => bodies[usize::from(channel)] += part.len(),
                AMQPFrame::Heartbeat => heartbeats += 1,
                _ => {}
            }
            rest = next;
        }
        assert_eq!(sizes, [(1, 0), (2, 1500), (1, 1000)], "{chunk}");
        assert_eq!((bodies, heartbeats), (vec![0, 1000, 1500], 4), "{chunk}");
        let taken = [(1, 1), (2, 1), (1, 2)].map(|(channel, tag)| intake.take(channel, tag));
        assert!(
            matches!(
                taken,
                [
                    Some(Taken::LeftOut(_)),
                    Some(Taken::Whole(_)),
                    Some(Taken::Whole(_))
                ]
            ),
            "{taken:?}"
        );
    }
}

#[test]
fn frame_max_is_what_both_agree_on() {
    for (asked, offered, agreed) in [
        (0, 4096, 4096),
        (8192, 131_072, 8192),
        (131_072, 8192, 8192),
    ] {
        let mut tune = b"\0\x0a\0\x1e\0\0".to_vec();
        tune.extend_from_slice(&u32::to_be_bytes(offered));
        tune.extend_from_slice(&[0, 10]);
        let large = header(HEADERS, &table(&text(b"large", &[b'x'; 9000])));
        let bytes = [frame(1, &tune), large].concat();
        let clean = through(&bytes, asked, bytes.len());
        assert!(clean.len() - 20 <= agreed, "{asked} {offered}");
    }
}

#[test]
fn what_is_no_amqp_passes_to_whom_it_concerns() {
    let bytes = b"AMQP\0\0\x09\x01HTTP/1.1 400";
    assert_eq!(through(bytes, 0, 3), bytes);
}

fn written(frame: &AMQPFrame) -> Vec<u8> {
    let write = gen_frame(frame)(WriteContext::from(Vec::new()));
    write.unwrap().into_inner().0
}

/// Values as publishers write them, three deep at most.
fn value() -> impl Strategy<Value = AMQPValue> {
    let leaf = prop_oneof![
        any::<bool>().prop_map(AMQPValue::Boolean),
        any::<i8>().prop_map(AMQPValue::ShortShortInt),
        any::<u16>().prop_map(AMQPValue::ShortUInt),
        any::<i64>().prop_map(AMQPValue::LongLongInt),
        any::<u64>().prop_map(AMQPValue::Timestamp),
        vec(any::<u8>(), 0..50).prop_map(|bytes| AMQPValue::LongString(bytes.into())),
        vec(any::<u8>(), 0..50).prop_map(|bytes| AMQPValue::ByteArray(bytes.into())),
        Just(AMQPValue::Void),
    ];
    leaf.prop_recursive(3, 20, 5, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..5)
                .prop_map(|values| AMQPValue::FieldArray(FieldArray::from(values))),
            vec(("[a-zé]{0,9}", inner), 0..5).prop_map(|entries| {
                let mut table = FieldTable::default();
                for (name, value) in entries {
                    table.insert(name.into(), value);
                }
                AMQPValue::FieldTable(table)
            }),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn whole_frames_pass_byte_for_byte(
        values in vec(("[a-zé]{1,9}", value()), 0..6),
        id in "[a-zé]{0,60}",
        body in vec(any::<u8>(), 0..300),
        chunk in 1usize..400,
    ) {
        let mut headers = FieldTable::default();
        for (name, value) in values {
            headers.insert(name.into(), value);
        }
        let properties = BasicProperties::default()
            .with_headers(headers)
            .with_message_id(id.into())
            .with_timestamp(7);
        let header = amq_protocol::frame::AMQPContentHeader {
            class_id: 60,
            body_size: body.len() as u64,
            properties,
        };
        let bytes = [
            written(&AMQPFrame::Header(1, header)),
            frame(3, &body),
            frame(8, b""),
            frame(1, b"\0\x3c\0\x3c\x01t\0\0\0\0\0\0\0\x01\x01\x01x\x03key"),
        ]
        .concat();
        prop_assert_eq!(through(&bytes, 131_072, chunk), bytes);
    }

    #[test]
    fn any_properties_become_some_that_parse(
        flags in any::<u16>(),
        bytes in vec(any::<u8>(), 0..200),
        chunk in 1usize..300,
    ) {
        let bytes = header(flags, &bytes);
        properties(&through(&bytes, 4096, chunk));
    }

    /// The structure holds, but for a few bytes of it.
    #[test]
    fn broken_tables_become_some_that_parse(
        values in vec(("[a-zé]{1,9}", value()), 1..6),
        faults in vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let mut headers = FieldTable::default();
        for (name, value) in values {
            headers.insert(name.into(), value);
        }
        let properties = BasicProperties::default().with_headers(headers).with_type("t".into());
        let header = amq_protocol::frame::AMQPContentHeader { class_id: 60, body_size: 7, properties };
        let mut bytes = written(&AMQPFrame::Header(1, header));
        let payload = 19..bytes.len() - 1;
        for (index, fault) in faults {
            bytes[payload.start + index.index(payload.len())] = fault;
        }
        self::properties(&through(&bytes, 4096, 1000));
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in vec(any::<u8>(), 0..500), chunk in 1usize..100, kind in 1u8..4) {
        through(&bytes, 0, chunk);
        through(&frame(kind, &bytes), 0, chunk);
    }
}
