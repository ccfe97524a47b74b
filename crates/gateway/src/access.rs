//! What is known of a call once it is over, handed to whoever keeps logs and traces.

use std::net::SocketAddr;
use std::time::Duration;

use http::{Method, StatusCode};
use posthouse_base::trace::TraceContext;

/// Receives every call that is over. Called on the engine's threads: it must not block.
pub trait Recorder: Send + Sync {
    /// Notes a call that is over.
    fn record(&self, call: &Record<'_>);
}

/// A call that is over.
#[derive(Clone, Debug)]
pub struct Record<'a> {
    /// The client's address: of the connection, or as a trusted proxy told it.
    pub client: SocketAddr,
    /// Method of the request; `None` when its head could not be read.
    pub method: Option<&'a Method>,
    /// Host as sent.
    pub host: &'a [u8],
    /// Path as sent, without the query: queries hold secrets more often than paths do.
    pub path: &'a [u8],
    /// How the client spoke: `HTTP/1.1`, `HTTP/2`.
    pub protocol: &'static str,
    /// Status sent to the client; `None` when it went away before one was sent.
    pub status: Option<StatusCode>,
    /// gRPC status, when the call was one.
    pub grpc_status: Option<u16>,
    /// Name of the route, if one matched.
    pub route: Option<&'a str>,
    /// Name of the service, if one was chosen.
    pub service: Option<&'a str>,
    /// Address of the instance that answered, or was tried last.
    pub endpoint: Option<SocketAddr>,
    /// Tries made.
    pub tries: u32,
    /// Bytes of the request's body.
    pub received: u64,
    /// Bytes of the response's body.
    pub sent: u64,
    /// From the request's head to the end of the response.
    pub duration: Duration,
    /// Why the gateway itself answered, or the response was cut, as a stable label.
    pub fault: Option<&'static str>,
    /// Where the call stands in its trace.
    pub trace: TraceContext,
    /// The request's id, if the client chose it: else it is that of the trace.
    pub request_id: Option<&'a str>,
}

/// Keeps nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Discard;

impl Recorder for Discard {
    fn record(&self, _: &Record<'_>) {}
}
