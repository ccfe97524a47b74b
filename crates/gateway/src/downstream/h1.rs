//! A client's HTTP/1 connection. One task owns it: it reads a request, has it handled, and moves
//! both bodies in turn, so that a small call costs one read and one write on this side.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{Method, StatusCode};
use tokio::io::{AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::time::Instant;

use super::closing::Closing;
use super::io::Io;
use super::{READ_SIZE, Session, tunnel};
use crate::config::model::Engine;
use crate::fault::Fault;
use crate::http::head::{Fields, Known};
use crate::http1::{self, BodyDecoder, Decoded, Framing, RequestHead, Version, parse_request};
use crate::proxy::{self, Client, Length, Local, Relay, Reply, Request};
use crate::timer::Timer;
use crate::upstream::{Frame, Source, SourceError};

/// Response bytes that wait to be written before more are taken from the instance.
const HIGH_WATER: usize = 64 << 10;
/// Bytes of further requests that are read while one is answered.
const READ_AHEAD: usize = 16 << 10;
/// Pieces of a body up to this size are copied behind what waits, to be written with it.
const COPY_LIMIT: usize = 16 << 10;
/// What a client may still send after an answer that ends its connection, so that the answer is
/// not lost to a reset (RFC 9112 §9.6).
const LINGER_BYTES: usize = 256 << 10;
/// How long it may take for that.
const LINGER_TIME: Duration = Duration::from_secs(1);
/// Buffers larger than this are given back when a connection has nothing to do.
const IDLE_BUFFER: usize = 16 << 10;

/// A client's HTTP/1 connection: where the request's body comes from and the response goes to.
pub(crate) struct Connection {
    io: Io,
    incoming: BytesMut,
    /// Bytes to write, the first `written` of which are gone.
    outgoing: Vec<u8>,
    written: usize,
    /// A large piece of a body to be written after `outgoing`, and what follows it.
    piece: Bytes,
    body: BodyDecoder,
    /// The client waits for `100 Continue` and has not been told yet.
    expects_continue: bool,
    /// What the client of this call speaks.
    version: Version,
    timer: Timer,
    idle_timeout: Duration,
    /// When the last call ended, if the clock was just read for that.
    rested: Option<Instant>,
    /// The listener closes: there is no further call.
    closing: Closing,
    /// The client has closed its side while it was owed an answer.
    is_gone: bool,
}

/// What came instead of, or as, the next request.
enum Next {
    Request(RequestHead),
    Refused(Fault),
    /// Nothing: the client closed, or was idle for too long, or the listener closes.
    End,
}

/// Serves a connection to its end.
pub(crate) async fn serve(session: Session, early: BytesMut, io: Io) {
    let mut connection = Connection {
        io,
        incoming: early,
        outgoing: Vec::new(),
        written: 0,
        piece: Bytes::new(),
        body: BodyDecoder::new(Framing::None),
        expects_continue: false,
        version: Version::Http11,
        timer: Timer::default(),
        idle_timeout: Duration::ZERO,
        rested: None,
        closing: Closing::of(session.door.closing.clone()),
        is_gone: false,
    };
    loop {
        // No more than this of the snapshot: a connection may rest for longer than it is in force.
        let engine = Arc::clone(&session.worker.shared.snapshot.load().engine);
        connection.idle_timeout = engine.idle_timeout;
        match connection.next(&engine).await {
            Next::Request(head) => {
                drop(engine);
                match connection.call(&session, head).await {
                    After::KeepAlive => connection.give_back_memory(),
                    After::Linger => return Box::pin(connection.linger()).await,
                    After::Close => return,
                }
            }
            Next::Refused(fault) => {
                drop(engine);
                let local = proxy::refuse(&session, fault);
                if connection.send_local(&Method::GET, local, false).await.is_ok() {
                    Box::pin(connection.linger()).await;
                }
                return;
            }
            Next::End => return,
        }
    }
}

/// What becomes of the connection after a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum After {
    /// The next request is read.
    KeepAlive,
    /// It is closed once the client has had the answer.
    Linger,
    /// It is dropped.
    Close,
}

impl Connection {
    /// Reads the next request's head.
    async fn next(&mut self, engine: &Engine) -> Next {
        let mut begun: Option<Instant> = None;
        let waiting = self.rested.take().unwrap_or_else(Instant::now);
        loop {
            match parse_request(&mut self.incoming, &engine.limits) {
                Ok(Some(head)) => return Next::Request(head),
                Ok(None) => {}
                Err(refusal) => return Next::Refused(Fault::Refused(refusal)),
            }
            if !self.incoming.is_empty() && begun.is_none() {
                begun = Some(Instant::now());
            }
            let deadline =
                begun.map_or(waiting + engine.keep_alive, |at| at + engine.header_timeout);
            let idle = begun.is_none();
            let read = poll_fn(|cx| {
                if let Poll::Ready(read) = self.poll_fill(cx) {
                    return Poll::Ready(Some(read));
                }
                if idle && self.closing.poll(cx).is_ready() {
                    return Poll::Ready(None);
                }
                self.timer.poll_until(cx, Some(deadline)).map(|()| None)
            })
            .await;
            match read {
                Some(Ok(1..)) => {}
                None if begun.is_some() => return Next::Refused(Fault::ClientSlow),
                _ => return Next::End,
            }
        }
    }

    /// Carries out one call.
    async fn call(&mut self, session: &Session, head: RequestHead) -> After {
        let mut keep_alive = head.keep_alive && !self.closing.has_come();
        let version = head.version;
        let method = head.method.clone();
        self.body = BodyDecoder::new(head.framing);
        self.expects_continue = head.expect_continue;
        self.version = version;
        let mut request = Request::from_http1(head);
        let reply = proxy::handle(session, &mut request, self).await;
        keep_alive &= self.body.is_end() || self.skip_what_is_here();
        let sent = match reply {
            Reply::Local(_) if self.is_gone => return After::Close,
            Reply::Local(local) => {
                keep_alive &= !local.closes;
                self.send_local(&method, local, keep_alive).await.is_ok()
            }
            Reply::Upgraded(relay) => return Box::pin(self.upgrade(session, relay)).await,
            Reply::Relay(mut relay) => {
                let known = relay.length.is_known();
                keep_alive &= known || version == Version::Http11;
                self.begin_relay(&relay, version, &method, keep_alive);
                let sent = self.relay(&mut relay, version).await;
                self.rested = Some(relay.end(sent.err()));
                sent.is_ok()
            }
        };
        match (sent, keep_alive && self.body.is_end()) {
            (true, true) => After::KeepAlive,
            (true, false) => After::Linger,
            (false, _) => After::Close,
        }
    }

    /// Drops what is left of a request's body as far as it has arrived. Returns whether that was all.
    fn skip_what_is_here(&mut self) -> bool {
        while let Ok(Decoded::Data(_) | Decoded::Trailers(_)) = self.body.decode(&mut self.incoming)
        {
        }
        self.body.is_end()
    }

    /// Writes the response's head.
    fn begin_relay(&mut self, relay: &Relay, version: Version, method: &Method, keep_alive: bool) {
        self.begin(relay.status, version);
        relay.fields.write_http1(&mut self.outgoing);
        let bodiless = *method == Method::HEAD || has_no_body(relay.status);
        match relay.length {
            Length::Known(length)
                if !bodiless && relay.fields.get(Known::ContentLength).is_none() =>
            {
                self.outgoing.extend_from_slice(b"content-length: ");
                let mut digits = itoa::Buffer::new();
                self.outgoing.extend_from_slice(digits.format(length).as_bytes());
                self.outgoing.extend_from_slice(b"\r\n");
            }
            Length::Unknown if !bodiless && version == Version::Http11 => {
                self.outgoing.extend_from_slice(b"transfer-encoding: chunked\r\n");
            }
            _ => {}
        }
        self.end_head(version, keep_alive);
    }

    fn begin(&mut self, status: StatusCode, _version: Version) {
        self.outgoing.extend_from_slice(b"HTTP/1.1 ");
        self.outgoing.extend_from_slice(status.as_str().as_bytes());
        self.outgoing.push(b' ');
        self.outgoing.extend_from_slice(status.canonical_reason().unwrap_or_default().as_bytes());
        self.outgoing.extend_from_slice(b"\r\n");
    }

    fn end_head(&mut self, version: Version, keep_alive: bool) {
        match (version, keep_alive) {
            (Version::Http11, true) => {}
            (Version::Http10, true) => {
                self.outgoing.extend_from_slice(b"connection: keep-alive\r\n");
            }
            (_, false) => self.outgoing.extend_from_slice(b"connection: close\r\n"),
        }
        self.outgoing.extend_from_slice(b"\r\n");
    }

    /// Moves the response's body, and what is left of the request's, until the response has ended.
    async fn relay(&mut self, relay: &mut Relay, version: Version) -> Result<(), Fault> {
        let chunked = !relay.length.is_known() && version == Version::Http11;
        let mut ended = false;
        let mut last_progress: Option<Instant> = None;
        let mut progress = relay.progress();
        relay.at_once = true;
        poll_fn(|cx| {
            loop {
                let mut moved = false;
                while !ended && self.waiting() < HIGH_WATER && self.piece.is_empty() {
                    match relay.poll_frame(cx, self) {
                        Poll::Ready(Some(Ok(Frame::Data(data)))) => self.put(data, chunked),
                        Poll::Ready(Some(Ok(Frame::Trailers(trailers)))) => {
                            if chunked {
                                http1::encode_last_chunk(Some(&trailers), &mut self.outgoing);
                            }
                            ended = true;
                        }
                        Poll::Ready(Some(Err(fault))) => return Poll::Ready(Err(fault)),
                        Poll::Ready(None) => {
                            if chunked {
                                http1::encode_last_chunk(None, &mut self.outgoing);
                            }
                            ended = true;
                        }
                        Poll::Pending => break,
                    }
                    moved = true;
                }
                let waiting = self.waiting();
                match self.poll_write_out(cx) {
                    Poll::Ready(Err(_)) => return Poll::Ready(Err(Fault::ClientGone)),
                    Poll::Ready(Ok(())) if ended => return Poll::Ready(Ok(())),
                    Poll::Ready(Ok(())) if moved => {
                        last_progress = None;
                        continue;
                    }
                    Poll::Ready(Ok(())) => {}
                    Poll::Pending if !ended => relay.poll_upload(cx, self),
                    Poll::Pending => {}
                }
                if moved || self.waiting() != waiting || relay.progress() != progress {
                    progress = relay.progress();
                    last_progress = None;
                }
                relay.at_once = false;
                let since = *last_progress.get_or_insert_with(Instant::now);
                let (deadline, fault) = if self.waiting() > 0 {
                    (Some(since + self.idle_timeout), Fault::ClientGone)
                } else {
                    relay.deadline(since)
                };
                return self.timer.poll_until(cx, deadline).map(|()| Err(fault));
            }
        })
        .await
    }

    /// Puts a piece of the response's body behind what waits to be written.
    fn put(&mut self, data: Bytes, chunked: bool) {
        if chunked {
            http1::encode_chunk_head(data.len(), &mut self.outgoing);
        }
        if data.len() <= COPY_LIMIT || chunked {
            self.outgoing.extend_from_slice(&data);
        } else {
            self.piece = data;
        }
        if chunked {
            self.outgoing.extend_from_slice(b"\r\n");
        }
    }

    fn waiting(&self) -> usize {
        self.outgoing.len() - self.written + self.piece.len()
    }

    /// Writes everything that waits. A pending write that got anywhere still counts as pending.
    fn poll_write_out(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.written < self.outgoing.len() {
            let rest = &self.outgoing[self.written..];
            let n = std::task::ready!(Pin::new(&mut self.io).poll_write(cx, rest))?;
            if n == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.written += n;
        }
        self.outgoing.clear();
        self.written = 0;
        while !self.piece.is_empty() {
            let n = std::task::ready!(Pin::new(&mut self.io).poll_write(cx, &self.piece))?;
            if n == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            bytes::Buf::advance(&mut self.piece, n);
        }
        match &self.io {
            Io::Plain(_) => Poll::Ready(Ok(())),
            Io::Tls(_) => Pin::new(&mut self.io).poll_flush(cx),
        }
    }

    /// Writes everything that waits, or gives up on a client that takes nothing.
    async fn write_out(&mut self) -> Result<(), Fault> {
        let deadline = Instant::now() + self.idle_timeout;
        poll_fn(|cx| match self.poll_write_out(cx) {
            Poll::Ready(written) => Poll::Ready(written.map_err(|_| Fault::ClientGone)),
            Poll::Pending => {
                self.timer.poll_until(cx, Some(deadline)).map(|()| Err(Fault::ClientGone))
            }
        })
        .await
    }

    /// Sends a response that the gateway made itself.
    async fn send_local(
        &mut self,
        method: &Method,
        local: Local,
        keep_alive: bool,
    ) -> Result<(), Fault> {
        self.begin(local.status, Version::Http11);
        local.fields.write_http1(&mut self.outgoing);
        if !has_no_body(local.status) {
            self.outgoing.extend_from_slice(b"content-length: ");
            let mut digits = itoa::Buffer::new();
            self.outgoing.extend_from_slice(digits.format(local.body.len()).as_bytes());
            self.outgoing.extend_from_slice(b"\r\n");
        }
        self.end_head(Version::Http11, keep_alive);
        if *method != Method::HEAD && !has_no_body(local.status) {
            self.outgoing.extend_from_slice(&local.body);
        }
        self.write_out().await
    }

    /// Says that the protocol changes, and carries bytes from then on.
    async fn upgrade(&mut self, session: &Session, mut relay: Box<Relay>) -> After {
        relay.answer_with(StatusCode::SWITCHING_PROTOCOLS);
        self.begin(relay.status, Version::Http11);
        relay.fields.write_http1(&mut self.outgoing);
        self.outgoing.extend_from_slice(b"\r\n");
        if self.write_out().await.is_err() {
            relay.finish(Some(Fault::ClientGone));
            return After::Close;
        }
        let early = self.incoming.split().freeze();
        let io = super::io::Rewound::new(early, &mut self.io);
        tunnel::carry(session, io, relay).await;
        After::Close
    }

    /// Closes the connection so that the client gets to read the last answer.
    async fn linger(mut self) {
        let drained = async {
            if self.io.shutdown().await.is_err() {
                return;
            }
            let mut left = LINGER_BYTES;
            let mut sink = vec![0; READ_SIZE];
            while let Ok(n @ 1..) = self.io.read(&mut sink).await {
                left = left.saturating_sub(n);
                if left == 0 {
                    return;
                }
            }
        };
        let _in_time = tokio::time::timeout(LINGER_TIME, drained).await;
    }

    /// Keeps idle connections small.
    fn give_back_memory(&mut self) {
        if self.outgoing.capacity() > IDLE_BUFFER {
            self.outgoing = Vec::new();
        }
        if self.incoming.is_empty() && self.incoming.capacity() > IDLE_BUFFER {
            self.incoming = BytesMut::new();
        }
    }

    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.io.poll_recv(cx, &mut self.incoming)
    }
}

fn has_no_body(status: StatusCode) -> bool {
    status.is_informational()
        || status == StatusCode::NO_CONTENT
        || status == StatusCode::NOT_MODIFIED
}

impl Source for Connection {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame, SourceError>>> {
        loop {
            match self.body.decode(&mut self.incoming) {
                Ok(Decoded::Data(data)) => return Poll::Ready(Some(Ok(Frame::Data(data)))),
                Ok(Decoded::Trailers(trailers)) => {
                    return Poll::Ready(Some(Ok(Frame::Trailers(trailers))));
                }
                Ok(Decoded::End) => return Poll::Ready(None),
                Ok(Decoded::NeedMore) => {}
                Err(refusal) => return Poll::Ready(Some(Err(SourceError::Broken(refusal)))),
            }
            if self.expects_continue {
                self.expects_continue = false;
                self.outgoing.extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
            }
            if self.waiting() > 0
                && let Poll::Ready(Err(_)) = self.poll_write_out(cx)
            {
                return Poll::Ready(Some(Err(SourceError::Gone)));
            }
            match std::task::ready!(self.poll_fill(cx)) {
                Ok(1..) => {}
                _ => return Poll::Ready(Some(Err(SourceError::Gone))),
            }
        }
    }

    fn is_end(&self) -> bool {
        self.body.is_end()
    }
}

impl Client for Connection {
    fn informational(&mut self, status: StatusCode, fields: &Fields) {
        // The gateway answers an expectation itself, once it has a connection for the body; and
        // HTTP/1.0 knows no interim responses (RFC 9110 §15.2).
        if status == StatusCode::CONTINUE || self.version == Version::Http10 {
            return;
        }
        self.begin(status, Version::Http11);
        fields.write_http1(&mut self.outgoing);
        self.outgoing.extend_from_slice(b"\r\n");
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        // A broken connection shows when the response is written.
        self.poll_write_out(cx).map(drop)
    }

    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.body.is_end() {
            return Poll::Pending;
        }
        // What comes before its end are further requests, which need not all be read now.
        while self.incoming.len() < READ_AHEAD {
            match std::task::ready!(self.poll_fill(cx)) {
                Ok(1..) => {}
                _ => {
                    self.is_gone = true;
                    return Poll::Ready(());
                }
            }
        }
        Poll::Pending
    }

    fn timer(&mut self) -> &mut Timer {
        &mut self.timer
    }
}
