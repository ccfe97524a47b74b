//! One call on an HTTP/2 connection, a stream. The connection has a task of its own, which streams
//! share; what belongs to one call is polled by whoever handles the call.

mod conn;
mod request;
mod tunnel;

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use ::h2::client::ResponseFuture;
use ::h2::{Reason, RecvStream, SendStream};
use bytes::Bytes;
use http::{HeaderMap, Method, Response, StatusCode};

pub(super) use self::conn::{Shelf, Ticket};
pub(crate) use self::tunnel::Duplex;
pub(super) use self::tunnel::Tunnel;
use super::call::{
    BodyKind, Call, Frame, Head, MOST_INFORMATIONAL, Source, SourceError, trim_trailers,
};
use super::error::{ErrorKind, ExchangeError, Retry};
use super::h1::content_length;
use crate::http::head::{Fields, Known};
use crate::http1::{self, Limits, Refusal};

/// The first piece of a body up to this size is handed to the library without asking for room, which
/// spares small calls the question: it is held at most once per stream.
const UNASKED: usize = 16 << 10;

/// One call.
#[derive(Debug)]
pub(super) struct Exchange {
    ticket: Ticket,
    phase: Phase,
    /// `None` once nothing more is sent.
    upload: Option<Upload>,
    is_head: bool,
    /// Whether it is an extended `CONNECT`: its stream stays open for a tunnel.
    is_connect: bool,
    /// Fields that a section of the response may have.
    most_fields: usize,
    informational: u32,
    received: u64,
    sent: u64,
}

#[derive(Debug)]
enum Phase {
    /// Not begun, for this reason.
    Failed(ErrorKind, Retry),
    Head(ResponseFuture),
    Body {
        stream: RecvStream,
        /// Bytes that were promised and did not come yet.
        left: Option<u64>,
    },
    /// The stream is a tunnel's.
    Switched(RecvStream),
    /// The response has ended.
    Done,
    /// An error was returned.
    Dead,
}

#[derive(Debug)]
struct Upload {
    stream: SendStream<Bytes>,
    /// Taken from the source and not yet sent.
    waiting: Bytes,
    /// Bytes that were promised and did not come from the source yet.
    left: Option<u64>,
    /// Something was sent.
    has_begun: bool,
}

impl Exchange {
    /// Begins a call.
    pub(super) fn begin(ticket: Ticket, call: &Call<'_>, limits: Limits) -> Self {
        let is_connect = call.upgrade.is_some();
        let mut exchange = Self {
            ticket,
            phase: Phase::Dead,
            upload: None,
            is_head: *call.method == Method::HEAD,
            is_connect,
            most_fields: limits.fields(),
            informational: 0,
            received: 0,
            sent: 0,
        };
        let mut send = exchange.ticket.conn.send();
        if is_connect && !send.is_extended_connect_protocol_enabled() {
            exchange.phase = Phase::Failed(ErrorKind::NoUpgrade, Retry::Never);
            return exchange;
        }
        let begun = request::build(call)
            .map_err(|reason| (ErrorKind::Unsendable(reason), Retry::Never))
            .and_then(|(request, length)| {
                let ends = !is_connect && length == Some(0);
                let begun = send.send_request(request, ends).map_err(|error| not_begun(&error))?;
                Ok((begun, ends, length))
            });
        match begun {
            Ok(((response, stream), ends, length)) => {
                exchange.phase = Phase::Head(response);
                let left = if is_connect { None } else { length };
                exchange.upload = (!ends).then(|| Upload {
                    stream,
                    waiting: Bytes::new(),
                    left,
                    has_begun: false,
                });
            }
            Err((kind, retry)) => exchange.phase = Phase::Failed(kind, retry),
        }
        exchange
    }

    pub(super) const fn is_end(&self) -> bool {
        matches!(self.phase, Phase::Done)
    }

    pub(super) const fn progress(&self) -> u64 {
        self.received + self.sent
    }

    pub(super) fn condemn(&self) {
        self.ticket.conn.condemn();
    }

    pub(super) fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut dyn Source,
    ) -> Poll<Result<Head, ExchangeError>> {
        if let Phase::Failed(kind, retry) = self.phase {
            return Poll::Ready(Err(self.fail(kind, retry)));
        }
        if let Poll::Ready(Err(error)) = self.poll_upload(cx, source) {
            return Poll::Ready(Err(error));
        }
        let Phase::Head(response) = &mut self.phase else {
            return Poll::Ready(Err(self.fail(ErrorKind::Closed, Retry::Never)));
        };
        let head = match response.poll_informational(cx) {
            Poll::Ready(Some(informational)) => informational.map(Answer::Informational),
            Poll::Ready(None) | Poll::Pending => {
                ready!(Pin::new(response).poll(cx)).map(Answer::Final)
            }
        };
        Poll::Ready(match head {
            Ok(Answer::Informational(head)) if head.status() == StatusCode::SWITCHING_PROTOCOLS => {
                Err(self.fail(malformed("unexpected-upgrade"), Retry::Never))
            }
            Ok(Answer::Informational(head)) => self.pass_on(head),
            Ok(Answer::Final(response)) => self.accept(response),
            Err(error) => {
                let (kind, retry) = explain(&error);
                Err(self.fail(kind, retry))
            }
        })
    }

    pub(super) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut dyn Source,
    ) -> Poll<Option<Result<Frame, ExchangeError>>> {
        if let Poll::Ready(Err(error)) = self.poll_upload(cx, source) {
            return Poll::Ready(Some(Err(error)));
        }
        let frame = match ready!(self.poll_body(cx)) {
            Ok(Some(frame)) => Some(Ok(frame)),
            Ok(None) => None,
            Err(kind) => Some(Err(self.fail(kind, Retry::Never))),
        };
        Poll::Ready(frame)
    }

    /// Sends of the request's body what is there, as far as the instance lets it.
    pub(super) fn poll_upload(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut dyn Source,
    ) -> Poll<Result<(), ExchangeError>> {
        if self.is_connect || matches!(self.phase, Phase::Done | Phase::Dead) {
            return Poll::Ready(Ok(()));
        }
        let Some(upload) = &mut self.upload else { return Poll::Ready(Ok(())) };
        match ready!(upload.poll(cx, source, &mut self.sent)) {
            Ok(()) => {
                self.upload = None;
                Poll::Ready(Ok(()))
            }
            Err(kind) => {
                upload.stream.send_reset(Reason::CANCEL);
                Poll::Ready(Err(self.fail(kind, Retry::Never)))
            }
        }
    }

    pub(super) fn into_tunnel(self) -> super::Tunnel {
        match (self.phase, self.upload) {
            (Phase::Switched(recv), Some(upload)) => {
                super::Tunnel::h2(Tunnel::new(recv, upload.stream, self.ticket))
            }
            _ => super::Tunnel::closed(),
        }
    }

    fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Frame>, ErrorKind>> {
        loop {
            let Phase::Body { stream, left } = &mut self.phase else {
                return Poll::Ready(Ok(None));
            };
            let Some(data) = ready!(stream.poll_data(cx)) else { break };
            let data = data.map_err(|error| explain(&error).0)?;
            self.received += data.len() as u64;
            if let Some(left) = left {
                let len = data.len() as u64;
                *left = left.checked_sub(len).ok_or(malformed("body-longer-than-announced"))?;
            }
            // Its place in the window is free again: only what is asked for comes this far.
            let _closed = stream.flow_control().release_capacity(data.len());
            if stream.is_end_stream() {
                self.finish()?;
            }
            if !data.is_empty() {
                return Poll::Ready(Ok(Some(Frame::Data(data))));
            }
        }
        let Phase::Body { stream, .. } = &mut self.phase else { return Poll::Ready(Ok(None)) };
        let trailers = ready!(stream.poll_trailers(cx)).map_err(|error| explain(&error).0)?;
        self.finish()?;
        let mut fields = match trailers {
            Some(trailers) => self.read(trailers)?,
            None => Fields::default(),
        };
        trim_trailers(&mut fields);
        Poll::Ready(Ok((!fields.is_empty()).then(|| Frame::Trailers(Box::new(fields)))))
    }

    /// A section of the response.
    fn read(&self, fields: HeaderMap) -> Result<Fields, ErrorKind> {
        http1::read_fields(fields, self.most_fields).map_err(|refusal| malformed(refusal.reason))
    }

    /// An informational head.
    fn pass_on(&mut self, head: Response<()>) -> Result<Head, ExchangeError> {
        self.informational += 1;
        if self.informational > MOST_INFORMATIONAL {
            return Err(self.fail(malformed("too-many-informational"), Retry::Never));
        }
        let (parts, ()) = head.into_parts();
        let fields = match self.read(parts.headers) {
            Ok(fields) => fields,
            Err(kind) => return Err(self.fail(kind, Retry::Never)),
        };
        Ok(Head { status: parts.status, fields, body: BodyKind::None, switched: false })
    }

    /// The final head.
    fn accept(&mut self, response: Response<RecvStream>) -> Result<Head, ExchangeError> {
        let (parts, stream) = response.into_parts();
        let status = parts.status;
        let mut fields = match self.read(parts.headers) {
            Ok(fields) => fields,
            Err(kind) => return Err(self.fail(kind, Retry::Never)),
        };
        fields.strip_hop_by_hop();
        let length = match content_length(&fields) {
            Ok(length) => length,
            Err(reason) => return Err(self.fail(malformed(reason), Retry::Never)),
        };
        if self.is_connect && status.is_success() {
            self.phase = Phase::Switched(stream);
            return Ok(Head { status, fields, body: BodyKind::None, switched: true });
        }
        if self.is_connect {
            self.refuse_tunnel();
        }
        let is_empty =
            self.is_head || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        if is_empty {
            self.phase = Phase::Done;
            return Ok(Head { status, fields, body: BodyKind::None, switched: false });
        }
        let ended = stream.is_end_stream();
        self.phase = Phase::Body { stream, left: length };
        if ended && let Err(kind) = self.finish() {
            return Err(self.fail(kind, Retry::Never));
        }
        let body = match length {
            _ if ended => BodyKind::None,
            Some(length) => BodyKind::Length(length),
            None => BodyKind::Unknown,
        };
        Ok(Head { status, fields, body, switched: false })
    }

    /// An extended `CONNECT` was answered like a request: it ends like one.
    fn refuse_tunnel(&mut self) {
        if let Some(mut upload) = self.upload.take() {
            let _closed = upload.stream.send_data(Bytes::new(), true);
        }
    }

    /// The response has ended; whether it is whole.
    fn finish(&mut self) -> Result<(), ErrorKind> {
        match std::mem::replace(&mut self.phase, Phase::Done) {
            Phase::Body { left: Some(1..), .. } => Err(malformed("truncated-body")),
            _ => Ok(()),
        }
    }

    /// Gives the stream up.
    fn fail(&mut self, kind: ErrorKind, retry: Retry) -> ExchangeError {
        self.phase = Phase::Dead;
        self.upload = None;
        ExchangeError { kind, retry, reused: self.ticket.is_reused() }
    }
}

enum Answer {
    Informational(Response<()>),
    Final(Response<RecvStream>),
}

impl Upload {
    /// Ready when everything was sent, or when the instance takes no more: what it has to say about
    /// it is in the response.
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut dyn Source,
        sent: &mut u64,
    ) -> Poll<Result<(), ErrorKind>> {
        loop {
            if self.waiting.is_empty() {
                match ready!(source.poll_frame(cx)).transpose()? {
                    Some(Frame::Data(data)) => self.note(&data)?,
                    Some(Frame::Trailers(mut trailers)) => {
                        self.check_whole()?;
                        trim_trailers(&mut trailers);
                        return Poll::Ready(self.end(&trailers));
                    }
                    None => {
                        self.check_whole()?;
                        let _closed = self.stream.send_data(Bytes::new(), true);
                        return Poll::Ready(Ok(()));
                    }
                }
                continue;
            }
            let data =
                if !std::mem::replace(&mut self.has_begun, true) && self.waiting.len() <= UNASKED {
                    std::mem::take(&mut self.waiting)
                } else {
                    self.stream.reserve_capacity(self.waiting.len());
                    if self.stream.capacity() == 0 {
                        match ready!(self.stream.poll_capacity(cx)) {
                            Some(Ok(_)) => continue,
                            Some(Err(_)) | None => return Poll::Ready(Ok(())),
                        }
                    }
                    let len = self.stream.capacity().min(self.waiting.len());
                    self.waiting.split_to(len)
                };
            let ends = self.waiting.is_empty() && source.is_end();
            if ends {
                self.check_whole()?;
            }
            *sent += data.len() as u64;
            if self.stream.send_data(data, ends).is_err() || ends {
                return Poll::Ready(Ok(()));
            }
        }
    }

    fn note(&mut self, data: &Bytes) -> Result<(), ErrorKind> {
        if let Some(left) = &mut self.left {
            let len = data.len() as u64;
            *left = left.checked_sub(len).ok_or(ErrorKind::Unsendable("body-length"))?;
        }
        self.waiting = data.clone();
        Ok(())
    }

    fn check_whole(&self) -> Result<(), ErrorKind> {
        match self.left {
            Some(1..) => Err(ErrorKind::Source(SourceError::Gone)),
            _ => Ok(()),
        }
    }

    fn end(&mut self, trailers: &Fields) -> Result<(), ErrorKind> {
        let map =
            trailers.to_header_map(Known::Other).map_err(|_| ErrorKind::Unsendable("trailers"))?;
        let _closed = self.stream.send_trailers(map);
        Ok(())
    }
}

/// What an error of a stream means, before its head came.
fn explain(error: &::h2::Error) -> (ErrorKind, Retry) {
    let code = error.reason().map_or(u32::from(Reason::INTERNAL_ERROR), u32::from);
    if error.is_reset() && error.is_remote() {
        return match error.reason() {
            Some(Reason::REFUSED_STREAM) => (ErrorKind::RefusedStream, Retry::Always),
            _ => (ErrorKind::Reset(code), Retry::IfIdempotent),
        };
    }
    if error.is_reset() {
        // We did, because of what came.
        return (malformed("http2-response"), Retry::Never);
    }
    if error.is_go_away() && error.is_remote() {
        // Only streams above the last one that the instance has looked at end like this
        // (RFC 9113 §6.8).
        return (ErrorKind::GoAway, Retry::Always);
    }
    match error.get_io() {
        Some(io) if io.kind() == std::io::ErrorKind::BrokenPipe => {
            (ErrorKind::Closed, Retry::IfIdempotent)
        }
        Some(io) => (ErrorKind::Io(io.kind()), Retry::IfIdempotent),
        None => (ErrorKind::Http2(code), Retry::IfIdempotent),
    }
}

/// Why a stream could not be begun: nothing of it was sent.
fn not_begun(error: &::h2::Error) -> (ErrorKind, Retry) {
    if error.is_go_away() || error.is_io() || error.is_reset() {
        (explain(error).0, Retry::Always)
    } else {
        (ErrorKind::Unsendable("http2-request"), Retry::Never)
    }
}

const fn malformed(reason: &'static str) -> ErrorKind {
    ErrorKind::Malformed(Refusal { status: 502, reason })
}
