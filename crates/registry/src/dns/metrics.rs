//! What the DNS interface reports.

use std::time::Duration;

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

use super::message::{Answered, Transport};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByQuery {
    r#type: &'static str,
    code: &'static str,
    transport: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByTransport {
    transport: &'static str,
}

/// The interface's counters.
#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    queries: Family<ByQuery, Counter>,
    truncated: Counter,
    durations: Family<ByTransport, Histogram>,
    connections: Gauge,
}

impl Default for Metrics {
    fn default() -> Self {
        // From 4 µs to 16 ms: nothing here waits for anything.
        let histogram = || Histogram::new(exponential_buckets(4e-6, 2.0, 13));
        Self {
            queries: Family::default(),
            truncated: Counter::default(),
            durations: Family::new_with_constructor(histogram),
            connections: Gauge::default(),
        }
    }
}

impl Metrics {
    pub(crate) fn register(&self, registry: &mut Registry) {
        let all = registry.sub_registry_with_prefix("dns");
        all.register("queries", "DNS queries, by type and answer", self.queries.clone());
        all.register("truncated", "Answers that left something out", self.truncated.clone());
        let help = "Time from a query to its answer";
        all.register_with_unit("query_duration", help, Unit::Seconds, self.durations.clone());
        all.register("connections", "Open TCP connections", self.connections.clone());
    }

    pub(super) fn answered(&self, answered: &Answered, transport: Transport, took: Duration) {
        let transport = match transport {
            Transport::Udp => "udp",
            Transport::Tcp => "tcp",
        };
        let query = ByQuery { r#type: kind(answered.kind), code: code(answered.code), transport };
        self.queries.get_or_create(&query).inc();
        if answered.truncated {
            self.truncated.inc();
        }
        self.durations.get_or_create(&ByTransport { transport }).observe(took.as_secs_f64());
    }

    /// Counts a connection while what it returns is kept; nothing at the limit.
    pub(super) fn connect(&self, limit: usize) -> Option<Connected> {
        let before = usize::try_from(self.connections.inc()).unwrap_or(0);
        let connected = Connected(self.connections.clone());
        (before < limit).then_some(connected)
    }
}

/// Counts a connection while it is open.
#[derive(Debug)]
pub(super) struct Connected(Gauge);

impl Drop for Connected {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// The types that are answered, by their names; all else would let askers make up labels.
fn kind(kind: Option<RecordType>) -> &'static str {
    match kind {
        None => "none",
        Some(RecordType::A) => "A",
        Some(RecordType::AAAA) => "AAAA",
        Some(RecordType::ANY) => "ANY",
        Some(RecordType::CNAME) => "CNAME",
        Some(RecordType::NS) => "NS",
        Some(RecordType::SOA) => "SOA",
        Some(RecordType::SRV) => "SRV",
        Some(RecordType::TXT) => "TXT",
        Some(_) => "other",
    }
}

fn code(code: ResponseCode) -> &'static str {
    match code {
        ResponseCode::NoError => "NOERROR",
        ResponseCode::FormErr => "FORMERR",
        ResponseCode::NXDomain => "NXDOMAIN",
        ResponseCode::NotImp => "NOTIMP",
        ResponseCode::Refused => "REFUSED",
        ResponseCode::BADVERS => "BADVERS",
        _ => "SERVFAIL",
    }
}
