//! Services by name. A service is made once and stays the same object for as long as anybody knows
//! its name, so that what was learnt of its instances survives reloads.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;

use crate::cluster::{Coarse, InstanceSpec, Service};
use crate::config::check::from_registry;
use crate::config::model;

/// The services of a configuration.
type Services = BTreeMap<model::ServiceName, model::Service>;

/// Services by name, from the file and from the registry.
#[derive(Default)]
pub(crate) struct Directory {
    services: ArcSwap<HashMap<model::ServiceName, Arc<Service>>>,
    held: Mutex<Held>,
}

/// Names whose instances the file gives, with what the registry says of them: it does not count for
/// as long as the file speaks.
type Held = BTreeMap<model::ServiceName, Vec<InstanceSpec>>;

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
            self.add(std::slice::from_ref(&made));
            self.get(name).unwrap_or(made)
        })
    }

    /// Takes over the services of a checked configuration; those that only the one `before` had are
    /// the registry's again. What has not changed is not touched.
    pub(crate) fn configure(&self, before: &Services, services: &Services) {
        let unknown = services.values().filter(|settings| self.get(&settings.name).is_none());
        let made: Vec<_> = unknown.map(|settings| Service::new(settings.clone())).collect();
        // All at once: each change of the map is a copy of it.
        self.add(&made);
        for settings in services.values() {
            let service = self.get_or_create(&settings.name);
            if **service.settings() != *settings {
                service.configure(settings.clone());
            }
        }
        for name in before.keys().filter(|name| !services.contains_key(*name)) {
            self.get_or_create(name).configure(from_registry(Arc::clone(name)));
        }
        let mut held = self.held();
        let mut before = std::mem::take(&mut *held);
        for settings in services.values().filter(|settings| !settings.instances.is_empty()) {
            let name = Arc::clone(&settings.name);
            let registered = before.remove(&name).unwrap_or_else(|| self.described(&name));
            held.insert(name, registered);
        }
        for (name, registered) in before {
            self.get_or_create(&name).set_instances(registered, Coarse::now());
        }
    }

    /// Takes over what the registry says of a service; the file's word counts more. Returns the
    /// service if it now has these instances.
    pub(crate) fn set_from_registry(
        &self,
        name: &str,
        instances: Vec<InstanceSpec>,
    ) -> Option<Arc<Service>> {
        let mut held = self.held();
        if let Some(known) = held.get_mut(name) {
            *known = instances;
            return None;
        }
        if instances.is_empty() && self.get(name).is_none() {
            return None;
        }
        // Under the lock, so that an older word of the registry cannot come after this one.
        let service = self.get_or_create(name);
        service.set_instances(instances, Coarse::now());
        Some(service)
    }

    /// What is said now of the instances of a service.
    fn described(&self, name: &str) -> Vec<InstanceSpec> {
        let endpoints = self.get(name).map(|service| service.endpoints()).unwrap_or_default();
        endpoints.iter().map(|endpoint| InstanceSpec::clone(&endpoint.spec())).collect()
    }

    /// Adds services; one of a name that is known by now stays as it is.
    fn add(&self, made: &[Arc<Service>]) {
        if made.is_empty() {
            return;
        }
        self.services.rcu(|services| {
            let mut services = HashMap::clone(services);
            for one in made {
                services.entry(Arc::clone(one.name())).or_insert_with(|| Arc::clone(one));
            }
            services
        });
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(port: u16) -> InstanceSpec {
        InstanceSpec::new(format!("i{port}"), ([127, 0, 0, 1], port).into(), 1)
    }

    fn written(instances: &[u16]) -> Services {
        let mut service = from_registry("s".into());
        service.instances = instances
            .iter()
            .map(|port| model::Instance { host: "127.0.0.1".into(), port: *port, weight: 1 })
            .collect();
        Services::from([(Arc::clone(&service.name), service)])
    }

    fn ports(directory: &Directory) -> Vec<u16> {
        let service = directory.get("s").expect("a service");
        service.endpoints().iter().map(|endpoint| endpoint.address.port()).collect()
    }

    #[test]
    fn the_file_speaks_before_the_registry_and_gives_the_service_back() {
        let directory = Directory::default();
        directory.set_from_registry("s", vec![spec(1)]);
        directory.configure(&Services::new(), &written(&[9]));
        directory.set_from_registry("s", vec![spec(1), spec(2)]);
        assert_eq!(ports(&directory), [1], "the file's instances are set by who resolves them");
        directory.configure(&written(&[9]), &Services::new());
        assert_eq!(ports(&directory), [1, 2]);
    }

    #[test]
    fn what_the_registry_said_before_the_file_spoke_is_not_forgotten() {
        let directory = Directory::default();
        directory.set_from_registry("s", vec![spec(1)]);
        let service = directory.get("s").expect("a service");
        directory.configure(&Services::new(), &written(&[9]));
        service.set_instances(vec![spec(9)], Coarse::now());
        directory.configure(&written(&[9]), &written(&[]));
        assert_eq!(ports(&directory), [1]);
    }

    #[test]
    fn a_service_stays_the_same_object_and_follows_its_settings() {
        let directory = Directory::default();
        let first = written(&[]);
        directory.configure(&Services::new(), &first);
        let service = directory.get("s").expect("a service");
        let mut second = first.clone();
        for settings in second.values_mut() {
            settings.circuit.requests = 7;
        }
        directory.configure(&first, &second);
        assert!(Arc::ptr_eq(&service, &directory.get("s").expect("a service")));
        assert_eq!(service.settings().circuit.requests, 7);
        directory.configure(&second, &Services::new());
        assert_eq!(**service.settings(), from_registry("s".into()));
    }
}
