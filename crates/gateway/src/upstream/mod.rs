//! Connections to instances, and calls over them. Everything here belongs to one thread.
//!
//! In reading order: [`call`] (what is sent and what comes back), [`error`], [`pools`] (who gets
//! which connection), `connect` and [`tls`] (how one is opened), `h1` and `h2` (one call on it),
//! [`tunnel`] (what it becomes when it stops being HTTP).
//!
//! What holds:
//! - an exchange is polled in the task of the call it serves; HTTP/1 has no task of its own, so that
//!   a small call costs one read and one write;
//! - nothing is read from an instance that was not asked for, and nothing is buffered beyond a few
//!   reads: who does not poll holds the instance back;
//! - a connection is used again only if request and response both ended where their framing said,
//!   and not one byte came after them;
//! - no byte is written that was not checked against the framing announced before it.

pub mod call;
mod connect;
pub mod error;
mod h1;
mod h2;
pub mod pools;
mod stream;
#[cfg(test)]
mod tests;
pub mod tls;
pub mod tunnel;

use std::task::{Context, Poll};

pub use call::{BodyKind, Call, Empty, Frame, Head, Source, SourceError};
pub use error::{ConnectError, ConnectErrorKind, ErrorKind, ExchangeError, Retry, Side};
pub(crate) use h2::Duplex;
pub use pools::{Lease, Pools, TcpLease};
pub use tls::UpstreamTls;
pub use tunnel::Tunnel;

/// One call on a connection. Dropping it abandons the call: an HTTP/1 connection is closed, an
/// HTTP/2 stream is reset.
#[derive(Debug)]
pub struct Exchange(Protocol);

#[derive(Debug)]
enum Protocol {
    H1(h1::Exchange),
    H2(Box<h2::Exchange>),
}

impl Exchange {
    fn h1(exchange: h1::Exchange) -> Self {
        Self(Protocol::H1(exchange))
    }

    fn h2(exchange: h2::Exchange) -> Self {
        Self(Protocol::H2(Box::new(exchange)))
    }

    /// The next head: any number of informational ones, then the final one. The request's body is
    /// moved from `source` meanwhile, and the final head may come long before its end.
    ///
    /// # Errors
    /// With what went wrong, on which side, and whether the call may be made again.
    pub fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut dyn Source,
    ) -> Poll<Result<Head, ExchangeError>> {
        match &mut self.0 {
            Protocol::H1(exchange) => exchange.poll_head(cx, source),
            Protocol::H2(exchange) => exchange.poll_head(cx, source),
        }
    }

    /// The next part of the response's body, after the final head; `None` once it is whole. The rest
    /// of the request's body is moved meanwhile. The connection is given back for further calls as
    /// soon as both have ended, without being asked to.
    ///
    /// # Errors
    /// The response is not whole, or the request could not be sent to its end. Never safe to retry.
    pub fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut dyn Source,
    ) -> Poll<Option<Result<Frame, ExchangeError>>> {
        match &mut self.0 {
            Protocol::H1(exchange) => exchange.poll_frame(cx, source),
            Protocol::H2(exchange) => exchange.poll_frame(cx, source),
        }
    }

    /// Moves the request's body only, for while the client does not take more of the response:
    /// clients exist that read nothing before they have sent everything. Ready when no more of it
    /// will be sent.
    ///
    /// # Errors
    /// The source failed. What fails on the instance's side shows when the response is polled.
    pub fn poll_upload(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut dyn Source,
    ) -> Poll<Result<(), ExchangeError>> {
        match &mut self.0 {
            Protocol::H1(exchange) => exchange.poll_upload(cx, source),
            Protocol::H2(exchange) => exchange.poll_upload(cx, source),
        }
    }

    /// Whether the response has ended, so that [`Exchange::poll_frame`] would return `None`.
    #[must_use]
    pub fn is_end(&self) -> bool {
        match &self.0 {
            Protocol::H1(exchange) => exchange.is_end(),
            Protocol::H2(exchange) => exchange.is_end(),
        }
    }

    /// Bytes moved in both directions so far: whoever times idleness compares it with an earlier
    /// value instead of keeping a timer per piece.
    #[must_use]
    pub fn progress(&self) -> u64 {
        match &self.0 {
            Protocol::H1(exchange) => exchange.progress(),
            Protocol::H2(exchange) => exchange.progress(),
        }
    }

    /// Takes no further calls onto the connection. For a call that got no answer in time: what is
    /// wrong may be the connection, and over HTTP/2 others would wait on it as well.
    pub fn condemn(&self) {
        match &self.0 {
            // An abandoned HTTP/1 call closes its connection in any case.
            Protocol::H1(_) => {}
            Protocol::H2(exchange) => exchange.condemn(),
        }
    }

    /// The connection, or the stream, that stopped being HTTP: after a head with
    /// [`Head::is_switched`]. Otherwise what is returned is closed in both directions.
    #[must_use]
    pub fn into_tunnel(self) -> Tunnel {
        match self.0 {
            Protocol::H1(exchange) => exchange.into_tunnel(),
            Protocol::H2(exchange) => exchange.into_tunnel(),
        }
    }
}
