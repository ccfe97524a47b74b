//! Why a call is answered by the gateway itself: each fault knows its status, its gRPC status, what
//! the client is told, and the stable label under which metrics and logs count it.

use http::StatusCode;

use crate::cluster::Failure;
use crate::http1::Refusal;
use crate::limit::Limited;
use crate::upstream::{ConnectErrorKind, ErrorKind, ExchangeError, Retry, SourceError};

/// Why a call is answered by the gateway itself, or its response was cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The request is malformed, ambiguous or too large.
    Refused(Refusal),
    /// No route means this call.
    NoRoute,
    /// Routes mean this path, but not with this method.
    Method,
    /// The service has no instance that may be used.
    NoEndpoint,
    /// Too many calls to the service are under way or waiting, or its circuit is open.
    Circuit(&'static str),
    /// No instance could be connected to.
    Connect,
    /// The instance took too long.
    Timeout(&'static str),
    /// The instance closed the connection before its answer was whole.
    Closed,
    /// The instance's answer is malformed or ambiguous.
    Answer(&'static str),
    /// The body is larger than the route allows.
    BodyTooLarge,
    /// Nobody is known to call, or the credential does not hold: one answer for both.
    Unauthenticated,
    /// Whoever calls may not.
    Forbidden,
    /// It cannot be found out who calls, or be told to the service.
    IdentityUnavailable,
    /// The call is not as its API says.
    Violation,
    /// A limit of the route or of the consumer's plan.
    Limited(Limited),
    /// The service is overloaded, and other calls go first.
    Shed,
    /// The client sent a broken body, or no byte of it for too long.
    ClientBody(Refusal),
    /// The client went away.
    ClientGone,
    /// The client did not finish the head of its request in time.
    ClientSlow,
    /// The instance refused to change protocols, or cannot.
    Upgrade,
}

impl Fault {
    /// The status to answer with. For [`Fault::ClientGone`] nobody reads it; logs show nginx's 499.
    pub(crate) fn status(self) -> StatusCode {
        match self {
            Self::Refused(refusal) | Self::ClientBody(refusal) => {
                StatusCode::from_u16(refusal.status).unwrap_or(StatusCode::BAD_REQUEST)
            }
            Self::NoRoute => StatusCode::NOT_FOUND,
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::NoEndpoint | Self::Circuit(_) | Self::Shed => StatusCode::SERVICE_UNAVAILABLE,
            Self::Limited(_) => StatusCode::TOO_MANY_REQUESTS,
            Self::Connect | Self::Closed | Self::Answer(_) => StatusCode::BAD_GATEWAY,
            Self::Timeout(_) => StatusCode::GATEWAY_TIMEOUT,
            Self::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Unauthenticated => StatusCode::UNAUTHORIZED,
            Self::Forbidden => StatusCode::FORBIDDEN,
            Self::IdentityUnavailable => StatusCode::SERVICE_UNAVAILABLE,
            Self::Violation => StatusCode::BAD_REQUEST,
            Self::ClientSlow => StatusCode::REQUEST_TIMEOUT,
            Self::ClientGone => StatusCode::from_u16(499).unwrap_or(StatusCode::REQUEST_TIMEOUT),
            Self::Upgrade => StatusCode::NOT_IMPLEMENTED,
        }
    }

    /// The gRPC status to answer with (the gRPC status codes document; HTTP statuses by its
    /// mapping for proxies).
    pub(crate) const fn grpc_status(self) -> u16 {
        match self {
            Self::Refused(_) | Self::ClientBody(_) => 13,
            Self::NoRoute | Self::Method | Self::Upgrade => 12,
            Self::NoEndpoint | Self::Circuit(_) | Self::Connect | Self::Closed | Self::Shed => 14,
            Self::Answer(_) => 13,
            Self::Timeout(_) => 4,
            Self::Unauthenticated => 16,
            Self::Forbidden => 7,
            Self::IdentityUnavailable => 14,
            Self::Violation => 3,
            Self::BodyTooLarge | Self::Limited(_) => 8,
            Self::ClientGone | Self::ClientSlow => 1,
        }
    }

    /// The stable label for metrics and logs.
    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::Refused(refusal) | Self::ClientBody(refusal) => refusal.reason,
            Self::NoRoute => "no-route",
            Self::Method => "method-not-allowed",
            Self::NoEndpoint => "no-endpoint",
            Self::Connect => "connect",
            Self::Circuit(label) | Self::Timeout(label) | Self::Answer(label) => label,
            Self::Closed => "upstream-closed",
            Self::BodyTooLarge => "body-too-large",
            Self::Unauthenticated => "unauthenticated",
            Self::Forbidden => "forbidden",
            Self::IdentityUnavailable => "identity-unavailable",
            Self::Violation => "not-as-described",
            Self::Limited(what) => what.label(),
            Self::Shed => "shed",
            Self::ClientGone => "client-gone",
            Self::ClientSlow => "client-slow",
            Self::Upgrade => "upgrade",
        }
    }

    /// What the client is told: what happened and, where it can do something, what.
    pub(crate) const fn detail(self) -> &'static str {
        match self {
            Self::Refused(_) => "the request is malformed, ambiguous or too large",
            Self::NoRoute => "no route matches this host and path",
            Self::Method => "the path exists, but not with this method",
            Self::NoEndpoint => "the service has no instance that can be used now",
            Self::Circuit(_) => "too many calls to the service are under way; try again later",
            Self::Connect => "no instance of the service could be connected to",
            Self::Timeout(_) => "the service did not answer in time",
            Self::Closed => "the service closed the connection before its answer was whole",
            Self::Answer(_) => "the service's answer is malformed or ambiguous",
            Self::BodyTooLarge => "the request's body is larger than this route allows",
            Self::Unauthenticated => "send a credential that is valid and accepted here",
            Self::Forbidden => "this is not permitted; ask whoever runs the API for access",
            Self::IdentityUnavailable => "credentials cannot be checked now; try again later",
            Self::Violation => "the call is not as the API's description says",
            Self::Limited(what) => what.detail(),
            Self::Shed => "the service is overloaded; try again later",
            Self::ClientBody(_) => "the request's body is malformed or stopped coming",
            Self::ClientGone => "the client went away",
            Self::ClientSlow => "the request's head did not arrive in time",
            Self::Upgrade => "the service does not change protocols",
        }
    }
}

/// What the client is told when no instance could be connected to, for this reason at last.
impl From<ConnectErrorKind> for Fault {
    fn from(kind: ConnectErrorKind) -> Self {
        match kind {
            ConnectErrorKind::Timeout => Self::Timeout(kind.label()),
            ConnectErrorKind::Limit | ConnectErrorKind::Local => Self::Circuit(kind.label()),
            _ => Self::Connect,
        }
    }
}

/// What the client is told when a call on a connection came to no good end.
impl From<ErrorKind> for Fault {
    fn from(kind: ErrorKind) -> Self {
        match kind {
            ErrorKind::Malformed(_) | ErrorKind::Http2(_) => Self::Answer(kind.label()),
            ErrorKind::NoUpgrade => Self::Upgrade,
            ErrorKind::Source(SourceError::Gone) => Self::ClientGone,
            ErrorKind::Source(SourceError::Broken(refusal)) => Self::ClientBody(refusal),
            ErrorKind::Unsendable(reason) => Self::Refused(Refusal { status: 400, reason }),
            _ => Self::Closed,
        }
    }
}

/// What a failed connection says about the instance, if anything.
pub(crate) fn connect_failure(kind: ConnectErrorKind) -> Option<Failure> {
    let failure = match kind {
        ConnectErrorKind::Refused => Failure::Refused,
        _ => Failure::Connect,
    };
    kind.is_instance_at_fault().then_some(failure)
}

/// What a failed call says about the instance, if anything.
pub(crate) fn exchange_failure(error: &ExchangeError) -> Option<Failure> {
    match error.kind {
        ErrorKind::Source(_) | ErrorKind::Unsendable(_) | ErrorKind::NoUpgrade => None,
        // An instance may close what is unused, and may go away in good order.
        _ if error.reused && error.retry == Retry::Always => None,
        ErrorKind::GoAway | ErrorKind::RefusedStream => None,
        ErrorKind::Malformed(_) | ErrorKind::Http2(_) => Some(Failure::Malformed),
        ErrorKind::Closed | ErrorKind::Io(_) | ErrorKind::Reset(_) => Some(Failure::Reset),
    }
}
