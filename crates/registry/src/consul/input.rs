//! The JSON that is read, in Consul's shapes, and the conversion out of it, with Consul's rules
//! about what fits together.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, Method};
use posthouse_probe::{Grpc, Http, MAX_OUTPUT, Target};
use serde::Deserialize;

use super::duration::GoDuration;
use super::reply::Fault;
use crate::runner::cut;
use crate::state::{
    CheckDefinition, CheckId, CheckKind, Instance, InstanceId, NewCheck, Probe, ServiceAddress,
    Status, Thresholds, Weights,
};

/// The shortest time that an instance may be critical before it is deregistered.
const MIN_DEREGISTER_AFTER: Duration = Duration::from_secs(60);

/// How long a probe may take when its check does not say.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);

/// How many redirects an HTTP check follows, unless it follows none.
const MAX_REDIRECTS: u8 = 10;

/// The body of `agent/service/register`, and the `Service` of `catalog/register` (whose name is
/// under `Service`).
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(crate) struct ServiceInput {
    #[serde(rename = "ID")]
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) service: String,
    kind: String,
    tags: Vec<String>,
    address: String,
    port: i64,
    meta: BTreeMap<String, String>,
    weights: Option<WeightsInput>,
    tagged_addresses: BTreeMap<String, AddressInput>,
    enable_tag_override: bool,
    check: Option<CheckInput>,
    checks: Vec<CheckInput>,
    connect: ConnectInput,
    /// For transactions.
    pub(crate) modify_index: u64,
}

/// Known only to be refused: who asks to be in a service mesh must not believe to be.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct ConnectInput {
    native: bool,
    sidecar_service: Option<serde::de::IgnoredAny>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct WeightsInput {
    passing: i64,
    warning: i64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct AddressInput {
    address: String,
    port: i64,
}

/// A check of a registration, and the body of `agent/check/register`.
#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(crate) struct CheckInput {
    #[serde(rename = "ID")]
    id: String,
    #[serde(rename = "CheckID")]
    check_id: String,
    pub(crate) name: String,
    notes: String,
    #[serde(rename = "ServiceID")]
    pub(crate) service_id: String,
    status: String,
    #[serde(rename = "TTL")]
    ttl: GoDuration,
    #[serde(rename = "HTTP")]
    http: String,
    method: String,
    header: BTreeMap<String, Vec<String>>,
    body: String,
    #[serde(rename = "TLSSkipVerify")]
    tls_skip_verify: bool,
    #[serde(rename = "TCP")]
    tcp: String,
    #[serde(rename = "GRPC")]
    grpc: String,
    #[serde(rename = "GRPCUseTLS")]
    grpc_use_tls: bool,
    disable_redirects: bool,
    interval: GoDuration,
    timeout: GoDuration,
    success_before_passing: i64,
    failures_before_warning: Option<i64>,
    failures_before_critical: i64,
    deregister_critical_service_after: GoDuration,
    // What follows is known only to be refused: it would run programs here, or is another's.
    args: Vec<String>,
    script_args: Vec<String>,
    script: String,
    #[serde(rename = "DockerContainerID")]
    docker_container_id: String,
    alias_node: String,
    alias_service: String,
    #[serde(rename = "UDP")]
    udp: String,
    #[serde(rename = "H2PING")]
    h2ping: String,
    #[serde(rename = "OSService")]
    os_service: String,
}

impl ServiceInput {
    /// The instance, named `name`.
    pub(crate) fn instance(&mut self, name: String) -> Result<Instance, Fault> {
        if !self.kind.is_empty() {
            let text = format!("services of kind {:?} (service mesh) are not supported", self.kind);
            return Err(Fault::bad(text));
        }
        if self.connect.native || self.connect.sidecar_service.is_some() {
            return Err(Fault::bad("Invalid Connect: a service mesh is not supported"));
        }
        let id = Some(std::mem::take(&mut self.id)).filter(|id| !id.is_empty());
        let id = id.unwrap_or_else(|| name.clone());
        let port = port(self.port)?;
        let address = std::mem::take(&mut self.address);
        if let Ok(ip) = address.parse::<IpAddr>()
            && ip.is_unspecified()
        {
            return Err(Fault::bad("Invalid service address: an instance cannot be reached at it"));
        }
        let mut tagged_addresses = BTreeMap::new();
        for (tag, of) in std::mem::take(&mut self.tagged_addresses) {
            let address = ServiceAddress { address: of.address, port: self::port(of.port)? };
            tagged_addresses.insert(tag, address);
        }
        if let Ok(ip) = address.parse::<IpAddr>() {
            let family = if ip.is_ipv4() { "ipv4" } else { "ipv6" };
            for place in ["lan", "wan"] {
                let own = ServiceAddress { address: address.clone(), port };
                tagged_addresses.entry(format!("{place}_{family}")).or_insert(own);
            }
        }
        Ok(Instance {
            id: id.into(),
            service: name.into(),
            tags: std::mem::take(&mut self.tags),
            address,
            port,
            meta: std::mem::take(&mut self.meta),
            weights: self.weights.as_ref().map_or(Ok(Weights::default()), weights)?,
            tagged_addresses,
            enable_tag_override: self.enable_tag_override,
        })
    }

    /// The checks of the instance, with the ids that Consul gives to those that have none.
    pub(crate) fn checks(
        &mut self,
        instance: &Instance,
        min_interval: Duration,
    ) -> Result<Vec<NewCheck>, Fault> {
        let one = self.check.take().filter(|check| *check != CheckInput::default());
        let many = std::mem::take(&mut self.checks);
        let count = usize::from(one.is_some()) + many.len();
        let all = one.into_iter().chain(many).enumerate().map(|(number, mut check)| {
            if check.name.is_empty() {
                check.name = format!("Service '{}' check", instance.service);
            }
            let id = match check.take_id() {
                Some(id) => id,
                None if count == 1 => format!("service:{}", instance.id),
                None => format!("service:{}:{}", instance.id, number + 1),
            };
            check.check(id.into(), Some(instance.id.clone()), min_interval)
        });
        all.collect()
    }
}

impl CheckInput {
    /// The id, if there is one. (In a body of its own it is `ID`, in a registration `CheckID`; both
    /// are read in both.)
    pub(crate) fn take_id(&mut self) -> Option<String> {
        let ids = [std::mem::take(&mut self.check_id), std::mem::take(&mut self.id)];
        ids.into_iter().find(|id| !id.is_empty())
    }

    /// The check under this id.
    pub(crate) fn check(
        self,
        id: CheckId,
        instance: Option<InstanceId>,
        min_interval: Duration,
    ) -> Result<NewCheck, Fault> {
        let kind = self.kind(min_interval)?;
        let after = self.deregister_critical_service_after.0;
        let definition = CheckDefinition {
            id,
            instance,
            kind,
            deregister_after: (!after.is_zero()).then(|| after.max(MIN_DEREGISTER_AFTER)),
            name: self.name,
            notes: self.notes,
        };
        let status = match self.status.as_str() {
            "" => None,
            word => Some(Status::parse(word).ok_or_else(|| {
                Fault::bad("Bad check status: it is passing, warning or critical")
            })?),
        };
        Ok(NewCheck { definition, status, output: String::new() })
    }

    fn kind(&self, min_interval: Duration) -> Result<CheckKind, Fault> {
        let invalid = |why: &str| Err(Fault::bad(format!("Invalid check: {why}")));
        if !(self.args.is_empty() && self.script_args.is_empty() && self.script.is_empty()) {
            return invalid("scripts are not run here; use an HTTP, TCP, gRPC or TTL check");
        }
        let others = [
            (&self.docker_container_id, "Docker"),
            (&self.alias_node, "alias"),
            (&self.alias_service, "alias"),
            (&self.udp, "UDP"),
            (&self.h2ping, "H2PING"),
            (&self.os_service, "OSService"),
        ];
        if let Some((_, kind)) = others.iter().find(|(field, _)| !field.is_empty()) {
            return invalid(&format!("{kind} checks are not supported"));
        }
        let (ttl, interval) = (self.ttl.0, self.interval.0);
        let Some(target) = self.target()? else {
            return match (ttl.is_zero(), interval.is_zero()) {
                (true, _) => invalid("TTL must be > 0 for TTL checks"),
                (false, false) => invalid("Interval and TTL cannot both be specified"),
                (false, true) => Ok(CheckKind::Ttl(ttl)),
            };
        };
        if !ttl.is_zero() {
            return invalid("Interval and TTL cannot both be specified");
        }
        if interval.is_zero() {
            return invalid("Interval must be > 0 for HTTP, TCP and gRPC checks");
        }
        let timeout = self.timeout.0;
        Ok(CheckKind::Probe(Box::new(Probe {
            target,
            interval: interval.max(min_interval),
            timeout: if timeout.is_zero() { DEFAULT_TIMEOUT } else { timeout },
            thresholds: self.thresholds()?,
        })))
    }

    fn target(&self) -> Result<Option<Target>, Fault> {
        let invalid = |why: String| Fault::bad(format!("Invalid check: {why}"));
        let given = [&self.http, &self.tcp, &self.grpc].iter().filter(|f| !f.is_empty()).count();
        if given > 1 {
            return Err(invalid("it has more than one of HTTP, TCP and GRPC".into()));
        }
        if !self.http.is_empty() {
            let mut http = Http::get(&self.http).map_err(|error| invalid(error.to_string()))?;
            if !self.method.is_empty() {
                http.method = Method::from_bytes(self.method.as_bytes())
                    .map_err(|_error| invalid(format!("{:?} is not a method", self.method)))?;
            }
            http.headers = headers(&self.header)
                .ok_or_else(|| invalid("Header holds a name or value that HTTP forbids".into()))?;
            http.body = self.body.clone().into();
            http.tls_skip_verify = self.tls_skip_verify;
            http.redirects = if self.disable_redirects { 0 } else { MAX_REDIRECTS };
            return Ok(Some(Target::Http(http)));
        }
        if !self.tcp.is_empty() {
            if !has_port(&self.tcp) {
                return Err(invalid(format!("TCP {:?} is not host:port", self.tcp)));
            }
            return Ok(Some(Target::Tcp { address: self.tcp.clone() }));
        }
        if self.grpc.is_empty() {
            return Ok(None);
        }
        let (address, service) = self.grpc.split_once('/').unwrap_or((&self.grpc, ""));
        let authority = address.parse().ok().filter(|_| has_port(address));
        Ok(Some(Target::Grpc(Grpc {
            authority: authority
                .ok_or_else(|| invalid(format!("GRPC {:?} is not host:port", self.grpc)))?,
            service: service.to_owned(),
            tls: self.grpc_use_tls,
            tls_skip_verify: self.tls_skip_verify,
        })))
    }

    fn thresholds(&self) -> Result<Thresholds, Fault> {
        let count = |name: &str, value: i64| {
            let text = format!("Invalid check: {name} is out of range");
            u32::try_from(value).map_err(|_error| Fault::bad(text))
        };
        let failures_before_critical =
            count("FailuresBeforeCritical", self.failures_before_critical)?;
        let warning = self.failures_before_warning.unwrap_or(self.failures_before_critical);
        let failures_before_warning = count("FailuresBeforeWarning", warning)?;
        if failures_before_warning > failures_before_critical {
            let text = "Invalid check: FailuresBeforeWarning is above FailuresBeforeCritical";
            return Err(Fault::bad(text));
        }
        Ok(Thresholds {
            success_before_passing: count("SuccessBeforePassing", self.success_before_passing)?,
            failures_before_warning,
            failures_before_critical,
        })
    }
}

/// The body of `agent/check/update`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(crate) struct CheckUpdate {
    pub(crate) status: String,
    pub(crate) output: String,
}

/// The body of `catalog/register`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(crate) struct CatalogRegistration {
    #[serde(rename = "ID")]
    pub(crate) id: String,
    pub(crate) node: String,
    pub(crate) address: String,
    pub(crate) datacenter: String,
    pub(crate) tagged_addresses: BTreeMap<String, String>,
    pub(crate) node_meta: BTreeMap<String, String>,
    pub(crate) service: Option<ServiceInput>,
    pub(crate) check: Option<CatalogCheck>,
    pub(crate) checks: Vec<CatalogCheck>,
    pub(crate) skip_node_update: bool,
}

/// A check of `catalog/register`: whoever writes it also runs it.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(crate) struct CatalogCheck {
    /// For transactions.
    pub(crate) node: String,
    #[serde(rename = "CheckID")]
    check_id: String,
    name: String,
    status: String,
    notes: String,
    output: String,
    #[serde(rename = "ServiceID")]
    service_id: String,
    #[serde(rename = "Type")]
    kind: String,
    /// For transactions.
    pub(crate) modify_index: u64,
}

impl CatalogCheck {
    pub(crate) fn check(self) -> Result<NewCheck, Fault> {
        let id = if self.check_id.is_empty() { self.name.clone() } else { self.check_id };
        if id.is_empty() {
            return Err(Fault::bad("Must provide a name or CheckID with a check"));
        }
        let status = match self.status.as_str() {
            "" => Status::Critical,
            word => Status::parse(word).ok_or_else(|| Fault::bad("Bad check status"))?,
        };
        let definition = CheckDefinition {
            id: id.into(),
            name: self.name,
            notes: self.notes,
            instance: (!self.service_id.is_empty()).then(|| self.service_id.into()),
            kind: CheckKind::External(self.kind),
            deregister_after: None,
        };
        Ok(NewCheck { definition, status: Some(status), output: cut(self.output, MAX_OUTPUT) })
    }
}

/// The body of `catalog/deregister`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(crate) struct CatalogDeregistration {
    pub(crate) node: String,
    pub(crate) datacenter: String,
    #[serde(rename = "ServiceID")]
    pub(crate) service_id: String,
    #[serde(rename = "CheckID")]
    pub(crate) check_id: String,
}

fn port(port: i64) -> Result<u16, Fault> {
    u16::try_from(port)
        .map_err(|_error| Fault::bad(format!("Invalid port {port}: it is 0 to 65535")))
}

fn weights(given: &WeightsInput) -> Result<Weights, Fault> {
    let weight = |name: &str, value: i64| match u32::try_from(value) {
        Ok(weight) if weight <= 65_535 => Ok(weight),
        _ => Err(Fault::bad(format!("Invalid Weights: {name} must be 0 to 65535"))),
    };
    let passing = weight("Passing", given.passing)?;
    if passing == 0 {
        return Err(Fault::bad("Invalid Weights: Passing must be greater than 0"));
    }
    Ok(Weights { passing, warning: weight("Warning", given.warning)? })
}

fn headers(given: &BTreeMap<String, Vec<String>>) -> Option<HeaderMap> {
    let mut headers = HeaderMap::new();
    for (name, values) in given {
        let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
        for value in values {
            headers.append(name.clone(), HeaderValue::from_str(value).ok()?);
        }
    }
    Some(headers)
}

fn has_port(address: &str) -> bool {
    address.rsplit_once(':').is_some_and(|(host, port)| {
        !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port != 0)
    })
}
