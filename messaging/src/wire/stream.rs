//! The stream that lapin reads from and writes to.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
};

use async_rs::{Tokio, traits::Reactor};
use futures_io::{AsyncRead, AsyncWrite};
use lapin::AsyncTcpStream;

use super::{frames::Frames, inbox::Inbox};

/// The socket, with TLS if requested.
type Socket = AsyncTcpStream<<Tokio as Reactor>::TcpStream>;

/// With less room than this after the beginning of a frame, reads use a separate buffer.
const ROOM_MIN: usize = 8 * 1024;

/// A socket whose frames lapin can always parse.
pub(super) struct CleanStream {
    socket: Socket,
    inbox: Inbox,
}

impl CleanStream {
    pub(super) fn new(socket: Socket, frames: Frames) -> Self {
        Self {
            socket,
            inbox: Inbox::new(frames),
        }
    }
}

impl CleanStream {
    /// One read of the socket. Returns how many bytes of `out` are ready, possibly zero; `None` at
    /// the end.
    fn poll_socket(
        &mut self,
        context: &mut Context<'_>,
        out: &mut [u8],
    ) -> Poll<io::Result<Option<usize>>> {
        let begun = self.inbox.partial().len();
        if out.len() >= begun + ROOM_MIN {
            let Some(read) = ready!(self.poll_after(begun, context, out))? else {
                return Poll::Ready(Ok(None));
            };
            return Poll::Ready(Ok(Some(self.inbox.clean(&mut out[..read]))));
        }
        let mut around = vec![0; begun + ROOM_MIN];
        let Some(read) = ready!(self.poll_after(begun, context, &mut around))? else {
            return Poll::Ready(Ok(None));
        };
        self.inbox.keep(&mut around[..read]);
        Poll::Ready(Ok(Some(self.inbox.give(out))))
    }

    /// Reads after the beginning of a frame, of `begun` bytes, and returns the total.
    fn poll_after(
        &mut self,
        begun: usize,
        context: &mut Context<'_>,
        bytes: &mut [u8],
    ) -> Poll<io::Result<Option<usize>>> {
        let (partial, room) = bytes.split_at_mut(begun);
        let read = ready!(Pin::new(&mut self.socket).poll_read(context, room))?;
        if read == 0 {
            return Poll::Ready(Ok(None));
        }
        partial.copy_from_slice(self.inbox.partial());
        self.inbox.forget_partial();
        Poll::Ready(Ok(Some(begun + read)))
    }
}

impl AsyncRead for CleanStream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        out: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let stream = self.get_mut();
        loop {
            let given = stream.inbox.give(out);
            if given > 0 || out.is_empty() {
                return Poll::Ready(Ok(given));
            }
            match ready!(stream.poll_socket(context, out))? {
                None => return Poll::Ready(Ok(0)),
                Some(0) => {}
                Some(given) => return Poll::Ready(Ok(given)),
            }
        }
    }
}

impl AsyncWrite for CleanStream {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().socket).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().socket).poll_write_vectored(context, slices)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_flush(context)
    }

    fn poll_close(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_close(context)
    }
}
