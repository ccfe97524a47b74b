//! Active checks of the instances of services that ask for it. They run beside the engine, on the
//! ordinary runtime; an instance's state changes in place, no route is rebuilt.
//!
//! One task holds the times at which all instances are due, so that one that rests costs next to
//! nothing; what a probe needs is there only while it probes.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::HeaderValue;
use http::header::HOST;
use posthouse_probe::{Grpc, Http, Target, Unhealthy, probe};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::cluster::{CheckedHealth, Coarse, Endpoint, EndpointId, Service};
use crate::config::model::{self, HealthKind, Protocol, ServiceName};

/// Probes under way at once; what is due beyond that waits.
const MOST_PROBES: usize = 512;

/// Tells the task what to check.
#[derive(Debug, Default)]
pub(crate) struct Checks {
    inbox: Mutex<Inbox>,
    filled: Notify,
}

/// What the task has not looked at yet; at most one entry for each service.
#[derive(Debug, Default)]
struct Inbox {
    /// Services that are to be checked in another way than before, or no longer.
    plans: HashMap<ServiceName, Option<Plan>>,
    /// Services whose instances may be others.
    changed: HashSet<ServiceName>,
}

/// How a service is checked.
#[derive(Debug)]
struct Plan {
    service: Arc<Service>,
    health: model::Health,
    tls: bool,
    tls_skip_verify: bool,
}

impl Checks {
    /// Checks a service from here on as its settings say.
    pub(crate) fn follow(&self, service: &Arc<Service>, settings: &model::Service) {
        let plan = settings.health.clone().map(|health| Plan {
            service: Arc::clone(service),
            health,
            tls: settings.tls.is_some()
                || matches!(settings.protocol, Protocol::Https | Protocol::H2),
            tls_skip_verify: settings.tls.as_ref().is_some_and(|tls| tls.insecure),
        });
        self.inbox().plans.insert(Arc::clone(&settings.name), plan);
        self.filled.notify_one();
    }

    /// Checks a service no longer.
    pub(crate) fn leave(&self, name: &ServiceName) {
        self.inbox().plans.insert(Arc::clone(name), None);
        self.filled.notify_one();
    }

    /// Looks at the instances of a service, which may be others than before.
    pub(crate) fn look(&self, name: &ServiceName) {
        self.inbox().changed.insert(Arc::clone(name));
        self.filled.notify_one();
    }

    /// Checks whatever it is told to, for ever.
    pub(crate) async fn run(&self) {
        let mut checker = Checker::default();
        loop {
            checker.begin_due();
            let next = checker.due.peek().map(|Reverse(check)| check.at);
            let may_begin = checker.probes.len() < MOST_PROBES;
            tokio::select! {
                () = self.filled.notified() => {
                    let Inbox { plans, changed } = std::mem::take(&mut *self.inbox());
                    checker.take(plans, &changed);
                }
                Some(done) = checker.probes.join_next() => match done {
                    Ok(done) => checker.learn(done),
                    Err(error) => tracing::error!("a health check panicked: {error}"),
                },
                () = sleep_until(next), if may_begin => {}
            }
        }
    }

    fn inbox(&self) -> MutexGuard<'_, Inbox> {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn sleep_until(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}

/// The task's own.
#[derive(Default)]
struct Checker {
    services: HashMap<ServiceName, Watched>,
    due: BinaryHeap<Reverse<Check>>,
    probes: JoinSet<Done>,
    /// Of the last plan that was taken; checks of an earlier one of the service end.
    last_run: u64,
}

struct Watched {
    plan: Arc<Plan>,
    run: u64,
    checked: HashSet<EndpointId>,
}

/// An instance that is to be checked, the one that is due first being the least.
struct Check {
    at: Instant,
    plan: Arc<Plan>,
    run: u64,
    endpoint: Arc<Endpoint>,
    /// Good and bad results in a row.
    good: u32,
    bad: u32,
}

struct Done {
    check: Check,
    result: Result<(), Unhealthy>,
}

impl Checker {
    fn take(&mut self, plans: HashMap<ServiceName, Option<Plan>>, changed: &HashSet<ServiceName>) {
        for (name, plan) in plans {
            let Some(plan) = plan else {
                if let Some(Watched { plan, .. }) = self.services.remove(&name) {
                    plan.forget();
                }
                continue;
            };
            self.last_run += 1;
            let (plan, run) = (Arc::new(plan), self.last_run);
            self.services.insert(Arc::clone(&name), Watched { plan, run, checked: HashSet::new() });
            self.look(&name);
        }
        for name in changed {
            self.look(name);
        }
    }

    /// Begins to check the new instances of a service. Those that are gone are not checked again.
    fn look(&mut self, name: &ServiceName) {
        let Some(Watched { plan, run, checked }) = self.services.get_mut(name) else { return };
        let endpoints = plan.service.endpoints();
        let before = std::mem::take(checked);
        checked.extend(endpoints.iter().map(|endpoint| endpoint.id));
        let at = Instant::now();
        for endpoint in endpoints.into_iter().filter(|endpoint| !before.contains(&endpoint.id)) {
            let (plan, run) = (Arc::clone(plan), *run);
            self.due.push(Reverse(Check { at, plan, run, endpoint, good: 0, bad: 0 }));
        }
    }

    fn is_wanted(&self, check: &Check) -> bool {
        let watched = self.services.get(check.plan.service.name());
        watched.is_some_and(|watched| {
            watched.run == check.run && watched.checked.contains(&check.endpoint.id)
        })
    }

    /// Begins the probes that are due, as many as may be under way.
    fn begin_due(&mut self) {
        let now = Instant::now();
        while self.probes.len() < MOST_PROBES
            && self.due.peek().is_some_and(|Reverse(check)| check.at <= now)
        {
            let Some(Reverse(check)) = self.due.pop() else { return };
            if self.is_wanted(&check) {
                self.probes.spawn(check.probe());
            }
        }
    }

    /// Takes over a result, and has the instance checked again later.
    fn learn(&mut self, done: Done) {
        let Done { mut check, result } = done;
        if !self.is_wanted(&check) {
            return;
        }
        check.learn(result);
        // Spread, so that the instances of a service are not all asked at the same moment.
        let spread = 0.9 + 0.2 * fastrand::f64();
        check.at = Instant::now() + check.plan.health.interval.mul_f64(spread);
        self.due.push(Reverse(check));
    }
}

impl Plan {
    /// Takes back what the checks have said.
    fn forget(&self) {
        for endpoint in self.service.endpoints() {
            self.service.set_health(&endpoint, CheckedHealth::Unknown, Coarse::now());
        }
    }

    fn target(&self, endpoint: &Endpoint) -> Result<Target, String> {
        let Self { tls, tls_skip_verify, .. } = *self;
        let address = endpoint.address.to_string();
        match &self.health.kind {
            HealthKind::Tcp => Ok(Target::Tcp { address }),
            HealthKind::Http { path, statuses } => {
                let scheme = if tls { "https" } else { "http" };
                let url = format!("{scheme}://{address}{path}");
                let mut http = Http::get(&url).map_err(|error| error.to_string())?;
                if let Ok(host) = HeaderValue::from_str(&endpoint.host) {
                    http.headers.insert(HOST, host);
                }
                http.tls_skip_verify = tls_skip_verify;
                if let (Some(low), Some(high)) = (statuses.iter().min(), statuses.iter().max()) {
                    http.healthy = low.as_u16()..=high.as_u16();
                }
                Ok(Target::Http(http))
            }
            HealthKind::Grpc { service } => {
                let authority =
                    address.parse().map_err(|_| format!("{address} is no authority"))?;
                Ok(Target::Grpc(Grpc { authority, service: service.clone(), tls, tls_skip_verify }))
            }
        }
    }
}

impl Check {
    async fn probe(self) -> Done {
        let result = match self.plan.target(&self.endpoint) {
            Ok(target) => probe(&target, self.plan.health.timeout).await.map(drop),
            Err(reason) => Err(Unhealthy { reason }),
        };
        Done { check: self, result }
    }

    fn learn(&mut self, result: Result<(), Unhealthy>) {
        let Plan { service, health, .. } = &*self.plan;
        match result {
            Ok(()) => (self.good, self.bad) = (self.good.saturating_add(1), 0),
            Err(reason) => {
                (self.good, self.bad) = (0, self.bad.saturating_add(1));
                if self.bad == health.fall {
                    tracing::warn!(
                        service = %service.name(),
                        endpoint = %self.endpoint.address,
                        "an instance is unhealthy: {reason}"
                    );
                }
            }
        }
        if self.good >= health.rise {
            service.set_health(&self.endpoint, CheckedHealth::Healthy, Coarse::now());
        } else if self.bad >= health.fall {
            service.set_health(&self.endpoint, CheckedHealth::Unhealthy, Coarse::now());
        }
    }
}

impl PartialEq for Check {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Check {}

impl PartialOrd for Check {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Check {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.endpoint.id).cmp(&(other.at, other.endpoint.id))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::net::TcpListener;

    use super::*;
    use crate::cluster::InstanceSpec;
    use crate::config::check::from_registry;

    fn settings() -> model::Service {
        let mut settings = from_registry("s".into());
        settings.health = Some(model::Health {
            kind: HealthKind::Tcp,
            interval: Duration::from_millis(5),
            timeout: Duration::from_secs(5),
            rise: 1,
            fall: 2,
        });
        settings
    }

    async fn listener() -> (TcpListener, std::net::SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        (listener, address)
    }

    /// Waits until the only instance of the service is in this state.
    async fn becomes(service: &Service, health: CheckedHealth) {
        let waited = tokio::time::timeout(Duration::from_secs(10), async {
            while service.endpoints()[0].checked() != health {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        });
        waited.await.unwrap_or_else(|_| panic!("it does not become {health:?}"));
    }

    #[tokio::test]
    async fn instances_are_followed_as_they_come_and_go() {
        let checks = Arc::<Checks>::default();
        let running = Arc::clone(&checks);
        let task = tokio::spawn(async move { running.run().await });
        let settings = settings();
        let service = Service::new(settings.clone());
        checks.follow(&service, &settings);

        let (open, address) = listener().await;
        service.set_instances(vec![InstanceSpec::new("a", address, 1)], Coarse::now());
        checks.look(service.name());
        becomes(&service, CheckedHealth::Healthy).await;
        drop(open);
        becomes(&service, CheckedHealth::Unhealthy).await;

        let (open, address) = listener().await;
        service.set_instances(vec![InstanceSpec::new("b", address, 1)], Coarse::now());
        checks.look(service.name());
        becomes(&service, CheckedHealth::Healthy).await;

        // From here on nobody knocks.
        checks.leave(service.name());
        let silence = async {
            while tokio::time::timeout(Duration::from_millis(200), open.accept()).await.is_ok() {}
        };
        let silent = tokio::time::timeout(Duration::from_secs(10), silence).await;
        assert!(silent.is_ok(), "it is still checked");
        assert_eq!(service.endpoints()[0].checked(), CheckedHealth::Unknown);
        task.abort();
    }

    #[tokio::test]
    async fn a_new_plan_takes_the_place_of_the_old_one() {
        let checks = Arc::<Checks>::default();
        let running = Arc::clone(&checks);
        let task = tokio::spawn(async move { running.run().await });
        let (_open, address) = listener().await;
        let mut settings = settings();
        let service = Service::new(settings.clone());
        service.set_instances(vec![InstanceSpec::new("a", address, 1)], Coarse::now());
        checks.follow(&service, &settings);
        becomes(&service, CheckedHealth::Healthy).await;
        // Nobody answers HTTP there.
        let health = settings.health.as_mut().expect("checks");
        health.kind = HealthKind::Http { path: "/".into(), statuses: Vec::new() };
        health.timeout = Duration::from_millis(5);
        checks.follow(&service, &settings);
        becomes(&service, CheckedHealth::Unhealthy).await;
        task.abort();
    }
}
