//! Calls services for other parts of the house, by the names under which they are registered: an
//! instance is chosen by weight among those that may get calls, as the gateway sees them where it runs,
//! and else as the registry does.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use http::{HeaderValue, Request, Uri, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use posthouse_broker::push::{self, Reply, Unreached};
use posthouse_gateway::cluster::view::EndpointState;
use posthouse_registry as registry;

use crate::calls::Calls;

/// How long a connection may rest.
const RESTING: Duration = Duration::from_secs(30);
/// Connections that rest, to one instance.
const RESTING_MOST: usize = 32;
/// What of an answer's body is read, so that its connection may be used again.
const MAX_ANSWER: usize = 64 << 10;

/// See the file's head. Clones share their connections.
#[derive(Clone)]
pub(crate) struct Caller {
    calls: Option<Arc<Calls>>,
    registry: Option<registry::Handle>,
    client: Client<HttpConnector, Full<Bytes>>,
}

/// An instance that may get calls.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Instance {
    address: String,
    weight: u32,
}

impl Caller {
    pub(crate) fn new(calls: Option<Arc<Calls>>, registry: Option<registry::Handle>) -> Self {
        let mut builder = Client::builder(TokioExecutor::new());
        builder.pool_idle_timeout(RESTING).pool_max_idle_per_host(RESTING_MOST);
        let client = builder.pool_timer(TokioTimer::new()).build_http();
        Self { calls, registry, client }
    }

    /// Who may get calls for a service.
    async fn instances(&self, service: &str) -> Result<Vec<Instance>, Unreached> {
        let seen = self.calls.as_ref().and_then(|calls| calls.service(service));
        if let Some(seen) = seen.filter(|seen| !seen.endpoints.is_empty()) {
            let may = |state| matches!(state, EndpointState::Healthy | EndpointState::Warming(_));
            let endpoints = seen.endpoints.iter().filter(|endpoint| may(endpoint.state));
            let instance = |endpoint: &posthouse_gateway::cluster::view::EndpointView| Instance {
                address: endpoint.address.to_string(),
                weight: endpoint.weight,
            };
            return Ok(endpoints.map(instance).collect());
        }
        let Some(registry) = &self.registry else { return Ok(Vec::new()) };
        let registered = registry.instances(service).await;
        let registered = registered.map_err(|error| Unreached(error.to_string()))?;
        let healthy = registered
            .iter()
            .filter(|one| !one.maintenance && one.status != registry::Status::Critical);
        let instance = |one: &registry::Endpoint| Instance {
            address: match one.address.contains(':') {
                true => format!("[{}]:{}", one.address, one.port),
                false => format!("{}:{}", one.address, one.port),
            },
            weight: match one.status {
                registry::Status::Warning => one.weight_warning,
                _ => one.weight_passing,
            },
        };
        Ok(healthy.map(instance).collect())
    }

    async fn call(self, service: String, mut request: Request<Bytes>) -> Result<Reply, Unreached> {
        let instances = self.instances(&service).await?;
        let chosen = choose(&instances, fastrand::f64());
        let missing = || Unreached(format!("no instance of `{service}` may get calls now"));
        let authority = &chosen.ok_or_else(missing)?.address;
        let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
        let uri = format!("http://{authority}{path}").parse::<Uri>();
        *request.uri_mut() = uri.map_err(|error| Unreached(error.to_string()))?;
        // By this name the service is called, whichever instance it is.
        let host = HeaderValue::from_str(&service);
        request.headers_mut().insert(header::HOST, host.map_err(|e| Unreached(e.to_string()))?);
        let answered = self.client.request(request.map(Full::new)).await;
        let answer =
            answered.map_err(|error| Unreached(format!("{authority}: {}", root(&error))))?;
        let (head, body) = answer.into_parts();
        // Whatever it says: only the status counts.
        let _read = Limited::new(body, MAX_ANSWER).collect().await;
        let retry_after = head.headers.get(header::RETRY_AFTER);
        let seconds = retry_after.and_then(|value| value.to_str().ok()?.parse().ok());
        let retry_after = seconds.map(Duration::from_secs);
        Ok(Reply { status: head.status.as_u16(), retry_after })
    }
}

impl push::Caller for Caller {
    fn call(
        &self,
        service: &str,
        request: Request<Bytes>,
        patience: Duration,
    ) -> BoxFuture<'static, Result<Reply, Unreached>> {
        let calling = self.clone().call(service.to_owned(), request);
        async move {
            let called = tokio::time::timeout(patience, calling).await;
            called.unwrap_or_else(|_| Err(Unreached("it has not answered in time".into())))
        }
        .boxed()
    }
}

/// The one at this part of all weights; if none has any, at this part of all.
fn choose(instances: &[Instance], at: f64) -> Option<&Instance> {
    let all: u64 = instances.iter().map(|one| u64::from(one.weight)).sum();
    let weight = |one: &Instance| if all > 0 { f64::from(one.weight) } else { 1.0 };
    let mut left = at * instances.iter().map(weight).sum::<f64>();
    let found = instances.iter().find(|one| {
        left -= weight(one);
        left < 0.0
    });
    // Sums of parts may be less than the whole by a hair.
    found.or(instances.last())
}

/// What went wrong at the bottom: the layers above only say that something did.
fn root(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instances_get_calls_by_their_weights() {
        let instances = |weights: &[u32]| -> Vec<Instance> {
            let instance = |weight: &u32| Instance { address: weight.to_string(), weight: *weight };
            weights.iter().map(instance).collect()
        };
        let some = instances(&[1, 0, 3]);
        let at = |part| choose(&some, part).map(|one| one.weight);
        assert_eq!([0.0, 0.24, 0.26, 0.999].map(at), [1, 1, 3, 3].map(Some));
        assert_eq!(choose(&instances(&[0, 0]), 0.6).map(|one| one.weight), Some(0));
        assert_eq!(choose(&[], 0.5), None);
    }
}
