//! What a call is made of on its way to an instance and back, whatever the protocol.

use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Method, StatusCode};

use crate::http::head::{Fields, Known};
use crate::http1::Refusal;

/// Informational responses before the final one; with more the response is refused.
pub(super) const MOST_INFORMATIONAL: u32 = 64;

/// A request, without its body.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    /// Method. An upgrade over HTTP/1 is a `GET`; it becomes an extended `CONNECT` for HTTP/2.
    pub method: &'a Method,
    /// Target in origin form, or `*`.
    pub path_and_query: &'a str,
    /// `:authority` of HTTP/2, and `Host` of HTTP/1 when the fields have none.
    pub authority: &'a str,
    /// `http` or `https`, as the client spoke.
    pub scheme: &'static str,
    /// Fields, edited, without those that concern one connection only.
    pub fields: &'a Fields,
    /// What is known of the body.
    pub body: BodyKind,
    /// The protocols that the client asks to change to, as `Upgrade` lists them.
    pub upgrade: Option<&'a [u8]>,
    /// Whether the client reads trailers (`TE: trailers`).
    pub te_trailers: bool,
}

/// What is known of a body before it comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyKind {
    /// There is none.
    None,
    /// So many bytes.
    Length(u64),
    /// It ends where it ends.
    Unknown,
}

/// A part of a body.
#[derive(Debug)]
pub enum Frame {
    /// Some of it.
    Data(Bytes),
    /// The trailer section, at the end.
    Trailers(Box<Fields>),
}

/// A request's body, taken by whoever polls the exchange.
pub trait Source {
    /// The next part; `None` at the end.
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame, SourceError>>>;

    /// Whether it is certain that nothing more comes.
    fn is_end(&self) -> bool;
}

/// Why a request's body cannot be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    /// The client went away.
    #[error("the client went away")]
    Gone,
    /// It is malformed or too large.
    #[error("the request's body is refused: {0}")]
    Broken(Refusal),
}

/// The body of a request that has none.
#[derive(Clone, Copy, Debug, Default)]
pub struct Empty;

impl Source for Empty {
    fn poll_frame(&mut self, _: &mut Context<'_>) -> Poll<Option<Result<Frame, SourceError>>> {
        Poll::Ready(None)
    }

    fn is_end(&self) -> bool {
        true
    }
}

/// What a response says before its body.
#[derive(Debug)]
pub struct Head {
    /// Status.
    pub status: StatusCode,
    /// Fields, without those that concern one connection only; with them for 101.
    pub fields: Fields,
    /// What is known of the body. [`BodyKind::None`] for `HEAD`, 204 and 304 whatever the fields
    /// say.
    pub body: BodyKind,
    pub(super) switched: bool,
}

impl Head {
    /// Whether another head follows.
    #[must_use]
    pub fn is_informational(&self) -> bool {
        self.status.is_informational() && !self.switched
    }

    /// Whether the connection stops being HTTP: 101 over HTTP/1, 2xx to an extended `CONNECT` over
    /// HTTP/2. The exchange's use from here on is its tunnel.
    #[must_use]
    pub const fn is_switched(&self) -> bool {
        self.switched
    }
}

/// Takes out of a trailer section what may not stand in one (RFC 9110 §6.5.1): whatever has a
/// meaning to the gateway or to who is behind it, but for what is known to be a trailer's.
pub(super) fn trim_trailers(trailers: &mut Fields) {
    let wrong =
        |trailers: &Fields| trailers.iter().map(|(name, _, _)| name).find(|name| !may_trail(*name));
    while let Some(name) = wrong(trailers) {
        trailers.remove(name);
    }
}

const fn may_trail(name: Known) -> bool {
    matches!(name, Known::Other | Known::GrpcStatus | Known::GrpcMessage | Known::Etag)
}
