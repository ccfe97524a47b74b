//! How the engine is: in the log when that changes, in the metrics, and for the admin API.

use std::sync::{Mutex, MutexGuard, PoisonError};

use posthouse_base::time::Timestamp;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::client::Fault;

/// How the engine is, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineView {
    /// Its address.
    pub address: String,
    /// Whether it answered when it was last asked; nothing when it was not asked yet.
    pub reachable: Option<bool>,
    /// Since when.
    pub since: Timestamp,
    /// What it, or the way to it, last failed with.
    pub error: Option<String>,
    /// From when what is known is, while all of it comes from the file that outlived us.
    pub remembered: Option<Timestamp>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByOutcome {
    outcome: &'static str,
}

/// See the file's head.
#[derive(Debug)]
pub(super) struct Standing {
    view: Mutex<EngineView>,
    up: Gauge,
    reads: Family<ByOutcome, Counter>,
}

impl Standing {
    pub(super) fn new(address: &str) -> Self {
        let view = EngineView {
            address: address.to_owned(),
            reachable: None,
            since: Timestamp::now(),
            error: None,
            remembered: None,
        };
        Self { view: Mutex::new(view), up: Gauge::default(), reads: Family::default() }
    }

    pub(super) fn register(&self, registry: &mut Registry) {
        let all = registry.sub_registry_with_prefix("posthouse_registry_engine");
        all.register("up", "Whether the engine answered when it was last asked", self.up.clone());
        all.register("reads", "Reads from the engine, by how they ended", self.reads.clone());
    }

    pub(super) fn view(&self) -> EngineView {
        self.now().clone()
    }

    /// What is known comes from the file, and is as old.
    pub(super) fn remembers(&self, at: Timestamp) {
        self.now().remembered = Some(at);
    }

    /// Counts a read.
    pub(super) fn read<T>(&self, answer: &Result<T, Fault>) {
        let outcome = match answer {
            Ok(_) => "answered",
            Err(Fault::Unreachable(_)) => "unreachable",
            Err(Fault::Late) => "late",
            Err(Fault::Refused(..)) => "refused",
            Err(Fault::Malformed(_)) => "malformed",
        };
        self.reads.get_or_create(&ByOutcome { outcome }).inc();
    }

    /// The engine has answered. Returns whether that is news.
    pub(super) fn answered(&self) -> bool {
        let mut view = self.now();
        view.remembered = None;
        view.error = None;
        let is_news = view.reachable != Some(true);
        if is_news {
            (view.reachable, view.since) = (Some(true), Timestamp::now());
            self.up.set(1);
            tracing::info!("names come from {}", view.address);
        }
        is_news
    }

    /// The engine has not answered.
    pub(super) fn failed(&self, fault: &Fault) {
        let mut view = self.now();
        view.error = Some(fault.to_string());
        if view.reachable != Some(false) {
            (view.reachable, view.since) = (Some(false), Timestamp::now());
            self.up.set(0);
            tracing::warn!(
                "the registry's engine at {} is gone, going on with what was last known: {fault}",
                view.address
            );
        }
    }

    fn now(&self) -> MutexGuard<'_, EngineView> {
        self.view.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
