//! A client's HTTP/2 connection: framing and flow control are hyper's, what a call may contain is
//! held to the same rules as over HTTP/1. Each call is a task of the same thread.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{Method, StatusCode};
use http_body::{Body as _, SizeHint};
use hyper::body::Incoming;
use hyper::ext::Protocol;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::time::Instant;

use super::io::{Io, Rewound};
use super::{Session, tunnel};
use crate::fault::Fault;
use crate::http::head::{Fields, Known};
use crate::http1::{self, Framing, Refusal, Target, check_downgrade};
use crate::proxy::{self, Client, Length, Relay, Reply, Request, WebsocketKey};
use crate::timer::Timer;
use crate::upstream::{BodyKind, Frame, Source, SourceError};

/// Bytes of a response's body that hyper may hold for a client that reads slowly.
const SEND_BUFFER: usize = 256 << 10;
/// Window of a stream, and of the whole connection, for request bodies.
const STREAM_WINDOW: u32 = 256 << 10;
const CONNECTION_WINDOW: u32 = 1 << 20;
/// How long a client may leave a keep-alive ping unanswered.
const PING_TIMEOUT: Duration = Duration::from_secs(20);

/// Runs hyper's tasks on the thread of the connection.
#[derive(Clone, Copy, Debug)]
struct Local;

impl<F: Future + 'static> hyper::rt::Executor<F> for Local {
    fn execute(&self, task: F) {
        tokio::task::spawn_local(async move {
            task.await;
        });
    }
}

/// Serves a connection to its end.
pub(crate) async fn serve(session: Session, early: BytesMut, io: Io) {
    let snapshot = session.worker.shared.snapshot.load_full();
    let head = u32::try_from(snapshot.engine.limits.head).unwrap_or(u32::MAX);
    let mut builder = hyper::server::conn::http2::Builder::new(Local);
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(snapshot.engine.max_streams)
        .max_header_list_size(head)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(SEND_BUFFER)
        .keep_alive_interval(snapshot.engine.keep_alive)
        .keep_alive_timeout(PING_TIMEOUT)
        .enable_connect_protocol();
    let closing = session.door.closing.clone();
    let peer = session.peer;
    let service = hyper::service::service_fn(move |request| on_request(session.clone(), request));
    let io = TokioIo::new(Rewound::new(early.freeze(), io));
    let mut connection = std::pin::pin!(builder.serve_connection(io, service));
    let served = tokio::select! {
        served = &mut connection => served,
        () = closing.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = served {
        tracing::debug!(%peer, "an HTTP/2 connection ended: {error}");
    }
}

async fn on_request(
    session: Session,
    mut request: http::Request<Incoming>,
) -> Result<http::Response<ResponseBody>, Infallible> {
    let upgrade = request.extensions_mut().remove::<Protocol>();
    let on_upgrade = upgrade.as_ref().map(|_| hyper::upgrade::on(&mut request));
    let (parts, body) = request.into_parts();
    let ended = body.is_end_stream();
    let most_fields = session.worker.shared.snapshot.load().engine.limits.fields();
    let mut client = Stream { body, ended, most_fields, timer: Timer::default() };
    let read = read_head(&parts, upgrade.as_ref(), ended, most_fields);
    let mut call = match read.map(|call| with_key(call, &session)) {
        Ok(call) => call,
        Err(fault) => return Ok(local_response(proxy::refuse(&session, fault))),
    };
    match proxy::handle(&session, &mut call, &mut client).await {
        Reply::Local(local) => Ok(local_response(local)),
        Reply::Relay(mut relay) => {
            if relay.length == Length::Known(0) {
                end_at_once(&mut relay, &mut client).await;
            }
            Ok(relayed_response(relay, client))
        }
        Reply::Upgraded(relay) => Ok(upgraded_response(&session, relay, on_upgrade)),
    }
}

/// Ends a response that has no body, so that its head ends the stream: gRPC clients take a status in
/// the head (Trailers-Only) for one only then.
async fn end_at_once(relay: &mut Relay, client: &mut Stream) {
    let _nothing = poll_fn(|cx| Poll::Ready(relay.poll_frame(cx, client))).await;
    relay.finish(None);
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

/// Brings a request into the form that the phases know.
fn read_head(
    parts: &http::request::Parts,
    upgrade: Option<&Protocol>,
    ended: bool,
    most_fields: usize,
) -> Result<Request, Fault> {
    let refused = |reason| Fault::Refused(Refusal { status: 400, reason });
    let mut fields = http1::read_fields(&parts.headers, most_fields).map_err(Fault::Refused)?;
    if !matches!(parts.uri.scheme_str(), None | Some("http" | "https")) {
        return Err(refused("scheme"));
    }
    let authority = parts.uri.authority().map(|authority| authority.as_str().as_bytes());
    let authority = match authority.or_else(|| fields.get(Known::Host)) {
        Some(authority) => authority,
        None => return Err(refused("host-missing")),
    };
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    if path == "*" && parts.method != Method::OPTIONS {
        return Err(refused("target"));
    }
    let target = Target::new(authority, path.as_bytes())
        .map_err(|invalid| Fault::Refused(invalid.into()))?;
    let framing = check_downgrade(&target, &fields, ended).map_err(Fault::Refused)?;
    let mut method = parts.method.clone();
    if let Some(protocol) = upgrade {
        if protocol.as_str() != "websocket" {
            return Err(Fault::Upgrade);
        }
        // What RFC 8441 §5 leaves out of an extended CONNECT and HTTP/1 wants to see.
        method = Method::GET;
        fields.set_known(Known::Upgrade, b"websocket");
    } else if method == Method::CONNECT {
        return Err(Fault::Refused(Refusal { status: 501, reason: "method" }));
    }
    fields.set_known(Known::Host, target.authority().as_bytes());
    let grpc_timeout = fields.get(Known::GrpcTimeout).and_then(proxy::grpc_timeout);
    Ok(Request {
        grpc_timeout,
        method,
        target,
        fields,
        body: match framing {
            _ if upgrade.is_some() => BodyKind::None,
            Framing::None => BodyKind::None,
            Framing::Length(length) => BodyKind::Length(length),
            Framing::Chunked | Framing::UntilClose => BodyKind::Unknown,
        },
        protocol: "HTTP/2",
        upgrade: upgrade.is_some(),
        websocket_key: None,
    })
}

fn response(
    status: StatusCode,
    fields: &Fields,
    body: ResponseBody,
) -> http::Response<ResponseBody> {
    let mut response = http::Response::new(body);
    *response.status_mut() = status;
    match fields.to_header_map() {
        Ok(headers) => *response.headers_mut() = headers,
        Err(error) => {
            tracing::debug!("a response has fields that HTTP/2 cannot carry: {error}");
            *response.status_mut() = StatusCode::BAD_GATEWAY;
            *response.body_mut() = ResponseBody::Local(Bytes::new());
        }
    }
    response
}

fn local_response(local: proxy::Local) -> http::Response<ResponseBody> {
    response(local.status, &local.fields, ResponseBody::Local(local.body))
}

fn relayed_response(relay: Box<Relay>, client: Stream) -> http::Response<ResponseBody> {
    let mut fields = relay.fields.clone();
    fields.remove(Known::TransferEncoding);
    if let Length::Known(length) = relay.length
        && fields.get(Known::ContentLength).is_none()
        && length > 0
    {
        fields.set_known(Known::ContentLength, length.to_string().as_bytes());
    }
    let status = relay.status;
    let moving = Moving { relay, client, since: None };
    response(status, &fields, ResponseBody::Relayed(Box::new(moving)))
}

/// Answers 200 to an extended CONNECT (RFC 8441 §5) and carries bytes from then on.
fn upgraded_response(
    session: &Session,
    mut relay: Box<Relay>,
    on_upgrade: Option<hyper::upgrade::OnUpgrade>,
) -> http::Response<ResponseBody> {
    let mut fields = relay.fields.clone();
    for name in [Known::Upgrade, Known::Connection, Known::SecWebsocketAccept] {
        fields.remove(name);
    }
    relay.status = StatusCode::OK;
    if let Some(on_upgrade) = on_upgrade {
        let session = session.clone();
        tokio::task::spawn_local(async move {
            match on_upgrade.await {
                Ok(upgraded) => tunnel::carry(&session, TokioIo::new(upgraded), relay).await,
                Err(_) => relay.finish(Some(Fault::ClientGone)),
            }
        });
    }
    response(StatusCode::OK, &fields, ResponseBody::Local(Bytes::new()))
}

/// A call's stream: where the request's body comes from.
struct Stream {
    body: Incoming,
    ended: bool,
    /// Fields that the trailer section may have.
    most_fields: usize,
    timer: Timer,
}

impl Source for Stream {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame, SourceError>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        loop {
            let frame = match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                None => {
                    self.ended = true;
                    return Poll::Ready(None);
                }
                Some(Err(_)) => return Poll::Ready(Some(Err(SourceError::Gone))),
                Some(Ok(frame)) => frame,
            };
            self.ended = self.body.is_end_stream();
            match frame.into_data() {
                Ok(data) if data.is_empty() => {}
                Ok(data) => return Poll::Ready(Some(Ok(Frame::Data(data)))),
                Err(frame) => {
                    if let Ok(trailers) = frame.into_trailers() {
                        let read = http1::read_fields(&trailers, self.most_fields)
                            .map(|trailers| Frame::Trailers(Box::new(trailers)))
                            .map_err(SourceError::Broken);
                        return Poll::Ready(Some(read));
                    }
                }
            }
        }
    }

    fn is_end(&self) -> bool {
        self.ended
    }
}

impl Client for Stream {
    fn informational(&mut self, _: StatusCode, _: &Fields) {
        // hyper's HTTP/2 server sends no 1xx responses; all of them may be left out (RFC 9110 §15.2).
    }

    fn poll_flush(&mut self, _: &mut Context<'_>) -> Poll<()> {
        Poll::Ready(())
    }

    fn timer(&mut self) -> &mut Timer {
        &mut self.timer
    }
}

/// The body of a response.
enum ResponseBody {
    /// Made here.
    Local(Bytes),
    /// An instance's.
    Relayed(Box<Moving>),
}

/// A response's body on its way, with the request it answers.
struct Moving {
    relay: Box<Relay>,
    client: Stream,
    since: Option<Instant>,
}

impl Moving {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame, Fault>>> {
        if let Poll::Ready(frame) = self.relay.poll_frame(cx, &mut self.client) {
            self.since = None;
            return Poll::Ready(frame);
        }
        let since = *self.since.get_or_insert_with(Instant::now);
        let (deadline, fault) = self.relay.deadline(since);
        ready!(self.client.timer.poll_until(cx, deadline));
        self.relay.finish(Some(fault));
        Poll::Ready(Some(Err(fault)))
    }
}

impl http_body::Body for ResponseBody {
    type Data = Bytes;
    type Error = BodyFault;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, BodyFault>>> {
        let moving = match self.get_mut() {
            Self::Local(bytes) if bytes.is_empty() => return Poll::Ready(None),
            Self::Local(bytes) => {
                return Poll::Ready(Some(Ok(http_body::Frame::data(std::mem::take(bytes)))));
            }
            Self::Relayed(moving) => moving,
        };
        Poll::Ready(ready!(moving.poll(cx)).map(|frame| {
            match frame {
                Ok(Frame::Data(data)) => Ok(http_body::Frame::data(data)),
                Ok(Frame::Trailers(trailers)) => trailers
                    .to_header_map()
                    .map(http_body::Frame::trailers)
                    .map_err(|_| BodyFault(Fault::Answer("trailers"))),
                Err(fault) => Err(BodyFault(fault)),
            }
        }))
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Local(bytes) => bytes.is_empty(),
            Self::Relayed(moving) => moving.relay.is_over(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Local(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Relayed(_) => SizeHint::default(),
        }
    }
}

/// Why a response was cut: the stream is reset, so that what came does not pass for a whole.
#[derive(Debug, thiserror::Error)]
#[error("the response was cut: {}", .0.label())]
struct BodyFault(Fault);
