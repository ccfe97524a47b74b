//! Pushing every service's instances to whoever follows: the gateway, which routes by them.
//!
//! A follower keeps the names of the services that changed since it last asked, each once, and
//! reads the present state when asked. So its memory is bounded by the number of services, and one
//! that is slow skips what is past.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tokio::sync::Notify;

use crate::service::Shared;
use crate::state::{
    Check, CheckDefinition, CheckKind, Index, InstanceView, ServiceName, State, Status, Topic,
};

/// A service as it now is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The service.
    pub service: Arc<str>,
    /// All its instances, ordered by node and id; empty when the service is gone.
    pub instances: Vec<Endpoint>,
}

/// An instance as a caller needs to know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// The instance's id, unique on its node.
    pub id: String,
    /// The name of its node.
    pub node: String,
    /// Where to reach it: a host name or IP address.
    pub address: String,
    /// Its port.
    pub port: u16,
    /// Its weight while it passes.
    pub weight_passing: u32,
    /// Its weight while it warns.
    pub weight_warning: u32,
    /// Words to select it by.
    pub tags: Vec<String>,
    /// What its owner says about it (`protocol`, `zone`, …).
    pub meta: BTreeMap<String, String>,
    /// The worst status of its checks and its node's, maintenance included.
    pub status: Status,
    /// Whether it, or its node, was taken out by a person.
    pub maintenance: bool,
}

impl From<&InstanceView> for Endpoint {
    fn from(view: &InstanceView) -> Self {
        let instance = &view.instance.value;
        Self {
            id: instance.id.to_string(),
            node: view.node.value.name.to_string(),
            address: view.address().to_owned(),
            port: instance.port,
            weight_passing: instance.weights.passing,
            weight_warning: instance.weights.warning,
            tags: instance.tags.clone(),
            meta: instance.meta.clone(),
            status: view.status(),
            maintenance: view.checks.iter().any(|check| is_maintenance(&check.value)),
        }
    }
}

/// Whether a check stands for maintenance: an operator's, or one that another agent has brought along
/// under the id that Consul gives them.
fn is_maintenance(check: &Check) -> bool {
    let CheckDefinition { id, kind, .. } = &check.definition;
    let id = id.as_str();
    let is_named = id == "_node_maintenance" || id.starts_with("_service_maintenance:");
    check.status == Status::Critical && (is_named || *kind == CheckKind::Maintenance)
}

/// Receives every service, and then every change to one.
#[derive(Debug)]
pub struct Follower {
    shared: Arc<Shared>,
    inbox: Arc<Inbox>,
}

impl Follower {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        let inbox = Arc::new(Inbox::default());
        // Listed before it looks: a service that comes in between is then noted twice, not never.
        shared.followers.add(&inbox);
        let names = shared.peek(|state| state.services().cloned().collect::<Vec<_>>());
        names.iter().for_each(|service| inbox.put(service));
        Self { shared, inbox }
    }

    /// The next service that changed since it was last returned, as it now is for certain; at first
    /// every service that there is. Nothing is lost when the future is dropped before it resolves.
    pub async fn next(&mut self) -> Change {
        loop {
            if let Some(taken) = Taken::from(&self.inbox)
                && let Ok((views, _)) = self.shared.read(|state| seen(state, &taken.name)).await
            {
                return taken.change(&views);
            }
            // Without a journal's word on it, it is left; there is a push when the word is given.
            self.inbox.filled.notified().await;
        }
    }

    /// Like [`Follower::next`], but `None` when nothing has changed or what has is not certain yet.
    pub fn try_next(&mut self) -> Option<Change> {
        let taken = Taken::from(&self.inbox)?;
        let views = self.shared.try_read(|state| seen(state, &taken.name))?;
        Some(taken.change(&views))
    }
}

fn seen(state: &State, service: &ServiceName) -> (Vec<InstanceView>, Index) {
    let index = state.index_of(&Topic::Service(service.clone()));
    (state.instances(service).collect(), index)
}

/// A name taken from an inbox. It goes back unless it is returned.
struct Taken<'a> {
    inbox: &'a Inbox,
    name: ServiceName,
    is_returned: bool,
}

impl<'a> Taken<'a> {
    fn from(inbox: &'a Inbox) -> Option<Self> {
        inbox.take().map(|name| Self { inbox, name, is_returned: false })
    }

    fn change(mut self, views: &[InstanceView]) -> Change {
        self.is_returned = true;
        let instances = views.iter().map(Endpoint::from).collect();
        Change { service: self.name.to_shared(), instances }
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        if !self.is_returned {
            self.inbox.put_back(&self.name);
        }
    }
}

/// All followers. One that was dropped is forgotten at the next change.
#[derive(Debug, Default)]
pub(crate) struct Followers(Mutex<Vec<Weak<Inbox>>>);

impl Followers {
    fn add(&self, inbox: &Arc<Inbox>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::downgrade(inbox));
    }

    pub(crate) fn push(&self, service: &ServiceName) {
        let mut followers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        followers.retain(|inbox| inbox.upgrade().inspect(|inbox| inbox.put(service)).is_some());
    }
}

/// The services that a follower has yet to look at.
#[derive(Debug, Default)]
struct Inbox {
    names: Mutex<Names>,
    filled: Notify,
}

#[derive(Debug, Default)]
struct Names {
    order: VecDeque<ServiceName>,
    present: HashSet<ServiceName, foldhash::fast::RandomState>,
}

impl Inbox {
    fn put(&self, service: &ServiceName) {
        self.put_back(service);
        self.filled.notify_one();
    }

    /// Without a push.
    fn put_back(&self, service: &ServiceName) {
        let mut names = self.names();
        if names.present.insert(service.clone()) {
            names.order.push_back(service.clone());
        }
    }

    fn take(&self) -> Option<ServiceName> {
        let mut names = self.names();
        let name = names.order.pop_front()?;
        names.present.remove(&name);
        Some(name)
    }

    fn names(&self) -> MutexGuard<'_, Names> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
