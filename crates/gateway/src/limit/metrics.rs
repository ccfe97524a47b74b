//! What limits and shedding report.

use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::shed::Priority;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LimitLabels {
    limit: String,
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ShedLabels {
    service: String,
    priority: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ServiceLabels {
    service: String,
}

/// The counters of limits.
#[derive(Default)]
pub(crate) struct Metrics {
    refused: Family<LimitLabels, Counter>,
    shed: Family<ShedLabels, Counter>,
    shed_limit: Family<ServiceLabels, Gauge>,
    slots: Gauge,
    quota_keys: Gauge,
    displaced: Counter,
    reported: AtomicU64,
    not_kept: Counter,
}

impl Metrics {
    /// A limit refused a call.
    pub(crate) fn refused(&self, limit: &str, reason: &'static str) {
        self.refused.get_or_create(&LimitLabels { limit: limit.into(), reason }).inc();
    }

    /// A call was shed.
    pub(crate) fn shed(&self, service: &str, priority: Priority) {
        let priority = priority.name();
        self.shed.get_or_create(&ShedLabels { service: service.into(), priority }).inc();
    }

    /// The store of quotas could not keep what it was told.
    pub(super) fn not_kept(&self) {
        self.not_kept.inc();
    }

    /// How full the tables are (slots, keys of quotas, keys displaced so far), and how many calls may
    /// wait for each service.
    pub(super) fn report<'a>(
        &self,
        (slots, quota_keys, displaced): (usize, usize, u64),
        limits: impl Iterator<Item = (&'a str, u32)>,
    ) {
        self.slots.set(i64::try_from(slots).unwrap_or(i64::MAX));
        self.quota_keys.set(i64::try_from(quota_keys).unwrap_or(i64::MAX));
        let before = self.reported.swap(displaced, std::sync::atomic::Ordering::Relaxed);
        self.displaced.inc_by(displaced.saturating_sub(before));
        for (service, limit) in limits {
            let labels = ServiceLabels { service: service.into() };
            self.shed_limit.get_or_create(&labels).set(i64::from(limit));
        }
    }

    /// Puts everything under its name into the gateway's part of a registry.
    pub(crate) fn register(&self, gateway: &mut Registry) {
        gateway.register(
            "limited_calls",
            "Calls that a limit refused, by limit and reason",
            self.refused.clone(),
        );
        gateway.register(
            "shed_calls",
            "Calls that were refused because a service was overloaded, by service and priority",
            self.shed.clone(),
        );
        gateway.register(
            "shedding_limit",
            "Calls that may wait for an answer of a service before some are shed",
            self.shed_limit.clone(),
        );
        gateway.register(
            "limit_slots",
            "Places for keys of rates, bytes and concurrency; each has 18 bytes",
            self.slots.clone(),
        );
        gateway.register(
            "limit_displaced_keys",
            "Keys that took the place, and what was used, of another because memory was full",
            self.displaced.clone(),
        );
        gateway.register("quota_keys", "Keys of quotas that are counted", self.quota_keys.clone());
        gateway.register(
            "quota_failures",
            "Times that what was used of quotas could not be kept",
            self.not_kept.clone(),
        );
    }
}
