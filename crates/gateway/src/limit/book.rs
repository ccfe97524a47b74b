//! Everything that is counted for limits. It outlives configurations: a limit that is the same in the
//! next one, by its id, goes on counting where it was. What no configuration names any more is dropped.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

use posthouse_base::time::Timestamp;

use super::metrics::Metrics;
use super::quota::QuotaStore;
use super::rule::{AllCounts, KeyHasher, Policy};
use super::shed::{Settings, Shedder, Waiting};
use super::table::{Budget, Table};
use crate::config::model::{Config, Limit, Priority, ServiceName};

/// How often the store of quotas is told what has changed.
const TOLD_EVERY: Duration = Duration::from_secs(1);

/// Everything that is counted for limits.
pub(crate) struct Book {
    pub(super) hasher: KeyHasher,
    pub(super) counts: AllCounts,
    pub(crate) metrics: Metrics,
    budget: Arc<Budget>,
    tables: Mutex<HashMap<Arc<str>, Arc<Table>>>,
    shedders: RwLock<HashMap<ServiceName, Arc<Shedder>>>,
    store: Arc<dyn QuotaStore>,
    epoch: Instant,
}

/// The limits of a configuration.
pub(crate) struct Limits {
    /// Those of each route, by its place in the table.
    routes: Vec<Policy>,
    /// Those of each plan.
    plans: HashMap<Arc<str>, Policy>,
    shedding: Option<Settings>,
}

impl Book {
    /// A book for about so many keys, with what the store has kept of quotas.
    pub(crate) fn new(keys: usize, store: Arc<dyn QuotaStore>) -> Self {
        let counts = AllCounts::new(keys, store.load(), Timestamp::now());
        Self {
            hasher: KeyHasher::new(),
            counts,
            metrics: Metrics::default(),
            budget: Budget::new(keys),
            tables: Mutex::default(),
            shedders: RwLock::default(),
            store,
            epoch: Instant::now(),
        }
    }

    /// The limits of a configuration, which count where those of the same ids have counted so far.
    pub(crate) fn limits(&self, config: &Config) -> Limits {
        self.budget.set_keys(config.engine.limit_keys);
        self.counts.set_most(config.engine.limit_keys);
        let routes: Vec<Policy> =
            config.routes.iter().map(|route| Policy::new(&route.limits, self)).collect();
        let plans = config.plans.iter();
        let plans = plans.map(|(name, limits)| (Arc::clone(name), Policy::new(limits, self)));
        let plans = plans.collect();
        let named = config.routes.iter().flat_map(|route| &route.limits);
        let named = named.chain(config.plans.values().flatten());
        let named: HashSet<&Arc<str>> = named.map(|limit: &Limit| &limit.id).collect();
        lock(&self.tables).retain(|id, _| named.contains(id));
        let shedding = config.engine.shedding;
        {
            let mut shedders = self.shedders.write().unwrap_or_else(PoisonError::into_inner);
            match shedding {
                None => shedders.clear(),
                Some(settings) => shedders.values().for_each(|shedder| shedder.set(settings)),
            }
        }
        Limits { routes, plans, shedding }
    }

    /// The table of a limit.
    pub(super) fn table(&self, id: &Arc<str>) -> Arc<Table> {
        let mut tables = lock(&self.tables);
        let table = tables.entry(Arc::clone(id));
        Arc::clone(table.or_insert_with(|| Arc::new(Table::new(&self.budget))))
    }

    /// A time on the clock of limits: nanoseconds, never 0.
    pub(crate) fn nanos(&self, at: Instant) -> u64 {
        let passed = at.saturating_duration_since(self.epoch).as_nanos();
        u64::try_from(passed).unwrap_or(u64::MAX).saturating_add(1)
    }

    /// Lets a call wait for a service's answer, unless too many do. `None` when nothing is shed.
    ///
    /// # Errors
    /// When the call is shed.
    pub(crate) fn wait(
        &self,
        limits: &Limits,
        service: &ServiceName,
        priority: Priority,
        now: Instant,
    ) -> Result<Option<Waiting>, Shed> {
        let Some(settings) = limits.shedding else { return Ok(None) };
        let waiting = self.shedder(service, settings).admit(priority, self.nanos(now));
        if waiting.is_none() {
            self.metrics.shed(service, priority);
        }
        waiting.map(Some).ok_or(Shed)
    }

    fn shedder(&self, service: &ServiceName, settings: Settings) -> Arc<Shedder> {
        {
            let shedders = self.shedders.read().unwrap_or_else(PoisonError::into_inner);
            if let Some(shedder) = shedders.get(service) {
                return Arc::clone(shedder);
            }
        }
        let mut shedders = self.shedders.write().unwrap_or_else(PoisonError::into_inner);
        let shedder = shedders.entry(Arc::clone(service));
        Arc::clone(shedder.or_insert_with(|| Arc::new(Shedder::new(settings))))
    }

    /// Tells the store what has changed, each second, for ever.
    pub(crate) async fn keep(&self) {
        let mut is_out = false;
        let mut ticks = tokio::time::interval(TOLD_EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let told = self.flush().await;
            match &told {
                Err(error) if !is_out => {
                    tracing::error!("what was used of quotas cannot be kept for now: {error}");
                }
                Ok(()) if is_out => tracing::info!("what was used of quotas is kept again"),
                Err(_) | Ok(()) => {}
            }
            is_out = told.is_err();
            self.report();
        }
    }

    /// Tells the store what has changed.
    ///
    /// # Errors
    /// When it cannot keep it.
    pub(crate) async fn flush(&self) -> Result<(), super::NotKept> {
        let told = self.counts.flush(&*self.store, Timestamp::now()).await;
        if told.is_err() {
            self.metrics.not_kept();
        }
        told
    }

    fn report(&self) {
        let shedders = self.shedders.read().unwrap_or_else(PoisonError::into_inner);
        let limits = shedders.iter().map(|(service, shedder)| (&**service, shedder.limit()));
        let counts = (self.budget.slots(), self.counts.keys(), self.budget.displaced());
        self.metrics.report(counts, limits);
    }
}

/// A call is refused so that more important ones are answered in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shed;

impl Limits {
    /// The limits of a route, by its place in the table, and of a plan: those that there are.
    pub(crate) fn of(&self, route: Option<usize>, plan: Option<&str>) -> [Option<&Policy>; 2] {
        let route = route.and_then(|index| self.routes.get(index));
        let plan = plan.filter(|_| !self.plans.is_empty()).and_then(|name| self.plans.get(name));
        [route, plan].map(|policy| policy.filter(|policy| !policy.is_empty()))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
