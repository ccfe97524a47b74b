//! A stream that an extended `CONNECT` has turned into another protocol's (RFC 8441), on either side
//! of the gateway.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use ::h2::{RecvStream, SendStream};
use bytes::{Buf as _, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::conn::Ticket;

/// Bytes that are copied into one frame.
const MOST: usize = 16 << 10;

/// A stream to an instance.
#[derive(Debug)]
pub(in crate::upstream) struct Tunnel {
    pub(in crate::upstream) stream: Duplex,
    _ticket: Ticket,
}

impl Tunnel {
    pub(super) const fn new(recv: RecvStream, send: SendStream<Bytes>, ticket: Ticket) -> Self {
        Self { stream: Duplex::new(recv, send), _ticket: ticket }
    }
}

/// The two directions of a stream as one connection.
#[derive(Debug)]
pub(crate) struct Duplex {
    recv: RecvStream,
    send: SendStream<Bytes>,
    /// Received and not yet read.
    early: Bytes,
}

impl Duplex {
    /// A connection over a stream whose heads are through.
    pub(crate) const fn new(recv: RecvStream, send: SendStream<Bytes>) -> Self {
        Self { recv, send, early: Bytes::new() }
    }
}

impl AsyncRead for Duplex {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        while self.early.is_empty() {
            match ready!(self.recv.poll_data(cx)) {
                Some(data) => self.early = data.map_err(to_io)?,
                None => return Poll::Ready(Ok(())),
            }
        }
        let len = self.early.len().min(buf.remaining());
        buf.put_slice(&self.early[..len]);
        self.early.advance(len);
        let _closed = self.recv.flow_control().release_capacity(len);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Duplex {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        if buf.is_empty() {
            return Poll::Ready(Ok(0));
        }
        self.send.reserve_capacity(buf.len().min(MOST));
        while self.send.capacity() == 0 {
            match ready!(self.send.poll_capacity(cx)) {
                Some(capacity) => drop(capacity.map_err(to_io)?),
                None => return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
            }
        }
        let len = self.send.capacity().min(buf.len()).min(MOST);
        self.send.send_data(Bytes::copy_from_slice(&buf[..len]), false).map_err(to_io)?;
        Poll::Ready(Ok(len))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // The connection's task writes what was handed to the library.
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.send.send_data(Bytes::new(), true).map_err(to_io))
    }
}

fn to_io(error: ::h2::Error) -> io::Error {
    error.into_io().unwrap_or_else(|| io::ErrorKind::ConnectionReset.into())
}
