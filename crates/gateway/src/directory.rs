//! Services by name. A service is made once and stays the same object for as long as anybody knows
//! its name, so that what was learnt of its instances survives reloads.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;

use crate::cluster::{Coarse, InstanceSpec, Service};
use crate::config::check::from_registry;
use crate::config::model;

/// Services by name, from the file and from the registry.
#[derive(Default)]
pub(crate) struct Directory {
    services: ArcSwap<HashMap<model::ServiceName, Arc<Service>>>,
    /// Names whose instances the file gives: the registry's do not count for them.
    held_by_file: Mutex<BTreeSet<model::ServiceName>>,
}

impl Directory {
    /// The service of this name, if anybody has named it.
    pub(crate) fn get(&self, name: &str) -> Option<Arc<Service>> {
        self.services.load().get(name).cloned()
    }

    /// All services.
    pub(crate) fn all(&self) -> Vec<Arc<Service>> {
        let mut all: Vec<_> = self.services.load().values().cloned().collect();
        all.sort_by(|a, b| a.name().cmp(b.name()));
        all
    }

    /// The service of this name, made with default settings if nobody has named it before.
    pub(crate) fn get_or_create(&self, name: &str) -> Arc<Service> {
        self.get(name).unwrap_or_else(|| {
            let made = Service::new(from_registry(name.into()));
            self.services.rcu(|services| {
                let mut services = HashMap::clone(services);
                services.entry(Arc::clone(made.name())).or_insert_with(|| Arc::clone(&made));
                services
            });
            self.get(name).unwrap_or(made)
        })
    }

    /// Takes over the services of a checked configuration, and forgets those that only an earlier
    /// one named.
    pub(crate) fn configure<'a>(&self, services: impl Iterator<Item = &'a model::Service>) {
        let mut held = self.held_by_file.lock().unwrap_or_else(PoisonError::into_inner);
        let before = std::mem::take(&mut *held);
        for settings in services {
            let service = self.get_or_create(&settings.name);
            service.configure(settings.clone());
            if !settings.instances.is_empty() {
                held.insert(Arc::clone(&settings.name));
            }
        }
        for name in before.difference(&held) {
            if let Some(service) = self.get(name) {
                service.configure(from_registry(Arc::clone(name)));
                service.set_instances(Vec::new(), Coarse::now());
            }
        }
    }

    /// Takes over what the registry says of a service; the file's word counts more.
    pub(crate) fn set_from_registry(&self, name: &str, instances: Vec<InstanceSpec>) {
        let held = self.held_by_file.lock().unwrap_or_else(PoisonError::into_inner);
        if held.contains(name) {
            return;
        }
        if instances.is_empty() && self.get(name).is_none() {
            return;
        }
        self.get_or_create(name).set_instances(instances, Coarse::now());
    }
}
