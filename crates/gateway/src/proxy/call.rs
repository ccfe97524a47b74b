//! The ledger of one call: what is known of it so far. When it is dropped, the call is over and is
//! recorded, once, whichever way it ended.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use http::{Method, StatusCode};
use posthouse_base::trace::{TRACE_ID, TraceContext};

use crate::access::Record;
use crate::cluster::{Coarse, Service};
use crate::downstream::Session;
use crate::fault::Fault;
use crate::guard::Identity;
use crate::http::head::{Fields, Known};
use crate::http1::Target;
use crate::limit::Share;
use crate::proxy::guard::Said;
use crate::proxy::request::Request;
use crate::route::Route;

/// The longest request id that is taken over from a client.
const LONGEST_REQUEST_ID: usize = 128;

/// The ledger of one call.
pub(crate) struct Call {
    pub(crate) session: Session,
    pub(crate) begun: Instant,
    /// [`Call::begun`] as the rules about instances see time.
    pub(crate) since: Coarse,
    ended: Option<Instant>,
    pub(crate) client: SocketAddr,
    pub(crate) method: Option<Method>,
    pub(crate) target: Option<Target>,
    pub(crate) protocol: &'static str,
    pub(crate) is_grpc: bool,
    pub(crate) trace: TraceContext,
    /// The request's id, if the client chose it: else it is that of the trace.
    request_id: Option<Box<str>>,
    pub(crate) route: Option<Arc<Route<Arc<Service>>>>,
    pub(crate) service: Option<Arc<Service>>,
    /// Who calls, once the guard knows.
    pub(crate) identity: Option<Arc<Identity>>,
    /// A token that tells the service who calls.
    pub(crate) minted: Option<Arc<[u8]>>,
    /// What a refusal says beside its kind.
    said: Option<Box<Said>>,
    /// What the call has of its limits, until it is over.
    pub(crate) share: Option<Box<Share>>,
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
        let request_id = request.fields.get(Known::XRequestId).and_then(accepted_id).map(Box::from);
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
        let begun = Instant::now();
        Self {
            session: session.clone(),
            begun,
            since: Coarse::of(begun),
            ended: None,
            client,
            method: None,
            target: None,
            protocol: "-",
            is_grpc: false,
            trace: TraceContext { trace_id: 0, span_id: 0, sampled: false },
            request_id: None,
            route: None,
            service: None,
            identity: None,
            minted: None,
            said: None,
            share: None,
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
        let traceparent = self.trace.to_traceparent();
        fields.set_known(Known::Traceparent, &traceparent);
        if self.request_id.is_none() {
            fields.set_known(Known::XRequestId, &traceparent[TRACE_ID]);
        }
    }

    /// Puts the call's id into a header section, if it has one.
    pub(crate) fn tell_id(&self, fields: &mut Fields) {
        match &self.request_id {
            Some(id) => fields.set_known(Known::XRequestId, id.as_bytes()),
            None if self.trace.trace_id == 0 => {}
            None => fields.set_known(Known::XRequestId, &self.trace.to_traceparent()[TRACE_ID]),
        }
    }

    /// What a refusal is to say beside its kind.
    pub(super) fn said(&mut self) -> &mut Said {
        self.said.get_or_insert_default()
    }

    /// Takes what a refusal is to say.
    pub(super) fn take_said(&mut self) -> Option<Box<Said>> {
        self.said.take()
    }

    /// Nothing is refused after all.
    pub(super) fn forget_said(&mut self) {
        self.said = None;
    }

    /// Notes that the call ends now, a little before the ledger is dropped, for someone who wants to
    /// know the time as well.
    pub(crate) fn end(&mut self) -> Instant {
        *self.ended.insert(Instant::now())
    }

    /// Charges the bytes carried so far, `more` beside those in the ledger, to the limits that
    /// count bytes, once it is worth it.
    pub(crate) fn charge_as_it_passes(&mut self, more: u64) {
        let Some(share) = &mut self.share else { return };
        let carried = self.received + self.sent + more;
        if share.is_due(carried) {
            share.charge(carried, self.session.worker.shared.book.nanos(Instant::now()));
        }
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
        if let Some(share) = self.share.as_mut().filter(|share| share.is_metered()) {
            share.charge(self.received + self.sent, worker.shared.book.nanos(ended));
        }
        if self.status.is_none() && self.fault.is_none() {
            self.fault = Some(Fault::ClientGone);
        }
        let record = Record {
            client: self.client,
            method: self.method.as_ref(),
            host: self.target.as_ref().map_or(b"", Target::authority_bytes),
            path: self.target.as_ref().map_or(b"", Target::path_bytes),
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
            request_id: self.request_id.as_deref(),
        };
        let metrics = &worker.shared.metrics;
        let meters = worker.book.meters(metrics, self.route.as_ref(), self.service.as_ref());
        metrics.call_ended(&record, &meters);
        worker.shared.seams.recorder.record(&record);
    }
}

/// An id that a client may choose: short, visible, and safe in a log line.
fn accepted_id(value: &[u8]) -> Option<&str> {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.:/+=".contains(byte);
    let accepted =
        !value.is_empty() && value.len() <= LONGEST_REQUEST_ID && value.iter().all(plain);
    accepted.then(|| std::str::from_utf8(value).ok())?
}
