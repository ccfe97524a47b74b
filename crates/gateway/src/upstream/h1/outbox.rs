//! What waits to be written on an HTTP/1 connection: small things together in one buffer, so that a
//! head and a small body are one write; large pieces of a body as they came, without a copy.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes};
use tokio::io::AsyncWrite as _;

use super::super::stream::Stream;
use crate::http::head::Fields;
use crate::http1::{encode_chunk_head, encode_last_chunk};

/// Pieces of a body up to this size are copied behind what waits.
const COPY_UP_TO: usize = 8 << 10;
/// Bytes that wait before more are taken from the source.
const HIGH_WATER: usize = 32 << 10;
/// A buffer that a large head has grown beyond this is not kept between calls.
const KEEP_UP_TO: usize = 16 << 10;

const LINE_END: &[u8; 2] = b"\r\n";

#[derive(Debug, Default)]
pub(super) struct Outbox {
    small: Vec<u8>,
    /// How much of `small` is written.
    at: usize,
    /// Follows `small`.
    large: Bytes,
    /// How many bytes of [`LINE_END`] follow `large`.
    line_end: usize,
    unflushed: bool,
    /// Bytes written for this call.
    sent: u64,
}

impl Outbox {
    /// An empty buffer for the head of a new call.
    pub(super) fn begin(&mut self) -> &mut Vec<u8> {
        self.at = 0;
        self.sent = 0;
        self.small.clear();
        &mut self.small
    }

    /// Bytes written for this call.
    pub(super) const fn sent(&self) -> u64 {
        self.sent
    }

    /// Whether everything was written.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting() == 0 && !self.unflushed
    }

    /// Whether nothing may be added before some of it is written.
    pub(super) fn is_full(&self) -> bool {
        !self.large.is_empty() || self.line_end > 0 || self.waiting() >= HIGH_WATER
    }

    /// Adds a piece of the body. Only if it is not full.
    pub(super) fn push(&mut self, data: Bytes, chunked: bool) {
        if data.is_empty() {
            return;
        }
        if chunked {
            encode_chunk_head(data.len(), &mut self.small);
        }
        if data.len() > COPY_UP_TO {
            self.large = data;
            self.line_end = if chunked { LINE_END.len() } else { 0 };
            return;
        }
        self.small.extend_from_slice(&data);
        if chunked {
            self.small.extend_from_slice(LINE_END);
        }
    }

    /// Adds the end of a chunked body. Only if it is not full.
    pub(super) fn push_last(&mut self, trailers: Option<&Fields>) {
        encode_last_chunk(trailers, &mut self.small);
    }

    /// Writes until nothing waits.
    pub(super) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut Stream,
    ) -> Poll<io::Result<()>> {
        while self.waiting() > 0 {
            let small = self.small.get(self.at..).unwrap_or_default();
            let written = if self.large.is_empty() && self.line_end == 0 {
                ready!(Pin::new(&mut *stream).poll_write(cx, small))?
            } else {
                let line_end = &LINE_END[LINE_END.len() - self.line_end..];
                let parts = [small, &self.large, line_end].map(IoSlice::new);
                ready!(Pin::new(&mut *stream).poll_write_vectored(cx, &parts))?
            };
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.unflushed = stream.needs_flush();
            self.advance(written);
        }
        if self.unflushed {
            ready!(Pin::new(stream).poll_flush(cx))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    /// Lets go of what a call left behind, before the connection waits for the next.
    pub(super) fn rest(&mut self) {
        if self.small.capacity() > KEEP_UP_TO {
            self.small = Vec::new();
        }
    }

    fn waiting(&self) -> usize {
        self.small.len() - self.at + self.large.len() + self.line_end
    }

    fn advance(&mut self, written: usize) {
        self.sent += written as u64;
        let of_small = written.min(self.small.len() - self.at);
        self.at += of_small;
        if self.at == self.small.len() {
            self.small.clear();
            self.at = 0;
        }
        let of_large = (written - of_small).min(self.large.len());
        self.large.advance(of_large);
        if self.large.is_empty() {
            self.large = Bytes::new();
        }
        self.line_end -= (written - of_small - of_large).min(self.line_end);
    }
}
