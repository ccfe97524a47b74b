//! How the engine is: in the log when that changes, in the metrics, and for the admin API.

use std::sync::{Mutex, MutexGuard, PoisonError};

use posthouse_base::time::Timestamp;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// How the engine is, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineView {
    /// `HOST:PORT`.
    pub address: String,
    /// Whether it let us in when it was last asked; nothing when it was not asked yet.
    pub reachable: Option<bool>,
    /// Since when.
    pub since: Timestamp,
    /// What it, or the way to it, last failed with.
    pub error: Option<String>,
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
    passed: Family<ByOutcome, Counter>,
}

impl Standing {
    pub(super) fn new(address: String) -> Self {
        let view = EngineView { address, reachable: None, since: Timestamp::now(), error: None };
        Self { view: Mutex::new(view), up: Gauge::default(), passed: Family::default() }
    }

    pub(super) fn register(&self, registry: &mut Registry) {
        let all = registry.sub_registry_with_prefix("posthouse_messages_engine");
        all.register("up", "Whether the engine let us in when it was last asked", self.up.clone());
        all.register(
            "connections",
            "Connections of clients, by whether the engine was reached for them",
            self.passed.clone(),
        );
    }

    pub(super) fn view(&self) -> EngineView {
        self.now().clone()
    }

    /// Counts a client's connection.
    pub(super) fn passed(&self, reached: bool) {
        let outcome = if reached { "passed" } else { "unreachable" };
        self.passed.get_or_create(&ByOutcome { outcome }).inc();
    }

    /// The engine has let us in.
    pub(super) fn answered(&self) {
        let mut view = self.now();
        view.error = None;
        if view.reachable != Some(true) {
            (view.reachable, view.since) = (Some(true), Timestamp::now());
            self.up.set(1);
            tracing::info!("messages pass through to the engine at {}", view.address);
        }
    }

    /// The engine has not let us in, or was not reached.
    pub(super) fn failed(&self, why: &str) {
        let mut view = self.now();
        view.error = Some(why.to_owned());
        if view.reachable != Some(false) {
            (view.reachable, view.since) = (Some(false), Timestamp::now());
            self.up.set(0);
            tracing::warn!(
                "the engine of messages cannot be used, and is tried again: the engine {why}"
            );
        }
    }

    fn now(&self) -> MutexGuard<'_, EngineView> {
        self.view.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
