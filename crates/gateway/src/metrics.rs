//! What the gateway reports, as typed events: each name is spelled here and nowhere else.

use std::cell::{OnceCell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::{Arc, Weak};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use crate::access::Record;
use crate::cluster::Service;
use crate::config::model::Api;
use crate::downstream::tunnel::Carried;
use crate::guard;
use crate::limit;
use crate::route::Route;

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
struct ApiLabels {
    api: String,
    version: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ApiStatusLabels {
    api: String,
    version: String,
    status: String,
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
    /// What guards refused.
    pub(crate) guards: guard::metrics::Metrics,
    apis: Family<ApiStatusLabels, Counter>,
    api_duration: Family<ApiLabels, Histogram, fn() -> Histogram>,
    under_way: Gauge,
    reloads: Counter,
    reload_failures: Counter,
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
            guards: guard::metrics::Metrics::default(),
            apis: Family::default(),
            api_duration: Family::new_with_constructor(|| Histogram::new(BUCKETS)),
            under_way: Gauge::default(),
            reloads: Counter::default(),
            reload_failures: Counter::default(),
        }
    }
}

impl Metrics {
    /// A call began.
    pub(crate) fn call_began(&self) {
        self.under_way.inc();
    }

    /// A call is over. `meters` are those of its route and service.
    pub(crate) fn call_ended(&self, call: &Record<'_>, meters: &Meters) {
        self.under_way.dec();
        meters.count(self, call);
        for (counter, bytes) in [(&self.received, call.received), (&self.sent, call.sent)] {
            if bytes > 0 {
                counter.inc_by(bytes);
            }
        }
        if let Some(reason) = call.fault {
            self.faults.get_or_create(&ReasonLabels { reason: reason.into() }).inc();
        }
        let service = || call.service.unwrap_or_default().to_owned();
        if let Some(grpc_status) = call.grpc_status {
            self.grpc.get_or_create(&GrpcLabels { service: service(), grpc_status }).inc();
        }
        if call.tries > 1 {
            self.retries
                .get_or_create(&ServiceLabels { service: service() })
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
    pub(crate) fn register(&self, registry: &mut Registry, limits: &limit::Metrics) {
        let gateway = registry.sub_registry_with_prefix("posthouse_gateway");
        limits.register(gateway);
        self.guards.register(gateway);
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
        gateway.register(
            "api_calls",
            "Calls by version of an API and class of status",
            self.apis.clone(),
        );
        gateway.register_with_unit(
            "api_call_duration",
            "From a request's head to the end of its response, by version of an API",
            Unit::Seconds,
            self.api_duration.clone(),
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

/// The counters that every call of one route and service touches, found by their labels once.
pub(crate) struct Meters {
    labels: RouteLabels,
    duration: Histogram,
    /// By class of status; made when the first such call ends, so that none is reported without.
    calls: [OnceCell<Counter>; CLASSES.len()],
    api: Option<ApiMeters>,
}

/// The counters of one version of an API.
struct ApiMeters {
    labels: ApiLabels,
    duration: Histogram,
    calls: [OnceCell<Counter>; CLASSES.len()],
}

impl Meters {
    fn new(metrics: &Metrics, labels: RouteLabels, api: Option<&Api>) -> Self {
        let duration = metrics.duration.get_or_create_owned(&labels);
        let api = api.map(|api| {
            let labels = ApiLabels { api: (*api.name).into(), version: (*api.version).into() };
            let duration = metrics.api_duration.get_or_create_owned(&labels);
            ApiMeters { labels, duration, calls: Default::default() }
        });
        Self { labels, duration, calls: Default::default(), api }
    }

    fn count(&self, metrics: &Metrics, call: &Record<'_>) {
        let class = call.status.map_or(0, |status| class(status.as_u16()));
        let RouteLabels { route, service } = &self.labels;
        let find = || {
            metrics.calls.get_or_create_owned(&CallLabels {
                route: route.clone(),
                service: service.clone(),
                status: CLASSES[class].into(),
            })
        };
        self.calls[class].get_or_init(find).inc();
        self.duration.observe(call.duration.as_secs_f64());
        if let Some(api) = &self.api {
            let find = || {
                let ApiLabels { api, version } = api.labels.clone();
                let labels = ApiStatusLabels { api, version, status: CLASSES[class].into() };
                metrics.apis.get_or_create_owned(&labels)
            };
            api.calls[class].get_or_init(find).inc();
            api.duration.observe(call.duration.as_secs_f64());
        }
    }
}

/// The meters of one thread's calls. They are found by where route and service lie in memory: that
/// spares each call the copies and hashes of its labels.
#[derive(Default)]
pub(crate) struct Book {
    pages: RefCell<HashMap<(usize, usize), Page, foldhash::fast::RandomState>>,
}

/// Meters, and what they belong to: while this is kept, nothing else can lie at the same place.
struct Page {
    meters: Rc<Meters>,
    route: Option<Weak<Route<Arc<Service>>>>,
    service: Option<Weak<Service>>,
}

impl Book {
    /// The meters of calls by this route to this service.
    pub(crate) fn meters(
        &self,
        metrics: &Metrics,
        route: Option<&Arc<Route<Arc<Service>>>>,
        service: Option<&Arc<Service>>,
    ) -> Rc<Meters> {
        let place = (
            route.map_or(0, |route| Arc::as_ptr(route).addr()),
            service.map_or(0, |service| Arc::as_ptr(service).addr()),
        );
        let mut pages = self.pages.borrow_mut();
        if let Some(page) = pages.get(&place) {
            return Rc::clone(&page.meters);
        }
        if pages.len() == pages.capacity() {
            // Before it grows: what a reload has taken away is not called again.
            pages.retain(|_, page| page.is_live());
        }
        let labels = RouteLabels {
            route: route.map_or("", |route| &*route.config.name).to_owned(),
            service: service.map_or("", |service| &**service.name()).to_owned(),
        };
        let api = route.and_then(|route| route.config.api.as_ref());
        let meters = Rc::new(Meters::new(metrics, labels, api));
        let page = Page {
            meters: Rc::clone(&meters),
            route: route.map(Arc::downgrade),
            service: service.map(Arc::downgrade),
        };
        pages.insert(place, page);
        meters
    }
}

impl Page {
    fn is_live(&self) -> bool {
        self.route.as_ref().is_none_or(|route| route.strong_count() > 0)
            && self.service.as_ref().is_none_or(|service| service.strong_count() > 0)
    }
}

/// Classes of statuses, as labels with few values.
const CLASSES: [&str; 6] = ["none", "1xx", "2xx", "3xx", "4xx", "5xx"];

/// The place of a status in [`CLASSES`].
const fn class(status: u16) -> usize {
    match status / 100 {
        1 => 1,
        2 => 2,
        3 => 3,
        4 => 4,
        _ => 5,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_without_a_route_is_counted_under_empty_labels() {
        let (metrics, book) = (Metrics::default(), Book::default());
        let meters = book.meters(&metrics, None, None);
        let again = book.meters(&metrics, None, None);
        assert!(Rc::ptr_eq(&meters, &again), "found once");
        assert_eq!(meters.labels, RouteLabels { route: String::new(), service: String::new() });
    }
}
