//! Nodes, instances and checks as they are written.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, Method};
use posthouse_base::time::Timestamp;
use posthouse_probe::{Grpc, Http, Target};
use serde::{Deserialize, Serialize};

use super::{Unreadable, is_default};
use crate::state::{self, CheckKind, Image, Index, NodeImage, Stored, Thresholds, Weights};

type Text = Arc<str>;

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Event {
    Began { own: Text, start: u64 },
    NodeSet(Node),
    NodeRemoved { node: Text },
    InstanceSet { node: Text, instance: Instance },
    InstanceRemoved { node: Text, id: Text, cause: Cause },
    CheckSet { node: Text, check: Definition, status: Status, output: String, at: u64 },
    CheckRemoved { node: Text, id: Text },
    StatusChanged { node: Text, id: Text, status: Status, output: String, at: u64 },
    Expired { node: Text, id: Text, output: String, at: u64 },
}

#[derive(Serialize, Deserialize)]
pub(super) struct Checkpoint {
    own: Text,
    index: u64,
    services_index: u64,
    nodes_index: u64,
    checks_index: u64,
    floor: u64,
    nodes: Vec<NodeWith>,
    services: Vec<(Text, u64)>,
    tombstones: Vec<(Text, u64)>,
}

#[derive(Serialize, Deserialize)]
struct NodeWith {
    node: At<Node>,
    index: u64,
    #[serde(default, skip_serializing_if = "is_default")]
    instances: Vec<At<Instance>>,
    #[serde(default, skip_serializing_if = "is_default")]
    checks: Vec<At<Check>>,
}

/// A thing, when it came and when it last changed.
#[derive(PartialEq, Serialize, Deserialize)]
struct At<T>(T, u64, u64);

#[derive(PartialEq, Serialize, Deserialize)]
pub(super) struct Node {
    name: Text,
    #[serde(default, skip_serializing_if = "is_default")]
    id: String,
    #[serde(default, skip_serializing_if = "is_default")]
    address: String,
    #[serde(default, skip_serializing_if = "is_default")]
    tagged_addresses: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "is_default")]
    meta: BTreeMap<String, String>,
}

#[derive(PartialEq, Serialize, Deserialize)]
pub(super) struct Instance {
    id: Text,
    service: Text,
    #[serde(default, skip_serializing_if = "is_default")]
    tags: Vec<String>,
    #[serde(default, skip_serializing_if = "is_default")]
    address: String,
    #[serde(default, skip_serializing_if = "is_default")]
    port: u16,
    #[serde(default, skip_serializing_if = "is_default")]
    meta: BTreeMap<String, String>,
    /// Passing and warning.
    weights: (u32, u32),
    #[serde(default, skip_serializing_if = "is_default")]
    tagged_addresses: BTreeMap<String, (String, u16)>,
    #[serde(default, skip_serializing_if = "is_default")]
    enable_tag_override: bool,
}

#[derive(PartialEq, Serialize, Deserialize)]
struct Check {
    #[serde(flatten)]
    definition: Definition,
    status: Status,
    #[serde(default, skip_serializing_if = "is_default")]
    output: String,
    #[serde(default, skip_serializing_if = "is_default")]
    critical_since: Option<u64>,
    /// When it expires, of a TTL check that has not.
    #[serde(default, skip_serializing_if = "is_default")]
    expires: Option<u64>,
    run: u64,
}

/// Times in milliseconds.
#[derive(PartialEq, Serialize, Deserialize)]
pub(super) struct Definition {
    id: Text,
    #[serde(default, skip_serializing_if = "is_default")]
    name: String,
    #[serde(default, skip_serializing_if = "is_default")]
    notes: String,
    #[serde(default, skip_serializing_if = "is_default")]
    instance: Option<Text>,
    kind: Kind,
    #[serde(default, skip_serializing_if = "is_default")]
    deregister_after: Option<u64>,
}

#[derive(PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    External(String),
    Membership,
    Maintenance,
    Ttl(u64),
    Probe {
        target: Box<Probed>,
        interval: u64,
        timeout: u64,
        /// Successes before passing, failures before warning and before critical.
        #[serde(default, skip_serializing_if = "is_default")]
        thresholds: (u32, u32, u32),
    },
}

#[derive(PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Probed {
    Http {
        tls: bool,
        authority: String,
        path: String,
        method: String,
        #[serde(default, skip_serializing_if = "is_default")]
        headers: Vec<(String, String)>,
        #[serde(default, skip_serializing_if = "is_default")]
        body: String,
        #[serde(default, skip_serializing_if = "is_default")]
        tls_skip_verify: bool,
        redirects: u8,
        healthy: (u16, u16),
        degraded: (u16, u16),
    },
    Tcp {
        address: String,
    },
    Grpc {
        authority: String,
        #[serde(default, skip_serializing_if = "is_default")]
        service: String,
        tls: bool,
        #[serde(default, skip_serializing_if = "is_default")]
        tls_skip_verify: bool,
    },
}

#[derive(PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Status {
    Passing,
    Warning,
    Critical,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Cause {
    Asked,
    Critical,
}

impl Event {
    /// `None` when the event is volatile: what a check last said, and when it last reported.
    pub(super) fn of(event: &state::Event) -> Option<Self> {
        use state::Event as Is;
        Some(match event {
            Is::OutputChanged { .. } | Is::Renewed { .. } => return None,
            // Written elsewhere.
            Is::Kv(_) | Is::Session(_) | Is::UserEvent(_) => return None,
            Is::Began { own, start } => Self::Began { own: own.to_shared(), start: start.get() },
            Is::NodeSet(node) => Self::NodeSet(node.into()),
            Is::NodeRemoved(name) => Self::NodeRemoved { node: name.to_shared() },
            Is::InstanceSet { node, instance } => {
                Self::InstanceSet { node: node.to_shared(), instance: instance.into() }
            }
            Is::InstanceRemoved { node, id, cause } => Self::InstanceRemoved {
                node: node.to_shared(),
                id: id.to_shared(),
                cause: cause.into(),
            },
            Is::CheckSet { node, definition, status, output, at } => Self::CheckSet {
                node: node.to_shared(),
                check: definition.into(),
                status: (*status).into(),
                output: output.clone(),
                at: at.as_millis(),
            },
            Is::CheckRemoved { node, id } => {
                Self::CheckRemoved { node: node.to_shared(), id: id.to_shared() }
            }
            Is::StatusChanged { node, id, status, output, at } => Self::StatusChanged {
                node: node.to_shared(),
                id: id.to_shared(),
                status: (*status).into(),
                output: output.clone(),
                at: at.as_millis(),
            },
            Is::Expired { node, id, output, at } => Self::Expired {
                node: node.to_shared(),
                id: id.to_shared(),
                output: output.clone(),
                at: at.as_millis(),
            },
        })
    }

    pub(super) fn read(self) -> Result<state::Event, Unreadable> {
        use state::Event as Is;
        Ok(match self {
            Self::Began { own, start } => Is::Began { own: own.into(), start: Index::new(start) },
            Self::NodeSet(node) => Is::NodeSet(node.read()),
            Self::NodeRemoved { node } => Is::NodeRemoved(node.into()),
            Self::InstanceSet { node, instance } => {
                Is::InstanceSet { node: node.into(), instance: instance.read() }
            }
            Self::InstanceRemoved { node, id, cause } => {
                let cause = match cause {
                    Cause::Asked => state::Cause::Asked,
                    Cause::Critical => state::Cause::Critical,
                };
                Is::InstanceRemoved { node: node.into(), id: id.into(), cause }
            }
            Self::CheckSet { node, check, status, output, at } => Is::CheckSet {
                node: node.into(),
                definition: check.read()?,
                status: status.read(),
                output,
                at: Timestamp::from_millis(at),
            },
            Self::CheckRemoved { node, id } => {
                Is::CheckRemoved { node: node.into(), id: id.into() }
            }
            Self::StatusChanged { node, id, status, output, at } => Is::StatusChanged {
                node: node.into(),
                id: id.into(),
                status: status.read(),
                output,
                at: Timestamp::from_millis(at),
            },
            Self::Expired { node, id, output, at } => Is::Expired {
                node: node.into(),
                id: id.into(),
                output,
                at: Timestamp::from_millis(at),
            },
        })
    }
}

impl From<&Image> for Checkpoint {
    fn from(image: &Image) -> Self {
        let indexes = |list: &[(state::ServiceName, Index)]| {
            list.iter().map(|(name, index)| (name.to_shared(), index.get())).collect()
        };
        let nodes = image.nodes.iter().map(|image| NodeWith {
            node: At::of(&image.node),
            index: image.index.get(),
            instances: image.instances.iter().map(At::of).collect(),
            checks: image.checks.iter().map(At::of).collect(),
        });
        Self {
            own: image.own.to_shared(),
            index: image.index.get(),
            services_index: image.services_index.get(),
            nodes_index: image.nodes_index.get(),
            checks_index: image.checks_index.get(),
            floor: image.floor.get(),
            nodes: nodes.collect(),
            services: indexes(&image.services),
            tombstones: indexes(&image.tombstones),
        }
    }
}

impl Checkpoint {
    pub(super) fn read(self) -> Result<Image, Unreadable> {
        let indexes = |list: Vec<(Text, u64)>| {
            list.into_iter().map(|(name, index)| (name.into(), Index::new(index))).collect()
        };
        let nodes = self.nodes.into_iter().map(|node| {
            let checks = node.checks.into_iter().map(|check| check.read(Check::read));
            let instances = node.instances.into_iter();
            Ok(NodeImage {
                node: node.node.read(|node| Ok(node.read()))?,
                index: Index::new(node.index),
                instances: instances
                    .map(|instance| instance.read(|instance| Ok(instance.read())))
                    .collect::<Result<_, Unreadable>>()?,
                checks: checks.collect::<Result<_, Unreadable>>()?,
            })
        });
        Ok(Image {
            own: self.own.into(),
            index: Index::new(self.index),
            services_index: Index::new(self.services_index),
            nodes_index: Index::new(self.nodes_index),
            checks_index: Index::new(self.checks_index),
            floor: Index::new(self.floor),
            nodes: nodes.collect::<Result<_, Unreadable>>()?,
            services: indexes(self.services),
            tombstones: indexes(self.tombstones),
            kv: Default::default(),
            sessions: Default::default(),
        })
    }
}

impl<T> At<T> {
    fn of<'a, V>(stored: &'a Arc<Stored<V>>) -> Self
    where
        T: From<&'a V>,
    {
        Self(T::from(&stored.value), stored.created.get(), stored.modified.get())
    }

    fn read<V>(
        self,
        value: impl FnOnce(T) -> Result<V, Unreadable>,
    ) -> Result<Arc<Stored<V>>, Unreadable> {
        let Self(written, created, modified) = self;
        let (created, modified) = (Index::new(created), Index::new(modified));
        Ok(Arc::new(Stored { value: value(written)?, created, modified }))
    }
}

impl From<&state::Node> for Node {
    fn from(node: &state::Node) -> Self {
        Self {
            name: node.name.to_shared(),
            id: node.id.clone(),
            address: node.address.clone(),
            tagged_addresses: node.tagged_addresses.clone(),
            meta: node.meta.clone(),
        }
    }
}

impl Node {
    fn read(self) -> state::Node {
        let Self { name, id, address, tagged_addresses, meta } = self;
        state::Node { name: name.into(), id, address, tagged_addresses, meta }
    }
}

impl From<&state::Instance> for Instance {
    fn from(instance: &state::Instance) -> Self {
        let tagged = instance.tagged_addresses.iter();
        let tagged = tagged.map(|(tag, to)| (tag.clone(), (to.address.clone(), to.port)));
        Self {
            id: instance.id.to_shared(),
            service: instance.service.to_shared(),
            tags: instance.tags.clone(),
            address: instance.address.clone(),
            port: instance.port,
            meta: instance.meta.clone(),
            weights: (instance.weights.passing, instance.weights.warning),
            tagged_addresses: tagged.collect(),
            enable_tag_override: instance.enable_tag_override,
        }
    }
}

impl Instance {
    fn read(self) -> state::Instance {
        let (passing, warning) = self.weights;
        let tagged = self.tagged_addresses.into_iter();
        let tagged =
            tagged.map(|(tag, (address, port))| (tag, state::ServiceAddress { address, port }));
        state::Instance {
            id: self.id.into(),
            service: self.service.into(),
            tags: self.tags,
            address: self.address,
            port: self.port,
            meta: self.meta,
            weights: Weights { passing, warning },
            tagged_addresses: tagged.collect(),
            enable_tag_override: self.enable_tag_override,
        }
    }
}

impl From<&state::Check> for Check {
    fn from(check: &state::Check) -> Self {
        Self {
            definition: (&check.definition).into(),
            status: check.status.into(),
            output: check.output.clone(),
            critical_since: check.critical_since.map(Timestamp::as_millis),
            expires: check.expires.map(Timestamp::as_millis),
            run: check.run.get(),
        }
    }
}

impl Check {
    fn read(self) -> Result<state::Check, Unreadable> {
        Ok(state::Check {
            definition: self.definition.read()?,
            status: self.status.read(),
            output: self.output,
            critical_since: self.critical_since.map(Timestamp::from_millis),
            expires: self.expires.map(Timestamp::from_millis),
            run: Index::new(self.run),
        })
    }
}

impl From<&state::CheckDefinition> for Definition {
    fn from(definition: &state::CheckDefinition) -> Self {
        Self {
            id: definition.id.to_shared(),
            name: definition.name.clone(),
            notes: definition.notes.clone(),
            instance: definition.instance.as_ref().map(state::InstanceId::to_shared),
            kind: (&definition.kind).into(),
            deregister_after: definition.deregister_after.map(millis),
        }
    }
}

impl Definition {
    fn read(self) -> Result<state::CheckDefinition, Unreadable> {
        Ok(state::CheckDefinition {
            id: self.id.into(),
            name: self.name,
            notes: self.notes,
            instance: self.instance.map(Into::into),
            kind: self.kind.read()?,
            deregister_after: self.deregister_after.map(Duration::from_millis),
        })
    }
}

impl From<&CheckKind> for Kind {
    fn from(kind: &CheckKind) -> Self {
        match kind {
            CheckKind::External(word) => Self::External(word.clone()),
            CheckKind::Membership => Self::Membership,
            CheckKind::Maintenance => Self::Maintenance,
            CheckKind::Ttl(ttl) => Self::Ttl(millis(*ttl)),
            CheckKind::Probe(probe) => Self::Probe {
                target: Box::new((&probe.target).into()),
                interval: millis(probe.interval),
                timeout: millis(probe.timeout),
                thresholds: (
                    probe.thresholds.success_before_passing,
                    probe.thresholds.failures_before_warning,
                    probe.thresholds.failures_before_critical,
                ),
            },
        }
    }
}

impl Kind {
    fn read(self) -> Result<CheckKind, Unreadable> {
        Ok(match self {
            Self::External(word) => CheckKind::External(word),
            Self::Membership => CheckKind::Membership,
            Self::Maintenance => CheckKind::Maintenance,
            Self::Ttl(ttl) => CheckKind::Ttl(Duration::from_millis(ttl)),
            Self::Probe { target, interval, timeout, thresholds } => {
                let (passing, warning, critical) = thresholds;
                CheckKind::Probe(Box::new(state::Probe {
                    target: target.read()?,
                    interval: Duration::from_millis(interval),
                    timeout: Duration::from_millis(timeout),
                    thresholds: Thresholds {
                        success_before_passing: passing,
                        failures_before_warning: warning,
                        failures_before_critical: critical,
                    },
                }))
            }
        })
    }
}

impl From<&Target> for Probed {
    fn from(target: &Target) -> Self {
        // Whatever came in as JSON is text.
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        match target {
            Target::Http(http) => {
                let headers = http.headers.iter();
                let headers =
                    headers.map(|(name, value)| (name.to_string(), text(value.as_bytes())));
                Self::Http {
                    tls: http.tls,
                    authority: http.authority.to_string(),
                    path: http.path.clone(),
                    method: http.method.to_string(),
                    headers: headers.collect(),
                    body: text(&http.body),
                    tls_skip_verify: http.tls_skip_verify,
                    redirects: http.redirects,
                    healthy: (*http.healthy.start(), *http.healthy.end()),
                    degraded: (*http.degraded.start(), *http.degraded.end()),
                }
            }
            Target::Tcp { address } => Self::Tcp { address: address.clone() },
            Target::Grpc(grpc) => Self::Grpc {
                authority: grpc.authority.to_string(),
                service: grpc.service.clone(),
                tls: grpc.tls,
                tls_skip_verify: grpc.tls_skip_verify,
            },
        }
    }
}

impl Probed {
    fn read(self) -> Result<Target, Unreadable> {
        const fn statuses((first, last): (u16, u16)) -> RangeInclusive<u16> {
            first..=last
        }
        Ok(match self {
            Self::Http {
                tls,
                authority,
                path,
                method,
                headers,
                body,
                tls_skip_verify,
                redirects,
                healthy,
                degraded,
            } => {
                let pairs = headers.iter().map(|(name, value)| {
                    let value = HeaderValue::from_bytes(value.as_bytes());
                    Ok((name.parse::<HeaderName>().map_err(bad)?, value.map_err(bad)?))
                });
                Target::Http(Http {
                    tls,
                    authority: authority.parse().map_err(bad)?,
                    path,
                    method: method.parse::<Method>().map_err(bad)?,
                    headers: pairs.collect::<Result<HeaderMap, Unreadable>>()?,
                    body: body.into(),
                    tls_skip_verify,
                    redirects,
                    healthy: statuses(healthy),
                    degraded: statuses(degraded),
                })
            }
            Self::Tcp { address } => Target::Tcp { address },
            Self::Grpc { authority, service, tls, tls_skip_verify } => Target::Grpc(Grpc {
                authority: authority.parse().map_err(bad)?,
                service,
                tls,
                tls_skip_verify,
            }),
        })
    }
}

impl From<state::Status> for Status {
    fn from(status: state::Status) -> Self {
        match status {
            state::Status::Passing => Self::Passing,
            state::Status::Warning => Self::Warning,
            state::Status::Critical => Self::Critical,
        }
    }
}

impl Status {
    const fn read(self) -> state::Status {
        match self {
            Self::Passing => state::Status::Passing,
            Self::Warning => state::Status::Warning,
            Self::Critical => state::Status::Critical,
        }
    }
}

impl From<&state::Cause> for Cause {
    fn from(cause: &state::Cause) -> Self {
        match cause {
            state::Cause::Asked => Self::Asked,
            state::Cause::Critical => Self::Critical,
        }
    }
}

fn bad(error: impl std::error::Error) -> Unreadable {
    Unreadable(error.to_string())
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
