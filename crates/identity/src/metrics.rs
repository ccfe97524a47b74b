//! What identity reports. Labels are names of the configuration and fixed words, never anything that
//! a client sent.

use std::sync::Arc;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByProvider {
    provider: Arc<str>,
    reason: &'static str,
}

/// Identity's counters.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    refused: Family<ByProvider, Counter>,
}

impl Metrics {
    pub(crate) fn register(&self, registry: &mut Registry) {
        let all = registry.sub_registry_with_prefix("posthouse_identity");
        all.register("refused", "Credentials refused, by the reason", self.refused.clone());
    }

    /// A credential was refused. The reason is for operators: a client is not told.
    pub(crate) fn refused(&self, provider: &Arc<str>, reason: &'static str) {
        let provider = Arc::clone(provider);
        self.refused.get_or_create(&ByProvider { provider, reason }).inc();
    }
}
