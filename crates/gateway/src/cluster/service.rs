//! A service: its endpoints, its limits and what its calls teach. One object for the life of the
//! process; reloads and the registry change what is in it.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicU32, AtomicUsize};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use arc_swap::{ArcSwap, Guard};

use super::breaker::{Breaker, BreakerState, MIN_CALLS, Passage};
use super::budget::Budget;
use super::endpoint::Endpoint;
use super::guards::{Admission, Failure, InFlight, enter};
use super::instance::{CheckedHealth, InstanceSpec};
use super::set::{EndpointSet, PickContext};
use super::standing::{Rules, SharedRules, flag};
use super::time::{Coarse, millis};
use super::window::Window;
use crate::config::model::{self, ServiceName};

/// Why a service takes no more calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// `circuit.requests` are under way.
    #[error("too many calls to the service are under way")]
    TooManyRequests,
    /// Too many calls failed lately.
    #[error("the circuit is open: too many calls to the service failed")]
    Open,
    /// `circuit.pending` wait for a connection.
    #[error("too many calls to the service wait for a connection")]
    Pending,
}

/// A service and its endpoints.
#[derive(Debug)]
pub struct Service {
    name: ServiceName,
    settings: ArcSwap<model::Service>,
    set: ArcSwap<EndpointSet>,
    turn: AtomicUsize,
    active: AtomicU32,
    /// `circuit.requests` and the rules, where every call can read them cheaply.
    requests: AtomicU32,
    rules: SharedRules,
    pending: Arc<AtomicU32>,
    window: Window,
    breaker: Breaker,
    /// Removed endpoints that may still have calls under way. Also keeps changes one at a time.
    leaving: Mutex<Vec<Weak<Endpoint>>>,
}

impl Service {
    /// A service without endpoints.
    #[must_use]
    pub fn new(settings: model::Service) -> Arc<Self> {
        let rules = rules(&settings);
        let set = EndpointSet::new(Vec::new(), settings.balance, rules);
        Arc::new(Self {
            name: Arc::clone(&settings.name),
            requests: AtomicU32::new(settings.circuit.requests),
            rules: SharedRules::new(rules),
            set: ArcSwap::from_pointee(set),
            settings: ArcSwap::from_pointee(settings),
            turn: AtomicUsize::new(0),
            active: AtomicU32::new(0),
            pending: Arc::new(AtomicU32::new(0)),
            window: Window::default(),
            breaker: Breaker::default(),
            leaving: Mutex::new(Vec::new()),
        })
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &ServiceName {
        &self.name
    }

    /// Its settings, borrowed for a moment.
    pub fn settings(&self) -> Guard<Arc<model::Service>> {
        self.settings.load()
    }

    /// Its endpoints.
    #[must_use]
    pub fn endpoints(&self) -> Vec<Arc<Endpoint>> {
        self.set.load().endpoints().to_vec()
    }

    /// Calls under way.
    #[must_use]
    pub fn active(&self) -> u32 {
        self.active.load(Relaxed)
    }

    /// Calls that wait for a connection.
    #[must_use]
    pub fn pending(&self) -> u32 {
        self.pending.load(Relaxed)
    }

    /// Whether the circuit lets calls through.
    #[must_use]
    pub fn breaker(&self, now: Coarse) -> BreakerState {
        self.breaker.state(now)
    }

    /// Takes over settings of a reload. Endpoints stay.
    pub fn configure(&self, settings: model::Service) {
        let _leaving = self.lock();
        if settings.circuit.failure_percent.is_none() {
            self.breaker.close();
        }
        let set = self.set.load();
        for endpoint in set.endpoints() {
            endpoint.apply(settings.protocol);
        }
        let endpoints = set.endpoints().to_vec();
        self.set.store(Arc::new(EndpointSet::new(endpoints, settings.balance, rules(&settings))));
        self.requests.store(settings.circuit.requests, Relaxed);
        self.rules.store(rules(&settings));
        self.settings.store(Arc::new(settings));
    }

    /// Takes over who is there now. Endpoints of the same key and address stay the same objects;
    /// those that are gone finish what they have under way; new ones beside others start slowly.
    pub fn set_instances(&self, instances: Vec<InstanceSpec>, now: Coarse) {
        let mut leaving = self.lock();
        let settings = self.settings.load();
        let set = self.set.load();
        let mut known: HashMap<_, _, foldhash::fast::RandomState> = HashMap::default();
        // Those that were leaving may return while their last calls go on.
        for endpoint in leaving.iter().filter_map(Weak::upgrade) {
            known.insert((endpoint.key.clone(), endpoint.address), endpoint);
        }
        for endpoint in set.endpoints() {
            known.insert((endpoint.key.clone(), endpoint.address), Arc::clone(endpoint));
        }
        let is_first = set.endpoints().is_empty();
        let mut endpoints = Vec::with_capacity(instances.len());
        let mut named = HashSet::new();
        for spec in instances {
            // Named twice, it is still one.
            if !named.insert((spec.key.clone(), spec.address)) {
                continue;
            }
            if let Some(endpoint) = known.remove(&(spec.key.clone(), spec.address)) {
                endpoint.describe(spec, settings.protocol);
                endpoints.push(endpoint);
                continue;
            }
            let endpoint = Endpoint::new(spec, settings.protocol, Arc::clone(&self.pending));
            if !is_first {
                endpoint.slow_from.store(now.0, Relaxed);
            }
            endpoints.push(Arc::new(endpoint));
        }
        leaving.clear();
        for endpoint in known.into_values() {
            endpoint.flags.fetch_or(flag::REMOVED, Relaxed);
            leaving.push(Arc::downgrade(&endpoint));
        }
        self.set.store(Arc::new(EndpointSet::new(endpoints, settings.balance, rules(&settings))));
    }

    /// Asks to make a call, once for all its tries.
    ///
    /// # Errors
    /// [`Refused`] if the circuit is open or too much is under way.
    pub fn admit(self: &Arc<Self>, now: Coarse) -> Result<Admission, Refused> {
        if !enter(&self.active, self.requests.load(Relaxed)) {
            return Err(Refused::TooManyRequests);
        }
        match self.breaker.pass(now) {
            Passage::Free => Ok(Admission::new(Arc::clone(self), false)),
            Passage::Trial => Ok(Admission::new(Arc::clone(self), true)),
            Passage::Shut => {
                self.active.fetch_sub(1, Relaxed);
                Err(Refused::Open)
            }
        }
    }

    /// Chooses an endpoint; `None` if the service has none that may ever be called.
    pub fn pick(&self, context: &mut PickContext<'_>) -> Option<Arc<Endpoint>> {
        self.set.load().pick(&self.turn, context).map(Arc::clone)
    }

    /// Begins a try at an endpoint.
    #[must_use]
    pub fn begin(self: &Arc<Self>, endpoint: &Arc<Endpoint>, now: Coarse) -> InFlight {
        endpoint.begin(now);
        InFlight::new(Arc::clone(self), Arc::clone(endpoint))
    }

    /// Whether an endpoint owes answers and has been silent for longer than `silence` and ten times
    /// its typical latency. If so it is suspect from now on, and safe calls are worth a hedge.
    #[must_use]
    pub fn is_silent(&self, endpoint: &Endpoint, now: Coarse) -> bool {
        let rules = self.rules();
        let silent = endpoint.is_silent(now, rules);
        if silent {
            self.mark_suspect(endpoint, now);
        }
        silent
    }

    /// When it is worth asking [`Service::is_silent`]; `None` if the endpoint owes nothing or
    /// silence is off. The time moves on as the endpoint answers other calls.
    #[must_use]
    pub fn silent_from(&self, endpoint: &Endpoint) -> Option<Coarse> {
        endpoint.silent_from(self.rules())
    }

    /// Keeps new calls away from an endpoint until it is heard again.
    pub fn mark_suspect(&self, endpoint: &Endpoint, now: Coarse) {
        if endpoint.suspect(now, self.rules()) {
            tracing::warn!(service = %self.name, address = %endpoint.address, "endpoint is silent");
        }
    }

    /// Takes a retry or hedge out of the budget, if there is one left.
    #[must_use]
    pub fn retry_allowed(&self, budget: Budget, now: Coarse) -> bool {
        budget.spend(&self.window, now)
    }

    /// Takes over the state that active checks found. To be called after every check, as a good one
    /// also clears an endpoint of being silent.
    pub fn set_health(&self, endpoint: &Endpoint, health: CheckedHealth, now: Coarse) {
        let before = endpoint.checked();
        let bits = match health {
            CheckedHealth::Unknown => 0,
            CheckedHealth::Healthy => flag::CHECKED,
            CheckedHealth::Unhealthy => flag::UNHEALTHY,
        };
        let mask = flag::CHECKED | flag::UNHEALTHY;
        let updated =
            endpoint.flags.fetch_update(Relaxed, Relaxed, |flags| Some(flags & !mask | bits));
        debug_assert!(updated.is_ok(), "an update that always applies");
        if health == CheckedHealth::Healthy {
            endpoint.clear_suspicion();
            if before == CheckedHealth::Unhealthy {
                endpoint.reinstate(now);
            }
        }
        if health != before {
            tracing::info!(service = %self.name, address = %endpoint.address, ?health, "checked health changed");
        }
    }

    /// Endpoints that were removed and still have calls under way.
    pub(super) fn leaving(&self) -> Vec<Arc<Endpoint>> {
        self.lock().iter().filter_map(Weak::upgrade).filter(|e| e.in_flight() > 0).collect()
    }

    pub(super) fn rules(&self) -> Rules {
        self.rules.load()
    }

    /// An admitted call is over.
    pub(super) fn leave(&self, trial: bool) {
        self.active.fetch_sub(1, Relaxed);
        if trial {
            self.breaker.trial_dropped();
        }
    }

    pub(super) fn learn_success(&self, endpoint: &Endpoint, latency: Duration, now: Coarse) {
        endpoint.count(false);
        endpoint.took(latency, now, self.rules());
        endpoint.succeeded(now);
        self.window.call(now, false);
        if self.breaker.succeeded() {
            self.window.forget_failures();
            tracing::info!(service = %self.name, "circuit closed");
        }
    }

    pub(super) fn learn_failure(
        &self,
        endpoint: &Endpoint,
        failure: Failure,
        latency: Duration,
        now: Coarse,
    ) {
        endpoint.count(true);
        self.window.call(now, true);
        if failure == Failure::Timeout {
            endpoint.feared(latency, now);
        }
        let settings = self.settings.load();
        if endpoint.failed(failure, settings.ejection, now)
            && self.may_eject(endpoint, &settings, now)
        {
            endpoint.eject(settings.ejection, now);
            tracing::warn!(service = %self.name, address = %endpoint.address, ?failure, "endpoint ejected");
        }
        let Some(percent) = settings.circuit.failure_percent else { return };
        let too_many = || {
            let sums = self.window.sums(now);
            sums.calls >= MIN_CALLS && sums.failures * 100 >= sums.calls * u64::from(percent)
        };
        if self.breaker.failed(now.plus(settings.circuit.open), too_many) {
            tracing::warn!(service = %self.name, "circuit opened");
        }
    }

    /// Whether one more may be out: beyond a part of them something else must be wrong.
    fn may_eject(&self, endpoint: &Endpoint, settings: &model::Service, now: Coarse) -> bool {
        let set = self.set.load();
        let all = set.endpoints().iter().filter(|other| other.weight() > 0);
        let out = all
            .clone()
            .filter(|other| other.id != endpoint.id && other.ejected_until(now).is_some())
            .count();
        (out + 1) * 100 <= all.count() * settings.ejection.max_percent as usize
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Weak<Endpoint>>> {
        self.leaving.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What of the settings decides about endpoints' standing.
fn rules(settings: &model::Service) -> Rules {
    Rules {
        silence_ms: settings.silence.map(millis),
        slow_start_ms: millis(settings.slow_start),
        checked: settings.health.is_some(),
    }
}
