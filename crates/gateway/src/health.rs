//! Active checks of the instances that the file gives. They run beside the engine, on the ordinary
//! runtime; an instance's state changes in place, no route is rebuilt.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use http::header::HOST;
use posthouse_base::task::Tasks;
use posthouse_probe::{Grpc, Http, Target, probe};

use crate::cluster::{CheckedHealth, Coarse, Endpoint, EndpointId, Service};
use crate::config::model::{self, HealthKind, Protocol};
use crate::shared::Shared;

/// How often the instances of a service are compared with those that are checked.
const LOOK: Duration = Duration::from_millis(200);

/// Checks the instances of every service that asks for it, until the tasks are stopped.
pub(crate) fn follow(shared: &Arc<Shared>, services: &[model::Service], tasks: &Tasks) {
    for settings in services {
        let Some(health) = settings.health.clone() else { continue };
        let service = shared.directory.get_or_create(&settings.name);
        let settings = settings.clone();
        let checks = tasks.child();
        tasks.spawn("check a service", async move {
            let mut running: HashMap<EndpointId, Tasks> = HashMap::new();
            loop {
                let endpoints = service.endpoints();
                running.retain(|id, check| {
                    let stays = endpoints.iter().any(|endpoint| endpoint.id == *id);
                    if !stays {
                        check.stop();
                    }
                    stays
                });
                for endpoint in &endpoints {
                    running.entry(endpoint.id).or_insert_with(|| {
                        let own = checks.child();
                        let check = check(
                            Arc::clone(&service),
                            Arc::clone(endpoint),
                            settings.clone(),
                            health.clone(),
                        );
                        own.spawn("check an instance", check);
                        own
                    });
                }
                tokio::time::sleep(LOOK).await;
            }
        });
    }
}

/// Checks one instance for ever.
async fn check(
    service: Arc<Service>,
    endpoint: Arc<Endpoint>,
    settings: model::Service,
    health: model::Health,
) {
    let target = match target(&endpoint, &settings, &health) {
        Ok(target) => target,
        Err(reason) => {
            tracing::error!(service = %service.name(), "an instance cannot be checked: {reason}");
            return;
        }
    };
    let mut good = 0_u32;
    let mut bad = 0_u32;
    loop {
        match probe(&target, health.timeout).await {
            Ok(_) => (good, bad) = (good.saturating_add(1), 0),
            Err(reason) => {
                (good, bad) = (0, bad.saturating_add(1));
                if bad == health.fall {
                    tracing::warn!(
                        service = %service.name(),
                        endpoint = %endpoint.address,
                        "an instance is unhealthy: {reason}"
                    );
                }
            }
        }
        if good >= health.rise {
            service.set_health(&endpoint, CheckedHealth::Healthy, Coarse::now());
        } else if bad >= health.fall {
            service.set_health(&endpoint, CheckedHealth::Unhealthy, Coarse::now());
        }
        // Spread, so that the instances of a service are not all asked at the same moment.
        let spread = 0.9 + 0.2 * fastrand::f64();
        tokio::time::sleep(health.interval.mul_f64(spread)).await;
    }
}

fn target(
    endpoint: &Endpoint,
    settings: &model::Service,
    health: &model::Health,
) -> Result<Target, String> {
    let tls = settings.tls.is_some() || matches!(settings.protocol, Protocol::Https | Protocol::H2);
    let tls_skip_verify = settings.tls.as_ref().is_some_and(|tls| tls.insecure);
    let address = endpoint.address.to_string();
    match &health.kind {
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
            let authority = address.parse().map_err(|_| format!("{address} is no authority"))?;
            Ok(Target::Grpc(Grpc { authority, service: service.clone(), tls, tls_skip_verify }))
        }
    }
}
