//! A call as the phases see it, whatever version of HTTP it came by, and the answers they give.

use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, StatusCode};

use crate::fault::Fault;
use crate::http::head::{Fields, Known};
use crate::http1::{Framing, RequestHead, Target, Version};
use crate::proxy::relay::Relay;
use crate::proxy::websocket::Key;
use crate::timer::Timer;
use crate::upstream::{BodyKind, Source};

/// The client's side of a call: the request's body comes from it.
pub(crate) trait Client: Source {
    /// Passes on a 1xx response, if the client's protocol can; it is sent with
    /// [`Client::poll_flush`].
    fn informational(&mut self, status: StatusCode, fields: &Fields);

    /// Sends what waits. Ready when nothing does, or nothing more can be done.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<()>;

    /// Ready once the client is known to have closed its side after its request: nobody waits for
    /// the answer any more. Where that is noticed in another way, never.
    fn poll_gone(&mut self, _: &mut Context<'_>) -> Poll<()> {
        Poll::Pending
    }

    /// The timer for the waits of this call.
    fn timer(&mut self) -> &mut Timer;
}

/// A call.
pub(crate) struct Request {
    /// Method.
    pub(crate) method: Method,
    /// Where it goes, checked.
    pub(crate) target: Target,
    /// Its header section.
    pub(crate) fields: Fields,
    /// Its body.
    pub(crate) body: BodyKind,
    /// How the client spoke.
    pub(crate) protocol: &'static str,
    /// Whether the client asks to change protocols.
    pub(crate) upgrade: bool,
    /// The key of WebSocket's handshake, if the change is to that.
    pub(crate) websocket_key: Option<Key>,
    /// How long a gRPC caller waits.
    pub(crate) grpc_timeout: Option<Duration>,
}

impl Request {
    /// A call that came over HTTP/1.
    pub(crate) fn from_http1(head: RequestHead) -> Self {
        let websocket_key = head.upgrade.then(|| Key::of_client(&head.fields)).flatten();
        Self {
            method: head.method,
            target: head.target,
            fields: head.fields,
            body: match head.framing {
                Framing::None => BodyKind::None,
                Framing::Length(length) => BodyKind::Length(length),
                Framing::Chunked | Framing::UntilClose => BodyKind::Unknown,
            },
            protocol: match head.version {
                Version::Http10 => "HTTP/1.0",
                Version::Http11 => "HTTP/1.1",
            },
            upgrade: head.upgrade,
            websocket_key,
            grpc_timeout: None,
        }
    }

    /// Whether it is a gRPC call (gRPC over HTTP/2: the content type begins so).
    pub(crate) fn is_grpc(&self) -> bool {
        self.fields
            .get(Known::ContentType)
            .is_some_and(|value| value.starts_with(b"application/grpc"))
    }
}

/// An answer.
pub(crate) enum Reply {
    /// The gateway's own.
    Local(Local),
    /// An instance's: its head is here, its body is to be moved.
    Relay(Box<Relay>),
    /// An instance agreed to change protocols.
    Upgraded(Box<Relay>),
}

impl Reply {
    /// The fields of its head.
    pub(super) fn fields(&mut self) -> &mut Fields {
        match self {
            Self::Local(local) => &mut local.fields,
            Self::Relay(relay) | Self::Upgraded(relay) => &mut relay.fields,
        }
    }
}

/// A response that the gateway makes itself.
pub(crate) struct Local {
    /// Status.
    pub(crate) status: StatusCode,
    /// Header fields, without those that frame the body.
    pub(crate) fields: Fields,
    /// Body.
    pub(crate) body: Bytes,
    /// Whether the connection cannot go on after it.
    pub(crate) closes: bool,
}

/// What is known of the length of a response's body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Length {
    /// So many bytes.
    Known(u64),
    /// It ends when it ends: a stream.
    Unknown,
}

impl Length {
    /// Whether it is known.
    pub(crate) const fn is_known(self) -> bool {
        matches!(self, Self::Known(_))
    }
}

/// Whether a client can send another request after this fault.
pub(crate) const fn closes(fault: Fault) -> bool {
    matches!(
        fault,
        Fault::Refused(_)
            | Fault::ClientBody(_)
            | Fault::ClientGone
            | Fault::ClientSlow
            | Fault::BodyTooLarge
    )
}

/// Reads `grpc-timeout` (gRPC over HTTP/2: up to eight digits and a unit).
pub(crate) fn grpc_timeout(value: &[u8]) -> Option<Duration> {
    let (unit, digits) = value.split_last()?;
    if digits.is_empty() || digits.len() > 8 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number: u64 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    Some(match unit {
        b'H' => Duration::from_secs(number * 3600),
        b'M' => Duration::from_secs(number * 60),
        b'S' => Duration::from_secs(number),
        b'm' => Duration::from_millis(number),
        b'u' => Duration::from_micros(number),
        b'n' => Duration::from_nanos(number),
        _ => return None,
    })
}
