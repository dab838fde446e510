//! One direction of one connection.

use std::{io, time::Duration};

use bytes::{Bytes, BytesMut};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::tcp::{ReadHalf, WriteHalf},
    sync::{mpsc, watch},
    time::{Instant, sleep, sleep_until},
};

use super::Mode;

/// Bytes read at one time.
const CHUNK_BYTES: usize = 16 * 1024;
/// Chunks in flight; beyond them the sender is not read, as when the network's buffers are full.
const CHUNKS_MAX: usize = 256;
/// Throttled bytes are written in pieces of so many a second.
const PIECES_PER_SECOND: u32 = 20;

#[derive(Clone, Copy)]
pub(super) enum Direction {
    Up,
    Down,
}

/// Carries bytes until the sender's end, which is carried too.
pub(super) async fn run(
    from: ReadHalf<'_>,
    to: WriteHalf<'_>,
    mode: watch::Receiver<Mode>,
    direction: Direction,
) -> io::Result<()> {
    let (sender, receiver) = mpsc::channel(CHUNKS_MAX);
    tokio::try_join!(
        read(from, sender, mode.clone(), direction),
        write(to, receiver, mode),
    )?;
    Ok(())
}

/// Reads at once, so that a delay is not made longer by the chunks before it.
async fn read(
    mut from: ReadHalf<'_>,
    chunks: mpsc::Sender<(Instant, Bytes)>,
    mode: watch::Receiver<Mode>,
    direction: Direction,
) -> io::Result<()> {
    loop {
        let mut chunk = BytesMut::with_capacity(CHUNK_BYTES);
        let read = from.read_buf(&mut chunk).await?;
        let due = Instant::now() + delay(&mode.borrow(), direction);
        // An empty chunk is the sender's end. An error means that the writer is gone.
        if chunks.send((due, chunk.freeze())).await.is_err() || read == 0 {
            return Ok(());
        }
    }
}

async fn write(
    mut to: WriteHalf<'_>,
    mut chunks: mpsc::Receiver<(Instant, Bytes)>,
    mut mode: watch::Receiver<Mode>,
) -> io::Result<()> {
    while let Some((due, mut chunk)) = chunks.recv().await {
        sleep_until(due).await;
        if chunk.is_empty() {
            passing(&mut mode).await;
            return to.shutdown().await;
        }
        while !chunk.is_empty() {
            passing(&mut mode).await;
            let rate = match &*mode.borrow() {
                Mode::Throttle(bytes_per_second) => Some((*bytes_per_second).max(1)),
                _ => None,
            };
            let Some(rate) = rate else {
                to.write_all(&chunk).await?;
                break;
            };
            let piece = (rate / PIECES_PER_SECOND).max(1);
            let length = chunk.len().min(piece.try_into().unwrap_or(usize::MAX));
            to.write_all(&chunk.split_to(length)).await?;
            sleep(Duration::from_secs(1) * u32::try_from(length).unwrap_or(piece) / rate).await;
        }
    }
    Ok(())
}

/// Waits while nothing passes.
async fn passing(mode: &mut watch::Receiver<Mode>) {
    // An error means that the proxy is gone; later writes do no harm.
    let _proxy_gone = mode.wait_for(|mode| *mode != Mode::HalfOpen).await;
}

fn delay(mode: &Mode, direction: Direction) -> Duration {
    match (mode, direction) {
        (Mode::Delay { up, .. }, Direction::Up) => *up,
        (Mode::Delay { down, .. }, Direction::Down) => *down,
        _ => Duration::ZERO,
    }
}
