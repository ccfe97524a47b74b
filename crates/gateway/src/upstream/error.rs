//! What goes wrong between the gateway and an instance: on whose side, and whether the call may be
//! made again.

use std::io;
use std::net::SocketAddr;

use super::SourceError;
use crate::http1::Refusal;

/// No connection.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{address}: {detail}")]
pub struct ConnectError {
    /// What kind of failure it is.
    pub kind: ConnectErrorKind,
    /// The instance's address.
    pub address: SocketAddr,
    /// What happened, for the log.
    pub detail: String,
}

/// Kinds of [`ConnectError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectErrorKind {
    /// Nobody listens there.
    Refused,
    /// It took longer than the service's `connect` timeout.
    Timeout,
    /// Any other failure of the network.
    Unreachable,
    /// The TLS handshake failed, or what it needs here.
    Tls,
    /// What listens there does not speak HTTP/2.
    Protocol,
    /// As many connections as are allowed, and no room or time to wait for one of them. The
    /// instance is not at fault.
    Limit,
    /// This host has run out of ports or descriptors. The instance is not at fault.
    Local,
}

impl ConnectErrorKind {
    /// The stable label for metrics and logs.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Refused => "connection-refused",
            Self::Timeout => "connect-timeout",
            Self::Unreachable => "unreachable",
            Self::Tls => "tls",
            Self::Protocol => "not-http2",
            Self::Limit => "connection-limit",
            Self::Local => "out-of-sockets",
        }
    }

    /// Whether it says anything about the instance.
    #[must_use]
    pub const fn is_instance_at_fault(self) -> bool {
        !matches!(self, Self::Limit | Self::Local)
    }
}

impl ConnectError {
    pub(super) fn new(
        kind: ConnectErrorKind,
        address: SocketAddr,
        detail: impl Into<String>,
    ) -> Self {
        Self { kind, address, detail: detail.into() }
    }

    pub(super) fn of_io(address: SocketAddr, error: &io::Error) -> Self {
        // What the standard library has no kind for on this platform: EMFILE and ENFILE.
        const TOO_MANY_FILES: [i32; 2] = [23, 24];
        let kind = match error.kind() {
            io::ErrorKind::ConnectionRefused => ConnectErrorKind::Refused,
            io::ErrorKind::TimedOut => ConnectErrorKind::Timeout,
            io::ErrorKind::AddrNotAvailable | io::ErrorKind::AddrInUse => ConnectErrorKind::Local,
            _ if error.raw_os_error().is_some_and(|code| TOO_MANY_FILES.contains(&code)) => {
                ConnectErrorKind::Local
            }
            _ => ConnectErrorKind::Unreachable,
        };
        Self::new(kind, address, error.to_string())
    }
}

/// Whether a call may be made again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// Certainly nobody has acted upon it.
    Always,
    /// Somebody may have acted upon it.
    IfIdempotent,
    /// Its answer has begun, or would be no better.
    Never,
}

/// Whose fault it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The instance's.
    Upstream,
    /// That of the request or of where its body comes from.
    Source,
}

/// A call that failed.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("{kind}")]
pub struct ExchangeError {
    /// What happened.
    pub kind: ErrorKind,
    /// Whether the call may be made again.
    pub retry: Retry,
    /// Whether the connection had carried calls before: with [`Retry::Always`] the instance closed
    /// it while it was unused, which says nothing about its health.
    pub reused: bool,
}

impl ExchangeError {
    /// Whose fault it is.
    #[must_use]
    pub const fn side(&self) -> Side {
        match self.kind {
            ErrorKind::Source(_) | ErrorKind::Unsendable(_) => Side::Source,
            _ => Side::Upstream,
        }
    }
}

/// What happened to a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ErrorKind {
    /// The connection ended before the response did.
    #[error("the instance closed the connection")]
    Closed,
    /// The connection failed.
    #[error("the connection failed: {0}")]
    Io(io::ErrorKind),
    /// The response is malformed or ambiguous; the status is 502.
    #[error("the response is refused: {0}")]
    Malformed(Refusal),
    /// The instance did not take the stream on (`REFUSED_STREAM`).
    #[error("the instance refused the stream")]
    RefusedStream,
    /// The instance is going away and has not taken the stream on (`GOAWAY`).
    #[error("the instance is going away")]
    GoAway,
    /// The instance gave the stream up, with this code of RFC 9113 §7.
    #[error("the instance reset the stream with code {0}")]
    Reset(u32),
    /// The connection broke the rules of HTTP/2, with this code of RFC 9113 §7.
    #[error("the connection failed with HTTP/2 error {0}")]
    Http2(u32),
    /// The instance does not let an HTTP/2 stream become another protocol (RFC 8441).
    #[error("the instance cannot change protocols")]
    NoUpgrade,
    /// The request's body could not be had.
    #[error("{0}")]
    Source(#[from] SourceError),
    /// The request contradicts itself, so that writing it would mean something else.
    #[error("the request cannot be sent: {0}")]
    Unsendable(&'static str),
}

impl ErrorKind {
    /// The stable label for metrics and logs.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Io(_) => "io",
            Self::Malformed(refusal) => refusal.reason,
            Self::RefusedStream => "refused-stream",
            Self::GoAway => "go-away",
            Self::Reset(_) => "reset",
            Self::Http2(_) => "http2",
            Self::NoUpgrade => "no-upgrade",
            Self::Source(SourceError::Gone) => "client-gone",
            Self::Source(SourceError::Broken(refusal)) => refusal.reason,
            Self::Unsendable(reason) => reason,
        }
    }
}
