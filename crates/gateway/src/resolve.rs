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

/// The addresses behind host names with ports: a name that cannot be resolved for a while keeps its
/// addresses.
type Known = HashMap<String, BTreeSet<SocketAddr>>;

/// Sets the instances of a service. If the file gives addresses for all of them, that is done at once,
/// so that they can be called before any name has been resolved. Else their names are followed until
/// what is returned is stopped.
pub(crate) fn follow(shared: &Arc<Shared>, settings: &Service, tasks: &Tasks) -> Option<Tasks> {
    if settings.instances.is_empty() {
        return None;
    }
    let service = shared.directory.get_or_create(&settings.name);
    let literals: Option<Vec<_>> =
        settings.instances.iter().map(|one| Some(spec(one, literal(one)?))).collect();
    if let Some(specs) = literals {
        service.set_instances(specs, Coarse::now());
        return None;
    }
    let tasks = tasks.child();
    let shared = Arc::clone(shared);
    let instances = settings.instances.clone();
    tasks.spawn("resolve host names", async move {
        let mut known = Known::new();
        // What an earlier configuration has found out holds until it is known better.
        for endpoint in service.endpoints() {
            known.entry(endpoint.key.clone()).or_default().insert(endpoint.address);
        }
        loop {
            let specs = resolve(service.name(), &instances, &mut known).await;
            service.set_instances(specs, Coarse::now());
            shared.checks.look(service.name());
            tokio::time::sleep(INTERVAL).await;
        }
    });
    Some(tasks)
}

async fn resolve(service: &str, instances: &[Instance], known: &mut Known) -> Vec<InstanceSpec> {
    let mut specs = Vec::new();
    for instance in instances {
        if let Some(address) = literal(instance) {
            specs.push(spec(instance, address));
            continue;
        }
        let asked = tokio::net::lookup_host((instance.host.as_str(), instance.port));
        match tokio::time::timeout(TIMEOUT, asked).await {
            Ok(Ok(addresses)) => {
                known.insert(key(instance), addresses.collect());
            }
            Ok(Err(error)) => tracing::warn!(
                service,
                "cannot resolve {}, going on with what was known: {error}",
                instance.host
            ),
            Err(_) => tracing::warn!(
                service,
                "resolving {} takes too long, going on with what was known",
                instance.host
            ),
        }
        let addresses = known.get(&key(instance)).into_iter().flatten();
        specs.extend(addresses.map(|address| spec(instance, *address)));
    }
    specs
}

fn literal(instance: &Instance) -> Option<SocketAddr> {
    let bare = instance.host.trim_start_matches('[').trim_end_matches(']');
    Some(SocketAddr::new(bare.parse::<IpAddr>().ok()?, instance.port))
}

fn spec(instance: &Instance, address: SocketAddr) -> InstanceSpec {
    InstanceSpec::new(key(instance), address, instance.weight)
}

fn key(instance: &Instance) -> String {
    format!("{}:{}", instance.host, instance.port)
}
