//! One call on an HTTP/1 connection, polled by whoever handles the call: every poll first moves the
//! request on, then reads the response. Neither waits for the other, so that an early response is
//! seen while a large body is still being sent.

mod outbox;
mod request;

use std::io;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::BytesMut;
use http::{Method, StatusCode};
use smallvec::SmallVec;

use self::outbox::Outbox;
pub(super) use self::request::content_length;
use self::request::{Upload, encode};
use super::Tunnel;
use super::call::{
    BodyKind, Call, Frame, Head, MOST_INFORMATIONAL, Source, SourceError, trim_trailers,
};
use super::error::{ErrorKind, ExchangeError, Retry};
use super::pools::Slot;
use super::stream::Stream;
use crate::cluster::Connection;
use crate::http::chars;
use crate::http::head::{Fields, Known};
use crate::http1::{BodyDecoder, Decoded, Framing, Limits, Refusal, parse_response};
use crate::socket::MOST_RECEIVED;

/// Bytes asked for in one read at first, and when reads come back full.
const READ: usize = MOST_RECEIVED;
const MOST_READ: usize = 64 << 10;

/// A connection, with what was read and not yet understood, and what waits to be written.
#[derive(Debug)]
pub(super) struct Conn {
    stream: Stream,
    incoming: BytesMut,
    outgoing: Outbox,
    /// How much the next read asks for.
    read: usize,
    /// Calls carried before this one.
    calls: u64,
    /// The tick at which it was last given back.
    pub(super) rested: u32,
    counted: Connection,
}

impl Conn {
    pub(super) fn new(stream: Stream, counted: Connection) -> Self {
        Self {
            stream,
            incoming: BytesMut::new(),
            outgoing: Outbox::default(),
            read: READ,
            calls: 0,
            rested: 0,
            counted,
        }
    }

    /// Whether it is open and nothing came while it was unused.
    pub(super) fn is_quiet(&mut self) -> bool {
        self.stream.is_quiet()
    }

    /// The same, by asking the kernel.
    pub(super) fn is_quiet_now(&self) -> bool {
        self.stream.is_quiet_now()
    }

    pub(super) const fn is_reused(&self) -> bool {
        self.calls > 0
    }

    /// Reads once; 0 at the end.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let read = ready!(self.stream.poll_recv(cx, &mut self.incoming, self.read))?;
        if read >= self.read {
            self.read = MOST_READ;
        }
        Poll::Ready(Ok(read))
    }

    /// Lets go of what a large message left behind.
    fn rest(&mut self) {
        self.calls += 1;
        self.outgoing.rest();
        if self.read > READ {
            self.read = READ;
            self.incoming = BytesMut::new();
        }
    }

    /// What a tunnel is made of: the stream, what was read too much, and the count.
    pub(super) fn into_parts(self) -> (Stream, BytesMut, Connection) {
        (self.stream, self.incoming, self.counted)
    }
}

/// One call.
#[derive(Debug)]
pub(super) struct Exchange {
    /// `None` once it was given back, closed or taken by a tunnel.
    conn: Option<Box<Conn>>,
    slot: Rc<Slot>,
    limits: Limits,
    method: Method,
    upload: Upload,
    phase: Phase,
    /// The protocols that were asked for.
    asked: Option<SmallVec<[u8; 16]>>,
    keep_alive: bool,
    reused: bool,
    informational: u32,
    received: u64,
    sent: u64,
}

#[derive(Debug)]
enum Phase {
    /// Not begun, for this reason.
    Unsendable(&'static str),
    Head,
    Body(BodyDecoder),
    /// The response has ended, or the connection is a tunnel's.
    Done,
    /// An error was returned.
    Dead,
}

impl Exchange {
    /// Begins a call. Nothing is written yet: head and body go out together.
    pub(super) fn begin(
        mut conn: Box<Conn>,
        slot: Rc<Slot>,
        call: &Call<'_>,
        limits: Limits,
    ) -> Self {
        let reused = conn.is_reused();
        let (phase, upload) = match encode(call, conn.outgoing.begin()) {
            Ok(upload) => (Phase::Head, upload),
            Err(reason) => (Phase::Unsendable(reason), Upload::Done),
        };
        Self {
            conn: Some(conn),
            slot,
            limits,
            method: call.method.clone(),
            upload,
            phase,
            asked: call.upgrade.map(SmallVec::from_slice),
            keep_alive: false,
            reused,
            informational: 0,
            received: 0,
            sent: 0,
        }
    }

    pub(super) const fn is_end(&self) -> bool {
        matches!(self.phase, Phase::Done)
    }

    pub(super) fn progress(&self) -> u64 {
        let sent = self.conn.as_ref().map_or(self.sent, |conn| conn.outgoing.sent());
        self.received + sent
    }

    pub(super) fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut dyn Source,
    ) -> Poll<Result<Head, ExchangeError>> {
        if let Phase::Unsendable(reason) = self.phase {
            let kind = ErrorKind::Unsendable(reason);
            return Poll::Ready(Err(self.fail(kind, Retry::Never)));
        }
        if let Poll::Ready(Err(error)) = self.poll_upload(cx, source) {
            return Poll::Ready(Err(error));
        }
        loop {
            let (Phase::Head, Some(conn)) = (&self.phase, &mut self.conn) else {
                return Poll::Ready(Err(self.fail(ErrorKind::Closed, Retry::Never)));
            };
            let sent = conn.outgoing.sent() > 0;
            let retry = if sent { Retry::IfIdempotent } else { Retry::Always };
            if let Some(error) = self.write_error().filter(|_| !sent) {
                return Poll::Ready(Err(self.fail(error, retry)));
            }
            let Some(conn) = &mut self.conn else { continue };
            if !conn.incoming.is_empty() {
                if !sent {
                    // Said before anything was asked: it belongs to no call.
                    let kind = ErrorKind::Malformed(refusal("unsolicited-response"));
                    return Poll::Ready(Err(self.fail(kind, retry)));
                }
                match parse_response(&mut conn.incoming, &self.limits, &self.method) {
                    Ok(None) => {}
                    Ok(Some(head)) => return Poll::Ready(self.accept(head)),
                    Err(refusal) => {
                        let kind = ErrorKind::Malformed(refusal);
                        return Poll::Ready(Err(self.fail(kind, Retry::Never)));
                    }
                }
            }
            match ready!(conn.poll_fill(cx)) {
                Ok(0) => return Poll::Ready(Err(self.fail(ErrorKind::Closed, retry))),
                Ok(read) => self.received += read as u64,
                Err(error) => {
                    let kind = ErrorKind::Io(error.kind());
                    return Poll::Ready(Err(self.fail(kind, retry)));
                }
            }
        }
    }

    pub(super) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut dyn Source,
    ) -> Poll<Option<Result<Frame, ExchangeError>>> {
        if let Poll::Ready(Err(error)) = self.poll_upload(cx, source) {
            return Poll::Ready(Some(Err(error)));
        }
        loop {
            let (Phase::Body(decoder), Some(conn)) = (&mut self.phase, &mut self.conn) else {
                return Poll::Ready(None);
            };
            let decoded = decoder.decode(&mut conn.incoming);
            let ended = decoder.is_end();
            let frame = match decoded {
                Ok(Decoded::Data(data)) => Some(Frame::Data(data)),
                Ok(Decoded::Trailers(trailers)) => Some(Frame::Trailers(trailers)),
                Ok(Decoded::End) => None,
                Ok(Decoded::NeedMore) => {
                    match ready!(conn.poll_fill(cx)) {
                        Ok(0) => return Poll::Ready(self.closed().map(Err)),
                        Ok(read) => self.received += read as u64,
                        Err(error) => {
                            let kind = ErrorKind::Io(error.kind());
                            return Poll::Ready(Some(Err(self.fail(kind, Retry::Never))));
                        }
                    }
                    continue;
                }
                Err(refusal) => {
                    let kind = ErrorKind::Malformed(refusal.of_response());
                    return Poll::Ready(Some(Err(self.fail(kind, Retry::Never))));
                }
            };
            if ended {
                self.finish();
            }
            return Poll::Ready(frame.map(Ok));
        }
    }

    /// Moves the request: takes of its body what is there, and writes.
    pub(super) fn poll_upload(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut dyn Source,
    ) -> Poll<Result<(), ExchangeError>> {
        loop {
            let Some(conn) = &mut self.conn else { return Poll::Ready(Ok(())) };
            if self.upload == Upload::Done && conn.outgoing.is_empty() {
                return Poll::Ready(Ok(()));
            }
            if self.upload == Upload::Broken {
                return Poll::Ready(Ok(()));
            }
            let taken = self.take_body(cx, source);
            if let Err(kind) = taken {
                return Poll::Ready(Err(self.fail(kind, Retry::Never)));
            }
            let Some(conn) = &mut self.conn else { return Poll::Ready(Ok(())) };
            if conn.outgoing.is_empty() && self.upload != Upload::Done {
                return Poll::Pending;
            }
            if ready!(conn.outgoing.poll_write(cx, &mut conn.stream)).is_err() {
                // Perhaps it has answered before it closed.
                self.upload = Upload::Broken;
            }
        }
    }

    pub(super) fn into_tunnel(mut self) -> Tunnel {
        match (&self.phase, self.conn.take()) {
            (Phase::Done, Some(conn)) => Tunnel::h1(*conn),
            _ => Tunnel::closed(),
        }
    }

    /// Takes of the body what is there, up to what may wait to be written.
    fn take_body(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut dyn Source,
    ) -> Result<(), ErrorKind> {
        let Some(conn) = &mut self.conn else { return Ok(()) };
        while !conn.outgoing.is_full() {
            let chunked = match self.upload {
                Upload::Length(_) => false,
                Upload::Chunked if source.is_end() => {
                    conn.outgoing.push_last(None);
                    self.upload = Upload::Done;
                    return Ok(());
                }
                Upload::Chunked => true,
                Upload::Done | Upload::Broken => return Ok(()),
            };
            let Poll::Ready(frame) = source.poll_frame(cx) else { return Ok(()) };
            match (frame.transpose()?, self.upload) {
                (Some(Frame::Data(data)), Upload::Length(left)) => {
                    let len = data.len() as u64;
                    let left = left.checked_sub(len).ok_or(ErrorKind::Unsendable("body-length"))?;
                    conn.outgoing.push(data, false);
                    self.upload = if left == 0 { Upload::Done } else { Upload::Length(left) };
                }
                (Some(Frame::Data(data)), _) => conn.outgoing.push(data, chunked),
                (None | Some(Frame::Trailers(_)), Upload::Length(_)) => {
                    return Err(ErrorKind::Source(SourceError::Gone));
                }
                (Some(Frame::Trailers(mut trailers)), _) => {
                    trim_trailers(&mut trailers);
                    conn.outgoing.push_last(Some(&trailers));
                    self.upload = Upload::Done;
                }
                (None, _) => {
                    conn.outgoing.push_last(None);
                    self.upload = Upload::Done;
                }
            }
        }
        Ok(())
    }

    /// A head came: an informational one, the final one, or that of a tunnel.
    fn accept(&mut self, head: crate::http1::ResponseHead) -> Result<Head, ExchangeError> {
        let status = head.status;
        let mut fields = head.fields;
        if status == StatusCode::SWITCHING_PROTOCOLS {
            let sent = self.upload == Upload::Done
                && self.conn.as_ref().is_some_and(|conn| conn.outgoing.is_empty());
            if !sent || !self.was_asked_for(&fields) {
                let kind = ErrorKind::Malformed(refusal("unexpected-upgrade"));
                return Err(self.fail(kind, Retry::Never));
            }
            self.phase = Phase::Done;
            return Ok(Head { status, fields, body: BodyKind::None, switched: true });
        }
        fields.strip_hop_by_hop();
        if status.is_informational() {
            self.informational += 1;
            if self.informational > MOST_INFORMATIONAL {
                let kind = ErrorKind::Malformed(refusal("too-many-informational"));
                return Err(self.fail(kind, Retry::Never));
            }
            return Ok(Head { status, fields, body: BodyKind::None, switched: false });
        }
        if status == StatusCode::REQUEST_TIMEOUT && !head.keep_alive && self.may_have_been_late() {
            return Err(self.fail(ErrorKind::Closed, Retry::IfIdempotent));
        }
        self.keep_alive = head.keep_alive;
        let body = match head.framing {
            Framing::None | Framing::Length(0) => BodyKind::None,
            Framing::Length(length) => BodyKind::Length(length),
            Framing::Chunked | Framing::UntilClose => BodyKind::Unknown,
        };
        let decoder = BodyDecoder::with_limits(head.framing, self.limits);
        let ended = decoder.is_end();
        self.phase = Phase::Body(decoder);
        if ended {
            self.finish();
        }
        Ok(Head { status, fields, body, switched: false })
    }

    /// Whether a farewell to an unused connection may have crossed the call on its way: some
    /// instances say 408 when they close one. A call that cannot be repeated had the kernel asked.
    fn may_have_been_late(&self) -> bool {
        self.reused && self.informational == 0 && self.method.is_idempotent()
    }

    /// Whether a protocol that the instance switches to is one of those that were asked for.
    fn was_asked_for(&self, fields: &Fields) -> bool {
        let Some(asked) = &self.asked else { return false };
        let mut protocols = fields.all(Known::Upgrade).flat_map(chars::list);
        let asked_for =
            |protocol: &[u8]| chars::list(asked).any(|one| one.eq_ignore_ascii_case(protocol));
        protocols.next().is_some_and(asked_for) && protocols.all(asked_for)
    }

    /// The connection ended within the body: whether that is how the body ends.
    fn closed(&mut self) -> Option<ExchangeError> {
        match &self.phase {
            Phase::Body(decoder) if decoder.on_eof().is_err() => {
                Some(self.fail(ErrorKind::Closed, Retry::Never))
            }
            _ => {
                self.finish();
                None
            }
        }
    }

    /// The response has ended: gives the connection back, if request and response are whole and it
    /// holds nothing else.
    fn finish(&mut self) {
        self.phase = Phase::Done;
        let Some(mut conn) = self.conn.take() else { return };
        self.sent = conn.outgoing.sent();
        let is_whole = self.upload == Upload::Done && conn.outgoing.is_empty();
        if self.keep_alive && is_whole && conn.incoming.is_empty() {
            conn.rest();
            self.slot.give_back(conn);
        }
    }

    /// Closes the connection.
    fn fail(&mut self, kind: ErrorKind, retry: Retry) -> ExchangeError {
        self.sent = self.conn.take().map_or(self.sent, |conn| conn.outgoing.sent());
        self.phase = Phase::Dead;
        if self.reused && self.received == 0 {
            self.slot.doubt();
        }
        ExchangeError { kind, retry, reused: self.reused }
    }

    fn write_error(&self) -> Option<ErrorKind> {
        (self.upload == Upload::Broken).then_some(ErrorKind::Closed)
    }
}

const fn refusal(reason: &'static str) -> Refusal {
    Refusal { status: 502, reason }
}
