//! What the journal reports: counters that its parts count up, and figures that are looked up
//! whenever the metrics are collected.

use std::fmt;
use std::sync::{Arc, Weak};
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

use crate::batch::Batch;
use crate::error::{Error, Outage};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByReason {
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct BySource {
    source: &'static str,
}

/// Where a read was answered from.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Source {
    /// The latest events in memory.
    Memory,
    /// The engine.
    Engine,
}

/// The journal's counters.
#[derive(Debug)]
pub(crate) struct Metrics {
    commits: Counter,
    commit_seconds: Histogram,
    batches_per_commit: Histogram,
    append_seconds: Histogram,
    events: Counter,
    event_bytes: Counter,
    repeated: Counter,
    refused: Family<ByReason, Counter>,
    outages: Family<ByReason, Counter>,
    reads: Family<BySource, Counter>,
    log_moved_seconds: Histogram,
    scavenged: Counter,
}

impl Default for Metrics {
    fn default() -> Self {
        // From 50 µs to 26 s.
        let seconds = || Histogram::new(exponential_buckets(50e-6, 2.0, 20));
        Self {
            commits: Counter::default(),
            commit_seconds: seconds(),
            batches_per_commit: Histogram::new(exponential_buckets(1.0, 2.0, 13)),
            append_seconds: seconds(),
            events: Counter::default(),
            event_bytes: Counter::default(),
            repeated: Counter::default(),
            refused: Family::default(),
            outages: Family::default(),
            reads: Family::default(),
            log_moved_seconds: seconds(),
            scavenged: Counter::default(),
        }
    }
}

impl Metrics {
    /// Enters the counters, and what `census` looks up, in `registry`.
    pub(crate) fn register<C: Census>(&self, census: &Arc<C>, registry: &mut Registry) {
        let all = registry.sub_registry_with_prefix("posthouse_journal");
        all.register("commits", "Commits, each of which is one fsync", self.commits.clone());
        all.register(
            "commit_seconds",
            "From the beginning of a commit until it was durable",
            self.commit_seconds.clone(),
        );
        all.register(
            "batches_per_commit",
            "Batches that shared a commit",
            self.batches_per_commit.clone(),
        );
        all.register(
            "append_seconds",
            "From the moment a batch was let in until it was durable",
            self.append_seconds.clone(),
        );
        all.register("events", "Events written", self.events.clone());
        all.register(
            "event_bytes",
            "Data and metadata of events written",
            self.event_bytes.clone(),
        );
        all.register("repeated", "Batches recognised as written before", self.repeated.clone());
        all.register("refused", "Batches refused, by reason", self.refused.clone());
        all.register("outages", "Times that writing stopped, by reason", self.outages.clone());
        all.register("reads", "Reads, by where they were answered from", self.reads.clone());
        all.register(
            "log_moved_seconds",
            "Moving the write-ahead log into the database",
            self.log_moved_seconds.clone(),
        );
        all.register(
            "scavenged",
            "Events deleted in the background after they were cut off",
            self.scavenged.clone(),
        );
        all.register_collector(Box::new(Figures(Arc::downgrade(census))));
    }

    pub(crate) fn committed(&self, batches: usize, took: Duration) {
        self.commits.inc();
        self.commit_seconds.observe(took.as_secs_f64());
        self.batches_per_commit.observe(f64::from(u32::try_from(batches).unwrap_or(u32::MAX)));
    }

    /// A batch is durable; it waited so long for that.
    pub(crate) fn appended(&self, batch: &Batch, repeated: bool, waited: Duration) {
        self.append_seconds.observe(waited.as_secs_f64());
        if repeated {
            self.repeated.inc();
            return;
        }
        let events = batch.appends.iter().flat_map(|append| &append.events);
        let (mut count, mut bytes) = (0_usize, 0_usize);
        for event in events {
            count += 1;
            bytes += event.data.len() + event.metadata.len();
        }
        self.events.inc_by(u64::try_from(count).unwrap_or(u64::MAX));
        self.event_bytes.inc_by(u64::try_from(bytes).unwrap_or(u64::MAX));
    }

    pub(crate) fn refused(&self, error: &Error) {
        let reason = match error {
            Error::WrongExpectedVersion { .. } => "expected-version",
            Error::Tombstone(_) => "tombstone",
            Error::WrongTable(_) => "table",
            Error::TooLarge { .. } => "too-large",
            Error::Unavailable(_) => "unavailable",
            _ => "invalid",
        };
        self.refused.get_or_create(&ByReason { reason }).inc();
    }

    pub(crate) fn out(&self, outage: &Outage) {
        let reason = match outage {
            Outage::Full => "full",
            Outage::ReadOnly => "read-only",
            Outage::Disk(_) => "disk",
            Outage::Engine(_) => "engine",
        };
        self.outages.get_or_create(&ByReason { reason }).inc();
    }

    pub(crate) fn read(&self, source: Source) {
        let source = match source {
            Source::Memory => "memory",
            Source::Engine => "engine",
        };
        self.reads.get_or_create(&BySource { source }).inc();
    }

    pub(crate) fn moved_log(&self, took: Duration) {
        self.log_moved_seconds.observe(took.as_secs_f64());
    }

    pub(crate) fn scavenged(&self, events: usize) {
        self.scavenged.inc_by(u64::try_from(events).unwrap_or(u64::MAX));
    }
}

/// What an engine can look up at any time.
pub(crate) trait Census: fmt::Debug + Send + Sync + 'static {
    /// Names, what they mean, and the values.
    fn figures(&self) -> Vec<(&'static str, &'static str, u64)>;
}

/// Looks the figures up. Weak, so that metrics keep no journal alive.
#[derive(Debug)]
struct Figures<C>(Weak<C>);

impl<C: Census> Collector for Figures<C> {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let Some(census) = self.0.upgrade() else { return Ok(()) };
        for (name, help, value) in census.figures() {
            let gauge = ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX));
            let unit: Option<&Unit> = None;
            let family = encoder.encode_descriptor(name, help, unit, gauge.metric_type())?;
            gauge.encode(family)?;
        }
        Ok(())
    }
}
