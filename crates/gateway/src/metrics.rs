//! What the gateway reports, as typed events: each name is spelled here and nowhere else.

use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use crate::access::Record;
use crate::downstream::tunnel::Carried;

/// Upper bounds of the latency buckets in seconds.
const BUCKETS: [f64; 13] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0];

/// The labels of a call.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CallLabels {
    route: String,
    service: String,
    status: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RouteLabels {
    route: String,
    service: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabels {
    reason: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct GrpcLabels {
    service: String,
    grpc_status: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ServiceLabels {
    service: String,
}

/// The gateway's counters.
pub(crate) struct Metrics {
    calls: Family<CallLabels, Counter>,
    grpc: Family<GrpcLabels, Counter>,
    duration: Family<RouteLabels, Histogram, fn() -> Histogram>,
    faults: Family<ReasonLabels, Counter>,
    retries: Family<ServiceLabels, Counter>,
    received: Counter,
    sent: Counter,
    tls_failures: Counter,
    tcp_connections: Family<ServiceLabels, Counter>,
    under_way: Gauge,
    reloads: Counter,
    reload_failures: Counter,
    begun: AtomicU64,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            calls: Family::default(),
            grpc: Family::default(),
            duration: Family::new_with_constructor(|| Histogram::new(BUCKETS)),
            faults: Family::default(),
            retries: Family::default(),
            received: Counter::default(),
            sent: Counter::default(),
            tls_failures: Counter::default(),
            tcp_connections: Family::default(),
            under_way: Gauge::default(),
            reloads: Counter::default(),
            reload_failures: Counter::default(),
            begun: AtomicU64::new(0),
        }
    }
}

impl Metrics {
    /// A call began.
    pub(crate) fn call_began(&self) {
        self.begun.fetch_add(1, Ordering::Relaxed);
        self.under_way.inc();
    }

    /// A call is over.
    pub(crate) fn call_ended(&self, call: &Record<'_>) {
        self.under_way.dec();
        let route = call.route.unwrap_or_default();
        let service = call.service.unwrap_or_default();
        let status = call.status.map_or("none", |status| class(status.as_u16()));
        self.calls
            .get_or_create(&CallLabels {
                route: route.into(),
                service: service.into(),
                status: status.into(),
            })
            .inc();
        self.duration
            .get_or_create(&RouteLabels { route: route.into(), service: service.into() })
            .observe(call.duration.as_secs_f64());
        self.received.inc_by(call.received);
        self.sent.inc_by(call.sent);
        if let Some(reason) = call.fault {
            self.faults.get_or_create(&ReasonLabels { reason: reason.into() }).inc();
        }
        if let Some(grpc_status) = call.grpc_status {
            self.grpc.get_or_create(&GrpcLabels { service: service.into(), grpc_status }).inc();
        }
        if call.tries > 1 {
            self.retries
                .get_or_create(&ServiceLabels { service: service.into() })
                .inc_by(u64::from(call.tries - 1));
        }
    }

    /// A forwarded TCP connection is over.
    pub(crate) fn tcp_ended(&self, service: &str, carried: Carried) {
        self.tcp_connections.get_or_create(&ServiceLabels { service: service.into() }).inc();
        self.received.inc_by(carried.received);
        self.sent.inc_by(carried.sent);
    }

    /// A client did not get through a TLS handshake.
    pub(crate) fn tls_failed(&self) {
        self.tls_failures.inc();
    }

    /// A configuration was taken, or refused.
    pub(crate) fn reloaded(&self, taken: bool) {
        if taken {
            self.reloads.inc()
        } else {
            self.reload_failures.inc()
        };
    }

    /// Puts everything under its name into a registry.
    pub(crate) fn register(&self, registry: &mut Registry) {
        let gateway = registry.sub_registry_with_prefix("posthouse_gateway");
        let mut counters = |name: &str, help: &str, counter: &Counter| {
            gateway.register(name, help, counter.clone());
        };
        counters(
            "received_bytes",
            "Bytes of request bodies and tunnels from clients",
            &self.received,
        );
        counters("sent_bytes", "Bytes of response bodies and tunnels to clients", &self.sent);
        counters(
            "tls_failures",
            "TLS handshakes that clients did not get through",
            &self.tls_failures,
        );
        counters("reloads", "Configurations that were taken", &self.reloads);
        counters(
            "reload_failures",
            "Configurations that could not be put in force",
            &self.reload_failures,
        );
        gateway.register(
            "calls",
            "Calls by route, service and class of status",
            self.calls.clone(),
        );
        gateway.register("grpc_calls", "gRPC calls by service and status", self.grpc.clone());
        gateway.register_with_unit(
            "call_duration",
            "From a request's head to the end of its response",
            Unit::Seconds,
            self.duration.clone(),
        );
        gateway.register(
            "faults",
            "Calls that the gateway refused, answered or cut, by reason",
            self.faults.clone(),
        );
        gateway.register("retries", "Tries after the first, by service", self.retries.clone());
        gateway.register(
            "tcp_connections",
            "Forwarded TCP connections, by service",
            self.tcp_connections.clone(),
        );
        gateway.register("calls_under_way", "Calls under way", self.under_way.clone());
    }
}

/// The class of a status, as a label with few values.
const fn class(status: u16) -> &'static str {
    match status / 100 {
        1 => "1xx",
        2 => "2xx",
        3 => "3xx",
        4 => "4xx",
        _ => "5xx",
    }
}
