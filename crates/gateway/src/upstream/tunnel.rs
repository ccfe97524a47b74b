//! A connection to an instance after it stopped being HTTP: bytes in both directions.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf as _, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::h1;
use super::h2;
use super::stream::Stream;
use crate::cluster::Connection;

/// Bytes to and from an instance.
#[derive(Debug)]
pub struct Tunnel(Way);

#[derive(Debug)]
enum Way {
    H1 {
        stream: Stream,
        /// What was read together with the head.
        early: BytesMut,
        _counted: Connection,
    },
    H2(Box<h2::Tunnel>),
    Closed,
}

impl Tunnel {
    pub(super) fn h1(conn: h1::Conn) -> Self {
        let (stream, early, counted) = conn.into_parts();
        Self(Way::H1 { stream, early, _counted: counted })
    }

    pub(super) fn h2(tunnel: h2::Tunnel) -> Self {
        Self(Way::H2(Box::new(tunnel)))
    }

    pub(super) const fn closed() -> Self {
        Self(Way::Closed)
    }
}

impl AsyncRead for Tunnel {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.get_mut().0 {
            Way::H1 { early, .. } if !early.is_empty() => {
                let len = early.len().min(buf.remaining());
                buf.put_slice(&early[..len]);
                early.advance(len);
                Poll::Ready(Ok(()))
            }
            Way::H1 { stream, .. } => Pin::new(stream).poll_read(cx, buf),
            Way::H2(tunnel) => Pin::new(&mut tunnel.stream).poll_read(cx, buf),
            Way::Closed => Poll::Ready(Ok(())),
        }
    }
}

impl AsyncWrite for Tunnel {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().0 {
            Way::H1 { stream, .. } => Pin::new(stream).poll_write(cx, buf),
            Way::H2(tunnel) => Pin::new(&mut tunnel.stream).poll_write(cx, buf),
            Way::Closed => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().0 {
            Way::H1 { stream, .. } => Pin::new(stream).poll_flush(cx),
            Way::H2(_) | Way::Closed => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().0 {
            Way::H1 { stream, .. } => Pin::new(stream).poll_shutdown(cx),
            Way::H2(tunnel) => Pin::new(&mut tunnel.stream).poll_shutdown(cx),
            Way::Closed => Poll::Ready(Ok(())),
        }
    }
}
