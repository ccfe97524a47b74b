//! What the catalog reports: how many of what there are, and what became of commands.

use std::fmt;
use std::sync::{Arc, Weak};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use crate::service::Shared;
use crate::state::{Event, Key, Refusal, What};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByKind {
    kind: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByState {
    state: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByReason {
    reason: &'static str,
}

/// The catalog's counters.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    changes: Family<ByKind, Counter>,
    refusals: Family<ByReason, Counter>,
}

impl Metrics {
    pub(crate) fn changed(&self, event: &Event) {
        let kind = match event.what {
            What::Put { .. } => "put",
            What::Moved(_) => "moved",
            What::RolledBack(_) => "rolled_back",
            What::Removed => "removed",
        };
        self.changes.get_or_create(&ByKind { kind }).inc();
    }

    pub(crate) fn refused(&self, refusal: &Refusal) {
        let reason = match refusal {
            Refusal::Declared(_) => "declared",
            Refusal::Unknown(_) | Refusal::UnknownRevision(..) | Refusal::WasRemoved(..) => {
                "unknown"
            }
            Refusal::Changed { .. } | Refusal::Behind => "changed",
            Refusal::Step { .. } | Refusal::InUse(_) | Refusal::HasVersions(_) => "state",
            Refusal::Unsound { .. } => "unsound",
            Refusal::Full { .. } => "full",
        };
        self.refusals.get_or_create(&ByReason { reason }).inc();
    }
}

/// Enters all metrics. They go with the catalog.
pub(crate) fn register(shared: &Arc<Shared>, registry: &mut Registry) {
    let all = registry.sub_registry_with_prefix("posthouse_catalog");
    let Metrics { changes, refusals } = &shared.metrics;
    all.register("changes", "Changes of APIs, versions and plans", changes.clone());
    all.register("refusals", "Commands that were refused", refusals.clone());
    all.register_collector(Box::new(Figures(Arc::downgrade(shared))));
}

/// Figures that are read when they are asked for.
#[derive(Debug)]
struct Figures(Weak<Shared>);

impl Collector for Figures {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let Some(shared) = self.0.upgrade() else { return Ok(()) };
        let standing = shared.standing();
        let specs = standing.specs();
        let count = |is: &dyn Fn(&Key) -> bool| specs.keys().filter(|key| is(key)).count();
        for (name, help, count) in [
            ("apis", "APIs", count(&|key| matches!(key, Key::Api(_)))),
            ("plans", "Plans", count(&|key| matches!(key, Key::Plan(_)))),
            ("routes", "Routes made of versions", standing.made().routes.len()),
            (
                "contract_bytes",
                "Bytes of descriptions, those of older revisions included",
                standing.state().contract_bytes(),
            ),
        ] {
            let gauge = ConstGauge::new(number(count));
            gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)?;
        }
        let states = ["draft", "published", "deprecated", "retired"];
        let family = "versions";
        let gauge = ConstGauge::new(0_i64);
        let mut versions =
            encoder.encode_descriptor(family, "Versions by state", None, gauge.metric_type())?;
        for state in states {
            let of_state = specs.values().filter_map(|spec| spec.as_version());
            let count = of_state.filter(|version| version.lifecycle.word() == state).count();
            ConstGauge::new(number(count)).encode(versions.encode_family(&ByState { state })?)?;
        }
        Ok(())
    }
}

fn number(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
