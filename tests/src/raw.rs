//! A publisher that writes its frames itself, so that it can send what no client would.

use std::{collections::BTreeSet, io};

use lapin::uri::AMQPUri;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, BufStream},
    net::TcpStream,
};

use crate::OrPanic as _;

const METHOD: u8 = 1;
const HEADER: u8 = 2;
const BODY: u8 = 3;

/// A connection with one channel in confirm mode.
pub struct Raw {
    stream: BufStream<TcpStream>,
    frame_max: usize,
    published: u64,
    unconfirmed: BTreeSet<u64>,
}

impl Raw {
    /// Connects.
    pub async fn connect(url: &str) -> Self {
        let uri: AMQPUri = url.parse().or_panic(url);
        let addr = (uri.authority.host.as_str(), uri.authority.port);
        let socket = TcpStream::connect(addr).await.or_panic("a connection");
        let mut raw = Self {
            stream: BufStream::new(socket),
            frame_max: 4096,
            published: 0,
            unconfirmed: BTreeSet::new(),
        };
        raw.handshake(&uri).await.or_panic("the handshake");
        raw
    }

    async fn handshake(&mut self, uri: &AMQPUri) -> io::Result<()> {
        let user = &uri.authority.userinfo;
        let password = format!("\0{}\0{}", user.username, user.password);
        self.stream.write_all(b"AMQP\0\0\x09\x01").await?;
        self.expect((10, 10)).await?;
        let start_ok = [
            &[0; 4],
            &short(b"PLAIN")[..],
            &long(password.as_bytes()),
            &short(b"en_US"),
        ];
        self.method(0, (10, 11), &start_ok.concat()).await?;
        let mut tune = self.expect((10, 30)).await?;
        self.frame_max = u32::from_be_bytes([tune[2], tune[3], tune[4], tune[5]]) as usize;
        tune[6..8].fill(0); // no heartbeat
        self.method(0, (10, 31), &tune).await?;
        let open = [&short(uri.vhost.as_bytes())[..], &[0, 0]].concat();
        self.method(0, (10, 40), &open).await?;
        self.expect((10, 41)).await?;
        self.method(1, (20, 10), &[0]).await?;
        self.expect((20, 11)).await?;
        self.method(1, (85, 10), &[0]).await?;
        self.expect((85, 11)).await?;
        Ok(())
    }

    /// Publishes a message with raw `properties`, flags included. Several may be in flight.
    pub async fn publish(&mut self, exchange: &str, key: &[u8], properties: &[u8], body: &[u8]) {
        self.published += 1;
        self.unconfirmed.insert(self.published);
        let sent = self.send(exchange, key, properties, body).await;
        sent.or_panic("a publish");
    }

    async fn send(
        &mut self,
        exchange: &str,
        key: &[u8],
        properties: &[u8],
        body: &[u8],
    ) -> io::Result<()> {
        let publish = [&[0, 0], &short(exchange.as_bytes())[..], &short(key), &[0]].concat();
        self.method(1, (60, 40), &publish).await?;
        let size = (body.len() as u64).to_be_bytes();
        let header = [&[0, 60, 0, 0], &size[..], properties].concat();
        self.frame(HEADER, 1, &header).await?;
        for part in body.chunks(self.frame_max - 8) {
            self.frame(BODY, 1, part).await?;
        }
        Ok(())
    }

    /// Waits until all that was published is confirmed.
    pub async fn confirmed(&mut self) {
        while !self.unconfirmed.is_empty() {
            let ack = self.expect((60, 80)).await.or_panic("a confirm");
            let tag = ack[..8].try_into().map_or(0, u64::from_be_bytes);
            if ack[8] == 0 {
                self.unconfirmed.remove(&tag);
            } else {
                self.unconfirmed = self.unconfirmed.split_off(&(tag + 1));
            }
        }
    }

    /// The arguments of the next method, which must be this one.
    async fn expect(&mut self, method: (u16, u16)) -> io::Result<Vec<u8>> {
        self.stream.flush().await?;
        loop {
            let mut head = [0; 7];
            self.stream.read_exact(&mut head).await?;
            let length = u32::from_be_bytes([head[3], head[4], head[5], head[6]]) as usize;
            let mut payload = vec![0; length + 1];
            self.stream.read_exact(&mut payload).await?;
            if head[0] != METHOD {
                continue;
            }
            payload.pop();
            let got = (
                u16::from_be_bytes([payload[0], payload[1]]),
                u16::from_be_bytes([payload[2], payload[3]]),
            );
            let said = String::from_utf8_lossy(&payload);
            assert_eq!(got, method, "RabbitMQ says {said:?}");
            return Ok(payload.split_off(4));
        }
    }

    async fn method(&mut self, channel: u16, id: (u16, u16), arguments: &[u8]) -> io::Result<()> {
        let payload = [&id.0.to_be_bytes(), &id.1.to_be_bytes()[..], arguments].concat();
        self.frame(METHOD, channel, &payload).await
    }

    async fn frame(&mut self, kind: u8, channel: u16, payload: &[u8]) -> io::Result<()> {
        self.stream.write_u8(kind).await?;
        self.stream.write_u16(channel).await?;
        self.stream.write_all(&length(payload)).await?;
        self.stream.write_all(payload).await?;
        self.stream.write_u8(0xce).await
    }
}

/// A short string.
pub fn short(bytes: &[u8]) -> Vec<u8> {
    let length = u8::try_from(bytes.len()).or_panic("a short string");
    [&[length], bytes].concat()
}

/// A long string, a table or an array, without its tag.
pub fn long(bytes: &[u8]) -> Vec<u8> {
    [&length(bytes), bytes].concat()
}

/// An entry of a table.
pub fn entry(name: &[u8], tag: u8, value: &[u8]) -> Vec<u8> {
    [&short(name)[..], &[tag], value].concat()
}

/// The properties of a message: flags, headers where there are some, and an id.
pub fn properties(headers: &[u8], message_id: &[u8]) -> Vec<u8> {
    [&[0x20, 0x80], &long(headers)[..], &short(message_id)].concat()
}

/// Properties without headers: a short string at one of their 14 places, and an id.
pub fn with_text(place: u8, text: &[u8], id: &[u8]) -> Vec<u8> {
    let flags: u16 = 1 << (15 - place) | 1 << 7;
    let (first, second) = if place < 8 { (text, id) } else { (id, text) };
    [&flags.to_be_bytes()[..], &short(first), &short(second)].concat()
}

/// A table or an array nested so deep, without its tag.
pub fn nested(depth: usize, tag: u8) -> Vec<u8> {
    let name: &[u8] = if tag == b'F' { b"\x01n" } else { b"" };
    let mut value = long(&[name, b"V"].concat());
    for _ in 1..depth {
        value = long(&[name, &[tag], &value].concat());
    }
    value
}

fn length(bytes: &[u8]) -> [u8; 4] {
    u32::try_from(bytes.len())
        .or_panic("a length")
        .to_be_bytes()
}
