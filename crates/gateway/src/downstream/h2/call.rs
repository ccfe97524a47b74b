//! One call of a client's HTTP/2 connection, a stream: its request is read, handled by the phases,
//! and answered. A client that gives the stream up, or goes away, ends the call at once.

use std::cell::RefCell;
use std::future::poll_fn;
use std::pin::pin;
use std::task::{Context, Poll, ready};

use ::h2::server::SendResponse;
use ::h2::{Reason, RecvStream, SendStream};
use bytes::Bytes;
use http::{Method, StatusCode};

use super::stations::Job;
use super::{head, relay};
use crate::downstream::{Session, tunnel};
use crate::fault::Fault;
use crate::http::head::{Fields, Known};
use crate::http1;
use crate::proxy::{self, Client, Local, Relay, Reply, Request, WebsocketKey};
use crate::timer::Timer;
use crate::upstream::{Duplex, Frame, Source, SourceError};

/// Serves a call to its end.
pub(super) async fn serve(job: Job, timer: &mut Timer) {
    let Job { session, request, respond } = job;
    let session = &*session;
    let (parts, body) = request.into_parts();
    let ended = body.is_end_stream();
    let most_fields = session.worker.shared.snapshot.load().engine.limits.fields();
    let is_head = parts.method == Method::HEAD;
    let respond = RefCell::new(respond);
    let mut call = match head::read(parts, ended, most_fields) {
        Ok(call) => with_key(call, session),
        Err(fault) => {
            let local = proxy::refuse(session, fault);
            return send_local(&mut respond.borrow_mut(), local, is_head);
        }
    };
    let expects_continue = call.fields.get(Known::Expect).is_some();
    let respond = &respond;
    let mut client = Stream { body, ended, respond, expects_continue, most_fields, timer };
    let Some(reply) = handle(session, &mut call, &mut client).await else { return };
    match reply {
        Reply::Local(local) => send_local(&mut respond.borrow_mut(), local, is_head),
        Reply::Relay(relay) => relay::run(relay, &mut client).await,
        // Boxed, because few calls need the room.
        Reply::Upgraded(relay) => Box::pin(upgrade(session, relay, client)).await,
    }
}

/// Passes a call through the phases. `None` when the client gave it up: whatever it has led to is
/// dropped.
async fn handle(session: &Session, call: &mut Request, client: &mut Stream<'_>) -> Option<Reply> {
    let respond = client.respond;
    let mut handled = pin!(proxy::handle(session, call, client));
    poll_fn(|cx| {
        // First, so that a stream that was given up at once asks nothing of an instance.
        if respond.borrow_mut().poll_reset(cx).is_ready() {
            return Poll::Ready(None);
        }
        handled.as_mut().poll(cx).map(Some)
    })
    .await
}

/// Gives a WebSocket handshake the key that an instance over HTTP/1 wants to see.
fn with_key(mut call: Request, session: &Session) -> Request {
    if call.upgrade {
        let key = WebsocketKey::own(session.worker.rng.borrow_mut().u128(..));
        call.fields.set_known(Known::SecWebsocketKey, key.as_bytes());
        call.websocket_key = Some(key);
    }
    call
}

/// Sends a response that the gateway made itself. The library holds what the client does not take
/// at once, which is a small body.
fn send_local(respond: &mut SendResponse<Bytes>, local: Local, is_head: bool) {
    let Local { status, mut fields, mut body, closes: _ } = local;
    if !body.is_empty() {
        fields.set_known(Known::ContentLength, itoa::Buffer::new().format(body.len()).as_bytes());
    }
    if is_head || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED) {
        body = Bytes::new();
    }
    // What fails here fails because the client is gone.
    if let Some(mut stream) = send_head(respond, status, &fields, body.is_empty())
        && !body.is_empty()
    {
        let _gone = stream.send_data(body, true);
    }
}

/// Sends a response's head. `None` when the client is gone, or gets nothing more.
pub(super) fn send_head(
    respond: &mut SendResponse<Bytes>,
    status: StatusCode,
    fields: &Fields,
    ends: bool,
) -> Option<SendStream<Bytes>> {
    let sent = match head::response(status, fields) {
        Ok(response) => respond.send_response(response, ends),
        Err(error) => {
            tracing::debug!("a response has fields that HTTP/2 cannot carry: {error}");
            let _gone = respond.send_response(head::bare(StatusCode::BAD_GATEWAY), true);
            return None;
        }
    };
    sent.inspect_err(|error| {
        tracing::debug!("a response cannot be sent: {error}");
        respond.send_reset(Reason::INTERNAL_ERROR);
    })
    .ok()
}

/// Answers 200 to an extended CONNECT (RFC 8441 §5) and carries bytes from then on.
async fn upgrade(session: &Session, mut relay: Box<Relay>, client: Stream<'_>) {
    let mut fields = std::mem::take(&mut relay.fields);
    for name in [Known::Upgrade, Known::Connection, Known::SecWebsocketAccept, Known::ContentLength]
    {
        fields.remove(name);
    }
    relay.answer_with(StatusCode::OK);
    let stream = send_head(&mut client.respond.borrow_mut(), StatusCode::OK, &fields, false);
    match stream {
        Some(stream) => tunnel::carry(session, Duplex::new(client.body, stream), relay).await,
        None => relay.finish(Some(Fault::ClientGone)),
    }
}

/// A call's stream: where the request's body comes from, and interim responses go to.
pub(super) struct Stream<'a> {
    body: RecvStream,
    ended: bool,
    pub(super) respond: &'a RefCell<SendResponse<Bytes>>,
    /// The client waits for 100 before it sends the body.
    expects_continue: bool,
    /// Fields that the trailer section may have.
    most_fields: usize,
    pub(super) timer: &'a mut Timer,
}

impl Stream<'_> {
    /// Tells a client that waits for it to go on, once its body is wanted and not there.
    fn invite(&mut self) {
        if std::mem::take(&mut self.expects_continue) {
            let go_on = head::bare(StatusCode::CONTINUE);
            let _gone = self.respond.borrow_mut().send_informational(go_on);
        }
    }

    fn poll_trailers(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame, SourceError>>> {
        let trailers = match ready!(self.body.poll_trailers(cx)) {
            Ok(trailers) => trailers,
            Err(_) => return Poll::Ready(Some(Err(SourceError::Gone))),
        };
        self.ended = true;
        Poll::Ready(trailers.map(|trailers| {
            http1::read_fields(trailers, self.most_fields)
                .map(|trailers| Frame::Trailers(Box::new(trailers)))
                .map_err(SourceError::Broken)
        }))
    }
}

impl Source for Stream<'_> {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame, SourceError>>> {
        while !self.ended {
            let data = match self.body.poll_data(cx) {
                Poll::Ready(Some(Ok(data))) => data,
                Poll::Ready(Some(Err(_))) => return Poll::Ready(Some(Err(SourceError::Gone))),
                Poll::Ready(None) => return self.poll_trailers(cx),
                Poll::Pending => {
                    self.invite();
                    return Poll::Pending;
                }
            };
            self.expects_continue = false;
            self.ended = self.body.is_end_stream();
            // Its place in the window is free again: only what is asked for comes this far.
            let _gone = self.body.flow_control().release_capacity(data.len());
            if !data.is_empty() {
                return Poll::Ready(Some(Ok(Frame::Data(data))));
            }
        }
        Poll::Ready(None)
    }

    fn is_end(&self) -> bool {
        self.ended
    }
}

impl Client for Stream<'_> {
    fn informational(&mut self, status: StatusCode, fields: &Fields) {
        // The gateway answers an expectation itself, once it has a connection for the body.
        if status == StatusCode::CONTINUE {
            return;
        }
        if let Ok(response) = head::interim(status, fields) {
            let _gone = self.respond.borrow_mut().send_informational(response);
        }
    }

    fn poll_flush(&mut self, _: &mut Context<'_>) -> Poll<()> {
        // The connection's task writes what was handed to the library.
        Poll::Ready(())
    }

    fn timer(&mut self) -> &mut Timer {
        self.timer
    }
}
