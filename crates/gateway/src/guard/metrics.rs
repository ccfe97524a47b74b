//! What guards report.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RuleLabels {
    route: String,
    rule: &'static str,
}

/// The counters of all guards.
#[derive(Default)]
pub(crate) struct Metrics {
    refusals: Family<RuleLabels, Counter>,
    dry_run: Family<RuleLabels, Counter>,
}

impl Metrics {
    /// A call was refused, or would have been.
    pub(crate) fn refused(&self, route: &str, rule: &'static str, is_dry_run: bool) {
        let family = if is_dry_run { &self.dry_run } else { &self.refusals };
        family.get_or_create(&RuleLabels { route: route.into(), rule }).inc();
    }

    /// Puts everything under its name into a registry.
    pub(crate) fn register(&self, gateway: &mut Registry) {
        gateway.register(
            "guard_refusals",
            "Calls that a guard refused, by route and rule",
            self.refusals.clone(),
        );
        gateway.register(
            "guard_dry_run_refusals",
            "Calls that a guard in a dry run would have refused, by route and rule",
            self.dry_run.clone(),
        );
    }
}
