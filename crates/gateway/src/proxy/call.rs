//! The ledger of one call: what is known of it so far. When it is dropped, the call is over and is
//! recorded, once, whichever way it ended.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use http::{Method, StatusCode};
use posthouse_base::trace::{TraceContext, write_hex};

use crate::access::Record;
use crate::cluster::Service;
use crate::downstream::Session;
use crate::fault::Fault;
use crate::http::head::{Fields, Known};
use crate::http1::Target;
use crate::proxy::request::Request;
use crate::route::Route;

/// The longest request id that is taken over from a client.
const LONGEST_REQUEST_ID: usize = 128;

/// The ledger of one call.
pub(crate) struct Call {
    pub(crate) session: Session,
    pub(crate) begun: Instant,
    ended: Option<Instant>,
    pub(crate) client: SocketAddr,
    pub(crate) method: Option<Method>,
    pub(crate) target: Option<Target>,
    pub(crate) protocol: &'static str,
    pub(crate) is_grpc: bool,
    pub(crate) trace: TraceContext,
    pub(crate) request_id: String,
    pub(crate) route: Option<Arc<Route<Arc<Service>>>>,
    pub(crate) service: Option<Arc<Service>>,
    pub(crate) endpoint: Option<SocketAddr>,
    pub(crate) tries: u32,
    pub(crate) status: Option<StatusCode>,
    pub(crate) grpc_status: Option<u16>,
    pub(crate) fault: Option<Fault>,
    pub(crate) received: u64,
    pub(crate) sent: u64,
}

impl Call {
    /// Begins the ledger of a request that was read.
    pub(crate) fn begin(session: &Session, request: &Request, client: SocketAddr) -> Self {
        let trace = request
            .fields
            .get(Known::Traceparent)
            .and_then(TraceContext::parse)
            .map_or_else(|| TraceContext::begin(true), TraceContext::child);
        let request_id = request
            .fields
            .get(Known::XRequestId)
            .and_then(accepted_id)
            .map_or_else(|| hex(trace.trace_id), str::to_owned);
        let mut call = Self::unread(session, client);
        call.method = Some(request.method.clone());
        call.target = Some(request.target.clone());
        call.protocol = request.protocol;
        call.is_grpc = request.is_grpc();
        call.trace = trace;
        call.request_id = request_id;
        call
    }

    /// Begins the ledger of a request whose head could not be read.
    pub(crate) fn unread(session: &Session, client: SocketAddr) -> Self {
        session.worker.shared.metrics.call_began();
        Self {
            session: session.clone(),
            begun: Instant::now(),
            ended: None,
            client,
            method: None,
            target: None,
            protocol: "-",
            is_grpc: false,
            trace: TraceContext { trace_id: 0, span_id: 0, sampled: false },
            request_id: String::new(),
            route: None,
            service: None,
            endpoint: None,
            tries: 0,
            status: None,
            grpc_status: None,
            fault: None,
            received: 0,
            sent: 0,
        }
    }

    /// Puts the call's place in its trace, and its id, into the request.
    pub(crate) fn mark(&self, fields: &mut Fields) {
        fields.set_known(Known::Traceparent, &self.trace.to_traceparent());
        if fields.get(Known::XRequestId) != Some(self.request_id.as_bytes()) {
            fields.set_known(Known::XRequestId, self.request_id.as_bytes());
        }
    }

    /// Notes that the call ends now, a little before the ledger is dropped, for someone who wants to
    /// know the time as well.
    pub(crate) fn end(&mut self) -> Instant {
        *self.ended.insert(Instant::now())
    }

    /// Notes the gRPC status, from a header or trailer section.
    pub(crate) fn note_grpc_status(&mut self, fields: &Fields) {
        if self.is_grpc && self.grpc_status.is_none() {
            self.grpc_status = fields
                .get(Known::GrpcStatus)
                .and_then(|value| std::str::from_utf8(value).ok()?.parse().ok());
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        let ended = self.ended.unwrap_or_else(Instant::now);
        let duration = ended.duration_since(self.begun);
        let worker = &self.session.worker;
        if self.status.is_none() && self.fault.is_none() {
            self.fault = Some(Fault::ClientGone);
        }
        let record = Record {
            client: self.client,
            method: self.method.as_ref(),
            host: self.target.as_ref().map_or("", Target::authority),
            path: self.target.as_ref().map_or("", Target::path),
            protocol: self.protocol,
            status: self.status,
            grpc_status: self.grpc_status,
            route: self.route.as_ref().map(|route| &*route.config.name),
            service: self.service.as_ref().map(|service| &**service.name()),
            endpoint: self.endpoint,
            tries: self.tries,
            received: self.received,
            sent: self.sent,
            duration,
            fault: self.fault.map(Fault::label),
            trace: self.trace,
            request_id: &self.request_id,
        };
        let metrics = &worker.shared.metrics;
        let meters = worker.book.meters(metrics, self.route.as_ref(), self.service.as_ref());
        metrics.call_ended(&record, &meters);
        worker.shared.recorder.record(&record);
    }
}

/// An id that a client may choose: short, visible, and safe in a log line.
fn accepted_id(value: &[u8]) -> Option<&str> {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.:/+=".contains(byte);
    let accepted =
        !value.is_empty() && value.len() <= LONGEST_REQUEST_ID && value.iter().all(plain);
    accepted.then(|| std::str::from_utf8(value).ok())?
}

fn hex(id: u128) -> String {
    let mut digits = vec![0; 32];
    write_hex(&mut digits, id);
    String::from_utf8(digits).unwrap_or_default()
}
