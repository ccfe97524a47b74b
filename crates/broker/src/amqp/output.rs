//! What a connection has yet to send: small frames one after the other in one buffer, large bodies
//! beside it, uncopied; all of it leaves in as few writes as the socket takes. It is the owner who
//! looks at [`Output::waiting`] and stops filling it.

use std::collections::VecDeque;
use std::io::{self, IoSlice};

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use tokio::io::{AsyncWrite, AsyncWriteExt as _};

use super::wire::{AROUND, Method, write_body, write_header, write_heartbeat, write_method};
use crate::message::Message;

/// Pieces of bodies up to this size are copied among the frames: that costs less than a segment.
const COPIED: usize = 4 << 10;
/// Segments that are given to one write.
const SLICES: usize = 32;

/// Frames that wait for the socket.
#[derive(Debug, Default)]
pub(super) struct Output {
    segments: VecDeque<Bytes>,
    tail: BytesMut,
    waiting: usize,
    sent: u64,
    /// Something was written that may wait within the TLS session.
    unflushed: bool,
}

impl Output {
    /// How many octets wait.
    pub(super) fn waiting(&self) -> usize {
        self.waiting + self.tail.len()
    }

    /// How many octets were ever added.
    pub(super) fn added(&self) -> u64 {
        self.sent + self.waiting() as u64
    }

    /// How many octets were ever written.
    pub(super) const fn sent(&self) -> u64 {
        self.sent
    }

    /// Whether there is nothing to do.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting() == 0 && !self.unflushed
    }

    /// Adds octets that are no frame.
    pub(super) fn raw(&mut self, octets: &[u8]) {
        self.tail.put_slice(octets);
    }

    /// Adds a method.
    pub(super) fn method<'a>(&mut self, channel: u16, method: impl Into<Method<'a>>) {
        write_method(&mut self.tail, channel, &method.into());
    }

    /// Adds a sign of life.
    pub(super) fn heartbeat(&mut self) {
        write_heartbeat(&mut self.tail);
    }

    /// Adds a method with its content, the body cut into frames that are not larger than
    /// `frame_max`.
    pub(super) fn content<'a>(
        &mut self,
        channel: u16,
        method: impl Into<Method<'a>>,
        message: &Message,
        frame_max: u32,
    ) {
        self.method(channel, method);
        let size = message.body.len() as u64;
        write_header(&mut self.tail, channel, size, &message.properties);
        let most = (frame_max as usize).saturating_sub(AROUND).max(1);
        let mut rest = message.body.clone();
        while !rest.is_empty() {
            let piece = rest.split_to(rest.len().min(most));
            let length = u32::try_from(piece.len()).unwrap_or(u32::MAX);
            let (segments, waiting) = (&mut self.segments, &mut self.waiting);
            write_body(&mut self.tail, channel, length, |tail| {
                if piece.len() <= COPIED {
                    tail.put_slice(&piece);
                    return;
                }
                for segment in [tail.split().freeze(), piece] {
                    *waiting += segment.len();
                    segments.push_back(segment);
                }
            });
        }
    }

    /// Writes what the socket takes. May be dropped at any time.
    pub(super) async fn write(&mut self, io: &mut (impl AsyncWrite + Unpin)) -> io::Result<()> {
        if self.waiting() == 0 {
            io.flush().await?;
            self.unflushed = false;
            return Ok(());
        }
        let mut slices = [IoSlice::new(&[]); SLICES];
        let mut count = 0;
        let tail = (self.segments.len() < SLICES).then_some(&self.tail[..]);
        let segments = self.segments.iter().map(|segment| &segment[..]);
        for (place, octets) in slices.iter_mut().zip(segments.chain(tail)) {
            *place = IoSlice::new(octets);
            count += 1;
        }
        let written = io.write_vectored(&slices[..count]).await?;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        self.unflushed = true;
        self.sent += written as u64;
        self.written(written);
        Ok(())
    }

    /// All that waits, as if it had been written.
    #[cfg(test)]
    pub(super) fn take_all(&mut self) -> Vec<u8> {
        let segments = self.segments.iter().map(|segment| &segment[..]);
        let all: Vec<u8> = segments.chain([&self.tail[..]]).flatten().copied().collect();
        self.sent += all.len() as u64;
        self.written(all.len());
        all
    }

    fn written(&mut self, mut octets: usize) {
        while let Some(first) = self.segments.front_mut() {
            let part = octets.min(first.len());
            first.advance(part);
            self.waiting -= part;
            octets -= part;
            if !first.is_empty() {
                return;
            }
            self.segments.pop_front();
        }
        self.tail.advance(octets);
        if self.tail.is_empty() {
            // An idle connection holds no memory.
            self.tail = BytesMut::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use posthouse_base::time::Timestamp;

    use super::*;
    use crate::amqp::wire::methods::BasicDeliver;
    use crate::amqp::wire::{Frame, Kind, Splitter};
    use crate::message::Properties;

    const FRAME_MAX: u32 = 20_000;

    /// What is read of a content with such a body, when the socket takes little at a time.
    async fn sent(body: &Bytes) -> Vec<Frame> {
        let mut output = Output::default();
        let message = Message {
            exchange: "".into(),
            routing_key: "".into(),
            properties: Properties { message_id: Some("m".into()), ..Properties::default() },
            body: body.clone(),
            queued_at: Timestamp::default(),
        };
        output.content(5, BasicDeliver::default(), &message, FRAME_MAX);
        output.heartbeat();
        let (mut ours, mut theirs) = tokio::io::duplex(3000);
        let write = async move {
            while !output.is_empty() {
                output.write(&mut ours).await.expect("written");
            }
            assert_eq!(output.waiting(), 0);
        };
        let mut received = Vec::new();
        let read = tokio::io::AsyncReadExt::read_to_end(&mut theirs, &mut received);
        let ((), read) = tokio::join!(write, read);
        read.expect("read");
        let (mut received, splitter) = (BytesMut::from(&received[..]), Splitter::new(FRAME_MAX));
        let mut frames = Vec::new();
        while let Some(frame) = splitter.next(&mut received).expect("frames") {
            frames.push(frame);
        }
        assert!(received.is_empty());
        frames
    }

    #[tokio::test]
    async fn bodies_of_every_size_arrive_whole() {
        for size in [0, 1, 4096, 4097, 19_992, 19_993, 100_000] {
            let body: Bytes = (0..size).map(|at: u32| at.to_le_bytes()[0]).collect();
            let frames = sent(&body).await;
            assert_eq!((frames[0].kind, frames[1].kind), (Kind::Method, Kind::Header));
            assert_eq!(frames.last().map(|frame| frame.kind), Some(Kind::Heartbeat));
            let pieces = &frames[2..frames.len() - 1];
            assert!(pieces.iter().all(|frame| (frame.kind, frame.channel) == (Kind::Body, 5)));
            let got: Vec<u8> = pieces.iter().flat_map(|frame| frame.payload.to_vec()).collect();
            assert_eq!(got, body, "{size}");
        }
    }
}
