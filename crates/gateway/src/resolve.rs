//! Instances that the file gives by host name: resolved when they are first needed and again as
//! time goes by, each address being an instance of its own.

use std::collections::{BTreeSet, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use posthouse_base::task::Tasks;

use crate::cluster::{Coarse, InstanceSpec};
use crate::config::model::{Instance, Service};
use crate::shared::Shared;

/// Time between two looks at a host name.
const INTERVAL: Duration = Duration::from_secs(5);
/// How long a name server may take.
const TIMEOUT: Duration = Duration::from_secs(3);

/// What is known of host names: a name that cannot be resolved for a while keeps its addresses.
#[derive(Default)]
struct Known {
    addresses: HashMap<(String, u16), BTreeSet<SocketAddr>>,
}

/// Sets the instances whose addresses are written in the file at once, so that they can be called
/// before any name has been resolved.
pub(crate) fn set_addresses(shared: &Shared, services: &[Service]) {
    for service in services.iter().filter(|service| !service.instances.is_empty()) {
        if service.instances.iter().all(|instance| literal(instance).is_some()) {
            let specs = service
                .instances
                .iter()
                .filter_map(|instance| Some(spec(instance, literal(instance)?)))
                .collect();
            shared.directory.get_or_create(&service.name).set_instances(specs, Coarse::now());
        }
    }
}

/// Keeps following the host names of these services until the tasks are stopped.
pub(crate) fn follow(shared: &Arc<Shared>, services: &[Service], tasks: &Tasks) {
    let named: Vec<Service> = services
        .iter()
        .filter(|service| service.instances.iter().any(|one| literal(one).is_none()))
        .cloned()
        .collect();
    if named.is_empty() {
        return;
    }
    let shared = Arc::clone(shared);
    tasks.spawn("resolve host names", async move {
        let mut known = Known::default();
        loop {
            for service in &named {
                resolve(&shared, service, &mut known).await;
            }
            tokio::time::sleep(INTERVAL).await;
        }
    });
}

async fn resolve(shared: &Shared, service: &Service, known: &mut Known) {
    let mut specs = Vec::new();
    for instance in &service.instances {
        if let Some(address) = literal(instance) {
            specs.push(spec(instance, address));
            continue;
        }
        let key = (instance.host.clone(), instance.port);
        let asked = tokio::net::lookup_host((instance.host.as_str(), instance.port));
        match tokio::time::timeout(TIMEOUT, asked).await {
            Ok(Ok(addresses)) => {
                known.addresses.insert(key.clone(), addresses.collect());
            }
            Ok(Err(error)) => tracing::warn!(
                service = %service.name,
                "cannot resolve {}, going on with what was known: {error}", instance.host
            ),
            Err(_) => tracing::warn!(
                service = %service.name,
                "resolving {} takes too long, going on with what was known", instance.host
            ),
        }
        let addresses = known.addresses.get(&key).into_iter().flatten();
        specs.extend(addresses.map(|address| spec(instance, *address)));
    }
    shared.directory.get_or_create(&service.name).set_instances(specs, Coarse::now());
}

fn literal(instance: &Instance) -> Option<SocketAddr> {
    let bare = instance.host.trim_start_matches('[').trim_end_matches(']');
    Some(SocketAddr::new(bare.parse::<IpAddr>().ok()?, instance.port))
}

fn spec(instance: &Instance, address: SocketAddr) -> InstanceSpec {
    let key = format!("{}:{}", instance.host, instance.port);
    InstanceSpec::new(key, address, instance.weight)
}
