//! From the registry to the gateway: every change to a service's instances, pushed, and host names
//! in registrations resolved. A name that cannot be resolved for a while keeps the addresses that
//! it had.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use posthouse_gateway::cluster::{InstanceSpec, RegistryHealth};
use posthouse_gateway::config::model::Protocol;
use posthouse_registry::{Change, Endpoint, Follower, Status};
use tokio::task::JoinSet;

use super::Calls;

/// Time between two looks at host names.
const INTERVAL: Duration = Duration::from_secs(5);

/// How long a name server may take.
const TIMEOUT: Duration = Duration::from_secs(3);

/// The metadata key by which a registration says how it is spoken to.
const PROTOCOL: &str = "protocol";

type Host = (String, u16);

/// Follows the registry for as long as the house stands.
pub(crate) async fn follow(calls: Arc<Calls>, mut follower: Follower) {
    let mut wire = Wire { calls, named: BTreeMap::new(), known: HashMap::new() };
    let mut lookups = JoinSet::new();
    let mut pending = HashSet::new();
    let mut again = tokio::time::interval(INTERVAL);
    again.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        let hosts = tokio::select! {
            change = follower.next() => wire.take(change),
            _ = again.tick() => wire.hosts(),
            Some(Ok((host, found))) = lookups.join_next() => {
                pending.remove(&host);
                wire.resolved(&host, found);
                Vec::new()
            }
        };
        for host in hosts {
            if pending.insert(host.clone()) {
                lookups.spawn(look_up(host));
            }
        }
    }
}

async fn look_up(host: Host) -> (Host, Option<BTreeSet<SocketAddr>>) {
    let asked = tokio::net::lookup_host((host.0.as_str(), host.1));
    let found = match tokio::time::timeout(TIMEOUT, asked).await {
        Ok(Ok(addresses)) => Some(addresses.collect()),
        Ok(Err(error)) => {
            tracing::warn!("{} cannot be resolved, going on with what was known: {error}", host.0);
            None
        }
        Err(_) => {
            tracing::warn!("{} takes too long to resolve, going on with what was known", host.0);
            None
        }
    };
    (host, found)
}

struct Wire {
    calls: Arc<Calls>,
    /// Services of which an instance is registered under a host name.
    named: BTreeMap<Arc<str>, Vec<Endpoint>>,
    known: HashMap<Host, BTreeSet<SocketAddr>>,
}

impl Wire {
    /// Takes over a change. Returns the host names that are to be resolved for it.
    fn take(&mut self, change: Change) -> Vec<Host> {
        let Change { service, instances } = change;
        let hosts: Vec<Host> = instances.iter().filter_map(host_of).collect();
        self.push(&service, &instances);
        if hosts.is_empty() {
            self.named.remove(&service);
        } else {
            self.named.insert(service, instances);
        }
        let in_use: HashSet<Host> = self.hosts().into_iter().collect();
        self.known.retain(|host, _| in_use.contains(host));
        hosts
    }

    /// Takes over what a host name was resolved to.
    fn resolved(&mut self, host: &Host, found: Option<BTreeSet<SocketAddr>>) {
        let Some(found) = found else { return };
        if self.known.get(host) == Some(&found) {
            return;
        }
        self.known.insert(host.clone(), found);
        for (service, instances) in &self.named {
            if instances.iter().filter_map(host_of).any(|other| other == *host) {
                self.push(service, instances);
            }
        }
    }

    /// Every host name in use.
    fn hosts(&self) -> Vec<Host> {
        self.named.values().flatten().filter_map(host_of).collect()
    }

    fn push(&self, service: &Arc<str>, instances: &[Endpoint]) {
        let specs = instances.iter().flat_map(|instance| {
            let addresses = match literal(instance) {
                Some(address) => vec![address],
                None => {
                    let host = (instance.address.clone(), instance.port);
                    self.known.get(&host).into_iter().flatten().copied().collect()
                }
            };
            let key = key(instance, instances);
            addresses.into_iter().map(move |address| spec(instance, key.clone(), address))
        });
        self.calls.gateway.set_instances(service, specs.collect());
    }
}

/// The gateway's name for an instance: its id, with its node where the id alone is not unique.
pub(crate) fn key(instance: &Endpoint, all: &[Endpoint]) -> String {
    let same = all.iter().filter(|other| other.id == instance.id).count();
    if same > 1 { format!("{}@{}", instance.id, instance.node) } else { instance.id.clone() }
}

fn host_of(instance: &Endpoint) -> Option<Host> {
    literal(instance).is_none().then(|| (instance.address.clone(), instance.port))
}

fn literal(instance: &Endpoint) -> Option<SocketAddr> {
    Some(SocketAddr::new(instance.address.parse::<IpAddr>().ok()?, instance.port))
}

fn spec(instance: &Endpoint, key: String, address: SocketAddr) -> InstanceSpec {
    InstanceSpec {
        host: instance.address.clone(),
        weight: instance.weight_passing,
        warning_weight: instance.weight_warning,
        protocol: instance.meta.get(PROTOCOL).and_then(|name| protocol(name)),
        tags: instance.tags.clone(),
        meta: instance.meta.clone(),
        registry_health: match instance.status {
            _ if instance.maintenance => RegistryHealth::Maintenance,
            Status::Passing => RegistryHealth::Passing,
            Status::Warning => RegistryHealth::Warning,
            Status::Critical => RegistryHealth::Critical,
        },
        ..InstanceSpec::new(key, address, instance.weight_passing)
    }
}

/// A protocol by its name in the configuration. Others are somebody else's word for something.
fn protocol(name: &str) -> Option<Protocol> {
    Some(match name {
        "http" => Protocol::Http,
        "https" => Protocol::Https,
        "h2c" => Protocol::H2c,
        "h2" => Protocol::H2,
        "grpc" => Protocol::Grpc,
        "tcp" => Protocol::Tcp,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn instance(id: &str, node: &str, address: &str) -> Endpoint {
        Endpoint {
            id: id.into(),
            node: node.into(),
            address: address.into(),
            port: 80,
            weight_passing: 3,
            weight_warning: 1,
            tags: Vec::new(),
            meta: BTreeMap::from([("protocol".to_owned(), "grpc".to_owned())]),
            status: Status::Warning,
            maintenance: false,
        }
    }

    #[test]
    fn an_instance_becomes_what_the_gateway_knows() {
        let all = [
            instance("a", "n1", "::1"),
            instance("a", "n2", "b.example"),
            instance("c", "n1", "127.0.0.1"),
        ];
        assert_eq!(all.each_ref().map(|one| key(one, &all)), ["a@n1", "a@n2", "c"]);
        assert_eq!(host_of(&all[1]), Some(("b.example".to_owned(), 80)));
        let address = literal(&all[0]).expect("an address");
        assert_eq!(address.to_string(), "[::1]:80");
        let spec = spec(&all[0], "a@n1".into(), address);
        assert_eq!((spec.effective_weight(), spec.protocol), (1, Some(Protocol::Grpc)));
        assert_eq!(protocol("dubbo"), None);
    }

    #[test]
    fn maintenance_is_more_than_a_failed_check() {
        let mut instance = instance("a", "n1", "127.0.0.1");
        let address = literal(&instance).expect("an address");
        instance.status = Status::Critical;
        let health = |instance: &Endpoint| spec(instance, "a".into(), address).registry_health;
        assert_eq!(health(&instance), RegistryHealth::Critical);
        instance.maintenance = true;
        assert_eq!(health(&instance), RegistryHealth::Maintenance);
    }
}
