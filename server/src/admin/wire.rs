//! The shapes of the admin API's answers.

use std::collections::BTreeMap;

use posthouse_base::config::Severity;
use posthouse_gateway::cluster::view::{EndpointState, EndpointView};
use posthouse_gateway::view::RouteView;
use posthouse_registry as registry;
use serde::Serialize;
#[cfg(test)]
use utoipa::ToSchema;

use crate::config;
use crate::control;

/// The services that can be called.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(ToSchema))]
pub(super) struct Services {
    /// By name.
    pub(super) services: Vec<ServiceSummary>,
}

/// A service in short.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(ToSchema))]
pub(super) struct ServiceSummary {
    /// Its name.
    pub(super) name: String,
    /// Where its instances are known from.
    pub(super) origin: Origin,
    /// How many instances it has.
    pub(super) instances: usize,
    /// How many of them are healthy.
    pub(super) healthy: usize,
}

/// Where the instances of a service are known from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(ToSchema))]
#[serde(rename_all = "lowercase")]
pub(super) enum Origin {
    /// The configuration file.
    File,
    /// The registry.
    Registry,
}

/// Instances of one service or of all.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(ToSchema))]
pub(super) struct Endpoints {
    /// By service, then by node and id.
    pub(super) endpoints: Vec<Endpoint>,
}

/// A service with its instances.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(ToSchema))]
pub(super) struct Service {
    /// In short.
    #[serde(flatten)]
    pub(super) summary: ServiceSummary,
    /// Its instances.
    pub(super) endpoints: Vec<Endpoint>,
}

/// An instance.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(ToSchema))]
pub(super) struct Endpoint {
    /// Its service.
    pub(super) service: String,
    /// `HOST:PORT`.
    pub(super) address: String,
    /// Its share relative to the others.
    pub(super) weight: u32,
    /// Whether it gets calls, or may get them when there is no gateway here.
    pub(super) healthy: bool,
    /// What the gateway sees of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) live: Option<Live>,
    /// What the registry knows of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) registration: Option<Registration>,
}

/// What the gateway sees of an instance.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(ToSchema))]
pub(super) struct Live {
    /// `healthy`, `warming`, `unhealthy`, `maintenance`, `ejected`, `suspect` or `draining`.
    pub(super) state: String,
    /// For how much longer it is ejected.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) ejected_for_ms: Option<u64>,
    /// How it is spoken to.
    pub(super) protocol: String,
    /// Calls under way.
    pub(super) in_flight: u32,
    /// Connections open or being opened.
    pub(super) connections: u32,
    /// Typical time to the header of an answer, in microseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) latency_us: Option<u64>,
    /// Calls that ended.
    pub(super) requests: u64,
    /// Calls that failed.
    pub(super) failures: u64,
}

/// The routes in force.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(ToSchema))]
pub(super) struct Routes {
    /// In the order of the file, then those that services bring.
    pub(super) routes: Vec<Route>,
    /// Routes that services bring and that are not taken.
    pub(super) refused: Vec<RefusedRoute>,
}

/// A route that a service brings and that is not taken.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(ToSchema))]
pub(super) struct RefusedRoute {
    /// The service.
    pub(super) service: String,
    /// The last part of its key, or its tag.
    pub(super) name: String,
    /// Why it is not taken.
    pub(super) reason: String,
}

/// A route.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(ToSchema))]
pub(super) struct Route {
    /// Its name.
    pub(super) name: String,
    /// Which hosts; `*` for all.
    pub(super) host: String,
    /// Which paths; `*` for all.
    pub(super) path: String,
    /// Which methods; all if empty.
    pub(super) methods: Vec<String>,
    /// The services that share its calls.
    pub(super) services: Vec<Share>,
    /// `forward`, `redirect` or `respond`.
    pub(super) action: String,
}

/// A service's share of a route's calls.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(ToSchema))]
pub(super) struct Share {
    /// The service.
    pub(super) service: String,
    /// Its share relative to the others.
    pub(super) weight: u32,
}

/// What the registry knows of an instance.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(ToSchema))]
pub(super) struct Registration {
    /// Its id, unique on its node.
    pub(super) id: String,
    /// Its node.
    pub(super) node: String,
    /// `passing`, `warning` or `critical`: the worst of its checks.
    pub(super) status: String,
    /// Words to select it by.
    pub(super) tags: Vec<String>,
    /// What its owner says about it.
    pub(super) meta: BTreeMap<String, String>,
}

/// The nodes in the registry.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(ToSchema))]
pub(super) struct Nodes {
    /// By name.
    pub(super) nodes: Vec<Node>,
}

/// A node.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(ToSchema))]
pub(super) struct Node {
    /// Its name.
    pub(super) name: String,
    /// Its address.
    pub(super) address: String,
    /// What its owner says about it.
    pub(super) meta: BTreeMap<String, String>,
}

/// The configuration in force.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(ToSchema))]
pub(super) struct Configuration {
    /// Counted from 1, one more for each that was taken.
    pub(super) version: u64,
    /// Since when it is in force, in milliseconds since 1970.
    pub(super) since_ms: u64,
    /// Where it is read from.
    pub(super) source: String,
    /// How the last reading went.
    pub(super) last_reload: Reload,
}

/// How a reading of the configuration went.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(ToSchema))]
pub(super) struct Reload {
    /// When, in milliseconds since 1970.
    pub(super) at_ms: u64,
    /// `start`, `signal`, `file` or `api`.
    pub(super) cause: String,
    /// Whether it was taken; otherwise the one before is still in force.
    pub(super) taken: bool,
    /// What was found about it.
    pub(super) findings: Vec<Finding>,
    /// What went wrong apart from the findings.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) error: Option<String>,
    /// Sections whose changes take effect at the next start only.
    pub(super) waiting_for_restart: Vec<String>,
}

/// Something found about a configuration.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(ToSchema))]
pub(super) struct Finding {
    /// `error`: it is refused for this; `warning`: it works, but perhaps not as meant.
    pub(super) severity: String,
    /// Counted from 1.
    pub(super) line: usize,
    /// Counted from 1, in characters.
    pub(super) column: usize,
    /// Which value: `routes[2].match.path`.
    pub(super) path: String,
    /// What is wrong.
    pub(super) message: String,
    /// What was probably meant, or what mends it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) help: Option<String>,
}

/// What was found about a configuration that was sent.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(ToSchema))]
pub(super) struct CheckResult {
    /// Whether it can be run.
    pub(super) ok: bool,
    /// By place.
    pub(super) findings: Vec<Finding>,
}

/// Problem details (RFC 9457).
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(ToSchema))]
pub(super) struct ProblemDetails {
    /// The kind of problem.
    #[serde(rename = "type")]
    pub(super) kind: String,
    /// A short name of the kind.
    pub(super) title: String,
    /// The status of the response.
    pub(super) status: u16,
    /// What happened this time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) detail: Option<String>,
    /// The field of the input that is wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) field: Option<String>,
    /// How the reload went that was refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) reload: Option<Reload>,
}

impl From<&config::Findings> for Vec<Finding> {
    fn from(findings: &config::Findings) -> Self {
        let finding = |finding: &config::Located| Finding {
            severity: match finding.severity {
                Severity::Error => "error".into(),
                Severity::Warning => "warning".into(),
            },
            line: finding.line,
            column: finding.column,
            path: finding.path.clone(),
            message: finding.message.clone(),
            help: finding.help.clone(),
        };
        findings.findings.iter().map(finding).collect()
    }
}

impl From<&control::Outcome> for Reload {
    fn from(outcome: &control::Outcome) -> Self {
        Self {
            at_ms: outcome.at.as_millis(),
            cause: outcome.cause.name().into(),
            taken: outcome.taken,
            findings: (&outcome.findings).into(),
            error: outcome.error.clone(),
            waiting_for_restart: outcome.waiting.clone(),
        }
    }
}

impl Endpoint {
    /// An instance as the registry has it.
    pub(super) fn registered(service: &str, endpoint: &registry::Endpoint) -> Self {
        let weight = match endpoint.status {
            registry::Status::Warning => endpoint.weight_warning,
            _ => endpoint.weight_passing,
        };
        Self {
            service: service.into(),
            address: host_and_port(&endpoint.address, endpoint.port),
            weight,
            healthy: endpoint.status != registry::Status::Critical,
            live: None,
            registration: Some(Registration {
                id: endpoint.id.clone(),
                node: endpoint.node.clone(),
                status: endpoint.status.as_str().into(),
                tags: endpoint.tags.clone(),
                meta: endpoint.meta.clone(),
            }),
        }
    }
}

impl Endpoint {
    /// An instance as the gateway sees it, with its registration if it has one.
    pub(super) fn seen(service: &str, view: &EndpointView, known: Option<Registration>) -> Self {
        Self {
            service: service.into(),
            address: view.address.to_string(),
            weight: view.weight,
            healthy: matches!(view.state, EndpointState::Healthy | EndpointState::Warming(_)),
            live: Some(Live::from(view)),
            registration: known,
        }
    }
}

impl From<&EndpointView> for Live {
    fn from(view: &EndpointView) -> Self {
        let (state, ejected_for) = match view.state {
            EndpointState::Healthy => ("healthy", None),
            EndpointState::Warming(_) => ("warming", None),
            EndpointState::Unhealthy => ("unhealthy", None),
            EndpointState::Maintenance => ("maintenance", None),
            EndpointState::Ejected(time) => ("ejected", Some(time)),
            EndpointState::Suspect => ("suspect", None),
            EndpointState::Draining => ("draining", None),
        };
        let number = |value: u128| u64::try_from(value).unwrap_or(u64::MAX);
        Self {
            state: state.into(),
            ejected_for_ms: ejected_for.map(|time| number(time.as_millis())),
            protocol: format!("{:?}", view.protocol).to_lowercase(),
            in_flight: view.in_flight,
            connections: view.connections,
            latency_us: view.latency.map(|time| number(time.as_micros())),
            requests: view.requests,
            failures: view.failures,
        }
    }
}

impl From<&RouteView> for Route {
    fn from(view: &RouteView) -> Self {
        let share = |(service, weight): &(std::sync::Arc<str>, u32)| Share {
            service: service.to_string(),
            weight: *weight,
        };
        Self {
            name: view.name.to_string(),
            host: view.host.clone(),
            path: view.path.clone(),
            methods: view.methods.clone(),
            services: view.services.iter().map(share).collect(),
            action: view.answers.unwrap_or("forward").into(),
        }
    }
}

/// An IPv6 address needs brackets before a port.
fn host_and_port(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}
