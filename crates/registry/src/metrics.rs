//! What the registry reports: counters that its parts count up, and figures that are read from the
//! state whenever the metrics are collected.

use std::fmt;
use std::sync::{Arc, Weak};

use posthouse_journal::driver::Stats;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::registry::{Registry, Unit};

use crate::dns;
use crate::service::Shared;
use crate::state::session::{self, Ending};
use crate::state::{Cause, Event, Refusal, Status};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByStatus {
    status: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByCause {
    cause: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByLimit {
    limit: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByOutcome {
    outcome: &'static str,
}

/// How a blocking read ended.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Waited {
    /// It was out of date when it came.
    Behind,
    /// A change woke it.
    Woken,
    /// Its time ran out.
    Elapsed,
}

/// The registry's counters.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    registrations: Counter,
    deregistrations: Family<ByCause, Counter>,
    status_changes: Family<ByStatus, Counter>,
    probes: Family<ByStatus, Counter>,
    kv_writes: Counter,
    sessions_ended: Family<ByCause, Counter>,
    user_events: Counter,
    blocking_reads: Family<ByOutcome, Counter>,
    wakes: Counter,
    refused: Family<ByLimit, Counter>,
    connections: Gauge,
    pub(crate) dns: dns::Metrics,
}

impl Metrics {
    /// Enters everything that `shared` reports in `registry`.
    pub(crate) fn register(shared: &Arc<Shared>, registry: &mut Registry) {
        let all = registry.sub_registry_with_prefix("posthouse_registry");
        let m = &shared.metrics;
        all.register(
            "registrations",
            "Registrations that changed something",
            m.registrations.clone(),
        );
        all.register("deregistrations", "Instances deregistered", m.deregistrations.clone());
        all.register("status_changes", "Checks that changed to a status", m.status_changes.clone());
        all.register("probes", "Probes run, by their result", m.probes.clone());
        all.register("kv_writes", "Changes to keys", m.kv_writes.clone());
        all.register("sessions_ended", "Sessions that ended", m.sessions_ended.clone());
        all.register("user_events", "User events fired for this node", m.user_events.clone());
        all.register(
            "blocking_reads",
            "Blocking reads, by how they ended",
            m.blocking_reads.clone(),
        );
        all.register("wakes", "Watchers woken by changes", m.wakes.clone());
        all.register("refused", "Requests refused at a limit", m.refused.clone());
        all.register("connections", "Open connections to the Consul API", m.connections.clone());
        all.register_collector(Box::new(Census(Arc::downgrade(shared))));
        m.dns.register(all);
    }

    pub(crate) fn happened(&self, event: &Event) {
        match event {
            Event::InstanceSet { .. } => drop(self.registrations.inc()),
            Event::InstanceRemoved { cause, .. } => {
                let cause = match cause {
                    Cause::Asked => "asked",
                    Cause::Critical => "critical",
                };
                self.deregistrations.get_or_create(&ByCause { cause }).inc();
            }
            Event::StatusChanged { status, .. } => self.changed_to(*status),
            Event::Expired { .. } => self.changed_to(Status::Critical),
            Event::Kv(_) => drop(self.kv_writes.inc()),
            Event::Session(session::Event::Ended { cause, .. }) => {
                let cause = match cause {
                    Ending::Destroyed => "destroyed",
                    Ending::Expired => "expired",
                    Ending::Unhealthy => "unhealthy",
                };
                self.sessions_ended.get_or_create(&ByCause { cause }).inc();
            }
            Event::UserEvent(_) => drop(self.user_events.inc()),
            _ => {}
        }
    }

    fn changed_to(&self, status: Status) {
        self.status_changes.get_or_create(&ByStatus { status: status.as_str() }).inc();
    }

    pub(crate) fn probed(&self, status: Status) {
        self.probes.get_or_create(&ByStatus { status: status.as_str() }).inc();
    }

    pub(crate) fn waited(&self, waited: Waited) {
        let outcome = match waited {
            Waited::Behind => "behind",
            Waited::Woken => "woken",
            Waited::Elapsed => "elapsed",
        };
        self.blocking_reads.get_or_create(&ByOutcome { outcome }).inc();
    }

    pub(crate) fn woke(&self, watchers: usize) {
        self.wakes.inc_by(u64::try_from(watchers).unwrap_or(u64::MAX));
    }

    pub(crate) fn refused(&self, refusal: &Refusal) {
        if let Refusal::Limit { what, .. } = refusal {
            self.limited(what);
        }
    }

    /// A request was refused at the limit of this configuration key.
    pub(crate) fn limited(&self, limit: &'static str) {
        self.refused.get_or_create(&ByLimit { limit }).inc();
    }

    /// How many connections are open.
    pub(crate) fn connections(&self) -> usize {
        usize::try_from(self.connections.get()).unwrap_or(0)
    }

    pub(crate) fn connected(self: &Arc<Self>) -> Connected {
        self.connections.inc();
        Connected(Arc::clone(self))
    }
}

/// Counts a connection while it is open.
#[derive(Debug)]
pub(crate) struct Connected(Arc<Metrics>);

impl Drop for Connected {
    fn drop(&mut self) {
        self.0.connections.dec();
    }
}

/// Reads the figures that the state holds anyway. Weak, so that metrics keep no registry alive.
#[derive(Debug)]
struct Census(Weak<Shared>);

impl Collector for Census {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let Some(shared) = self.0.upgrade() else { return Ok(()) };
        let ((services, nodes), (checks, by_status)) = shared.peek(|state| {
            let named = (state.services().count(), state.nodes().count());
            (named, (state.check_count(), state.instances_by_status()))
        });
        let (keys, key_bytes, sessions) = shared.peek(|state| {
            let size = usize::try_from(state.kv().size()).unwrap_or(usize::MAX);
            (state.kv().count(), size, state.sessions().count())
        });
        for (name, help, value) in [
            ("services", "Services that have an instance", services),
            ("nodes", "Nodes", nodes),
            ("checks", "Checks", checks),
            ("kv_keys", "Keys", keys),
            ("kv_bytes", "Size of all keys and values", key_bytes),
            ("sessions", "Sessions", sessions),
            ("watchers", "Blocking reads that wait", shared.watchers.count()),
        ] {
            let gauge = ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX));
            let unit: Option<&Unit> = None;
            let family = encoder.encode_descriptor(name, help, unit, gauge.metric_type())?;
            gauge.encode(family)?;
        }
        encode_writing(&shared.stats(), &mut encoder)?;
        let gauge = ConstGauge::new(0_i64);
        let help = "Instances, by the worst status of their checks";
        let mut family = encoder.encode_descriptor("instances", help, None, gauge.metric_type())?;
        for (status, count) in
            [Status::Passing, Status::Warning, Status::Critical].into_iter().zip(by_status)
        {
            let gauge = ConstGauge::new(i64::try_from(count).unwrap_or(i64::MAX));
            gauge.encode(family.encode_family(&ByStatus { status: status.as_str() })?)?;
        }
        Ok(())
    }
}

/// What the driver counts.
fn encode_writing(stats: &Stats, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
    for (name, help, value) in [
        ("commands_queued", "Commands that wait to be decided", stats.queued),
        ("batches_in_flight", "Batches of changes that are not durable yet", stats.in_flight),
        ("checkpoint_bytes", "Size of the last checkpoint", stats.checkpoint_bytes),
    ] {
        let gauge = ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX));
        let family = encoder.encode_descriptor(name, help, None, gauge.metric_type())?;
        gauge.encode(family)?;
    }
    for (name, help, value) in [
        ("changes_written", "Commands whose changes were made durable", stats.events),
        ("batches_failed", "Batches of changes that the journal did not confirm", stats.failed),
        ("rebuilt", "Times that the state was brought back after a failure", stats.rebuilt),
        ("unconfirmed", "Commands refused while the journal could not write", stats.refused),
        ("checkpoints", "Checkpoints written", stats.checkpoints),
        ("checkpoints_failed", "Checkpoints not written", stats.checkpoints_failed),
    ] {
        let counter = ConstCounter::new(value);
        let family = encoder.encode_descriptor(name, help, None, counter.metric_type())?;
        counter.encode(family)?;
    }
    Ok(())
}
