//! What is said about an endpoint from outside: by the file, a resolved name or the registry.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use crate::config::model::Protocol;

/// An instance of a service as its source describes it. `key` and `address` are its identity; all
/// else may change without its past being lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstanceSpec {
    /// Name within the service, the same in every process: the registry's instance id, or
    /// `host:port` of the file. Consistent hashing places the instance by it and its address.
    pub key: String,
    /// Where it is reached.
    pub address: SocketAddr,
    /// Host name for `Host` and SNI when the call brings none.
    pub host: String,
    /// Share of calls; 0 is out of rotation.
    pub weight: u32,
    /// Share of calls while its health is [`RegistryHealth::Warning`].
    pub warning_weight: u32,
    /// How it is spoken to, when its metadata says so.
    pub protocol: Option<Protocol>,
    /// Tags of the registration.
    pub tags: Vec<String>,
    /// Metadata of the registration.
    pub meta: BTreeMap<String, String>,
    /// What the registry's checks say; passing for instances of the file.
    pub registry_health: RegistryHealth,
}

impl InstanceSpec {
    /// An instance without anything special.
    #[must_use]
    pub fn new(key: impl Into<String>, address: SocketAddr, weight: u32) -> Self {
        let key = key.into();
        Self {
            host: key.rsplit_once(':').map_or_else(|| key.clone(), |(host, _)| host.to_owned()),
            key,
            address,
            weight,
            warning_weight: weight,
            protocol: None,
            tags: Vec::new(),
            meta: BTreeMap::new(),
            registry_health: RegistryHealth::Passing,
        }
    }

    /// Its share of calls in its present health.
    #[must_use]
    pub fn effective_weight(&self) -> u32 {
        match self.registry_health {
            RegistryHealth::Warning => self.warning_weight,
            _ => self.weight,
        }
    }
}

/// Health by the registry's checks, the worst of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RegistryHealth {
    /// Well.
    #[default]
    Passing,
    /// Well enough to be called, with its own weight.
    Warning,
    /// Not called unless nobody is well.
    Critical,
    /// Taken out by a person: never called.
    Maintenance,
}

/// Health by our own active checks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CheckedHealth {
    /// Not checked, or not yet: taken for well.
    #[default]
    Unknown,
    /// Enough good checks in a row.
    Healthy,
    /// Enough bad checks in a row.
    Unhealthy,
}
