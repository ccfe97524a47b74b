//! What identity reports. Labels are names of the configuration and fixed words, never anything that
//! a client sent.

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric as _};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use crate::service::Handle;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByProvider {
    provider: Arc<str>,
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByOutcome {
    provider: Arc<str>,
    outcome: &'static str,
}

/// Identity's counters.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    refused: Family<ByProvider, Counter>,
    key_fetches: Family<ByOutcome, Counter>,
    questions: Family<ByOutcome, Counter>,
}

impl Metrics {
    pub(crate) fn register(&self, handle: &Handle, registry: &mut Registry) {
        let all = registry.sub_registry_with_prefix("posthouse_identity");
        all.register("refused", "Credentials refused, by the reason", self.refused.clone());
        let fetches = self.key_fetches.clone();
        all.register("key_fetches", "Times that an issuer's keys were read", fetches);
        let questions = self.questions.clone();
        all.register("questions", "Questions to those who decide, by outcome", questions);
        all.register_collector(Box::new(Census(Box::new(handle.remembered()))));
    }

    /// A credential was refused. The reason is for operators: a client is not told.
    pub(crate) fn refused(&self, provider: &Arc<str>, reason: &'static str) {
        let provider = Arc::clone(provider);
        self.refused.get_or_create(&ByProvider { provider, reason }).inc();
    }

    /// An issuer's keys were read, or could not be.
    pub(crate) fn fetched(&self, provider: &Arc<str>, well: bool) {
        let outcome = if well { "ok" } else { "failed" };
        let provider = Arc::clone(provider);
        self.key_fetches.get_or_create(&ByOutcome { provider, outcome }).inc();
    }

    /// Somebody was asked about a call.
    pub(crate) fn asked(&self, provider: &Arc<str>, well: bool) {
        self.question(provider, if well { "answered" } else { "failed" });
    }

    /// A call passed because nobody could be asked about it, as the configuration wants.
    pub(crate) fn allowed_unasked(&self, provider: &Arc<str>) {
        self.question(provider, "allowed_unasked");
    }

    fn question(&self, provider: &Arc<str>, outcome: &'static str) {
        let provider = Arc::clone(provider);
        self.questions.get_or_create(&ByOutcome { provider, outcome }).inc();
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfProvider {
    provider: Arc<str>,
}

/// Reads what providers hold when the metrics are collected.
struct Census(Box<dyn Fn() -> Vec<(Arc<str>, usize)> + Send + Sync>);

impl fmt::Debug for Census {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Census")
    }
}

impl Collector for Census {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let gauge = ConstGauge::new(0_i64);
        let help = "Bytes of what was verified and is remembered";
        let kind = gauge.metric_type();
        let mut family = encoder.encode_descriptor("remembered_bytes", help, None, kind)?;
        for (provider, bytes) in (self.0)() {
            let gauge = ConstGauge::new(i64::try_from(bytes).unwrap_or(i64::MAX));
            gauge.encode(family.encode_family(&OfProvider { provider })?)?;
        }
        Ok(())
    }
}
