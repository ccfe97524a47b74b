//! The JSON that is sent, in Consul's shapes, and the conversion into it. Every field is always
//! there, but where said otherwise: clients index into these objects, and filters are checked
//! against them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use posthouse_base::time::Timestamp;
use posthouse_probe::Target;
use serde::Serialize;

use super::duration;
use crate::state::{
    Check, CheckDefinition, CheckKind, CheckView, Index, Instance, InstanceView, Node,
    ServiceAddress, Status, Stored,
};

type Map<'a, V> = BTreeMap<&'a str, V>;

/// A node.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct NodeJson<'a> {
    #[serde(rename = "ID")]
    id: &'a str,
    node: &'a str,
    address: &'a str,
    datacenter: &'a str,
    tagged_addresses: &'a BTreeMap<String, String>,
    meta: &'a BTreeMap<String, String>,
    create_index: u64,
    modify_index: u64,
}

/// One of a service's other addresses.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct AddressJson<'a> {
    address: &'a str,
    port: u16,
}

/// How much work an instance wants.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct WeightsJson {
    passing: u32,
    warning: u32,
}

/// An instance, inside of an element of `health/service` or `catalog/node`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct ServiceJson<'a> {
    #[serde(rename = "ID")]
    id: &'a str,
    service: &'a str,
    tags: &'a [String],
    address: &'a str,
    tagged_addresses: Map<'a, AddressJson<'a>>,
    meta: &'a BTreeMap<String, String>,
    port: u16,
    weights: WeightsJson,
    enable_tag_override: bool,
    create_index: u64,
    modify_index: u64,
}

/// An instance, as its agent shows it: without tagged addresses when there are none.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct AgentServiceJson<'a> {
    #[serde(rename = "ID")]
    id: &'a str,
    service: &'a str,
    tags: &'a [String],
    meta: &'a BTreeMap<String, String>,
    port: u16,
    address: &'a str,
    #[serde(skip_serializing_if = "Map::is_empty")]
    tagged_addresses: Map<'a, AddressJson<'a>>,
    weights: WeightsJson,
    enable_tag_override: bool,
    datacenter: &'a str,
}

/// An element of `catalog/service`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct CatalogServiceJson<'a> {
    #[serde(rename = "ID")]
    id: &'a str,
    node: &'a str,
    address: &'a str,
    datacenter: &'a str,
    tagged_addresses: &'a BTreeMap<String, String>,
    node_meta: &'a BTreeMap<String, String>,
    service_kind: &'a str,
    #[serde(rename = "ServiceID")]
    service_id: &'a str,
    service_name: &'a str,
    service_tags: &'a [String],
    service_address: &'a str,
    service_tagged_addresses: Map<'a, AddressJson<'a>>,
    service_weights: WeightsJson,
    service_meta: &'a BTreeMap<String, String>,
    service_port: u16,
    service_enable_tag_override: bool,
    create_index: u64,
    modify_index: u64,
}

/// A check.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct CheckJson<'a> {
    node: &'a str,
    #[serde(rename = "CheckID")]
    check_id: &'a str,
    name: &'a str,
    status: &'static str,
    notes: &'a str,
    output: &'a str,
    #[serde(rename = "ServiceID")]
    service_id: &'a str,
    service_name: &'a str,
    service_tags: &'a [String],
    #[serde(rename = "Type")]
    kind: &'a str,
    interval: String,
    timeout: String,
    exposed_port: u16,
    definition: BTreeMap<&'a str, &'a str>,
    create_index: u64,
    modify_index: u64,
}

/// An element of `health/service`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct HealthJson<'a> {
    node: NodeJson<'a>,
    service: ServiceJson<'a>,
    checks: Vec<CheckJson<'a>>,
}

/// An answer of `agent/health/service`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct AgentHealthJson<'a> {
    aggregated_status: &'static str,
    service: AgentServiceJson<'a>,
    checks: Vec<CheckJson<'a>>,
}

pub(crate) fn node<'a>(stored: &'a Stored<Node>, datacenter: &'a str) -> NodeJson<'a> {
    let Stored { value: node, created, modified } = stored;
    NodeJson {
        id: &node.id,
        node: node.name.as_str(),
        address: &node.address,
        datacenter,
        tagged_addresses: &node.tagged_addresses,
        meta: &node.meta,
        create_index: created.get(),
        modify_index: modified.get(),
    }
}

pub(crate) fn service(stored: &Stored<Instance>) -> ServiceJson<'_> {
    let Stored { value: instance, created, modified } = stored;
    ServiceJson {
        id: instance.id.as_str(),
        service: instance.service.as_str(),
        tags: &instance.tags,
        address: &instance.address,
        tagged_addresses: addresses(instance),
        meta: &instance.meta,
        port: instance.port,
        weights: weights(instance),
        enable_tag_override: instance.enable_tag_override,
        create_index: created.get(),
        modify_index: modified.get(),
    }
}

pub(crate) fn agent_service<'a>(
    instance: &'a Instance,
    datacenter: &'a str,
) -> AgentServiceJson<'a> {
    AgentServiceJson {
        id: instance.id.as_str(),
        service: instance.service.as_str(),
        tags: &instance.tags,
        meta: &instance.meta,
        port: instance.port,
        address: &instance.address,
        tagged_addresses: addresses(instance),
        weights: weights(instance),
        enable_tag_override: instance.enable_tag_override,
        datacenter,
    }
}

pub(crate) fn catalog_service<'a>(
    view: &'a InstanceView,
    datacenter: &'a str,
) -> CatalogServiceJson<'a> {
    let node = &view.node.value;
    let Stored { value: instance, created, modified } = view.instance.as_ref();
    CatalogServiceJson {
        id: &node.id,
        node: node.name.as_str(),
        address: &node.address,
        datacenter,
        tagged_addresses: &node.tagged_addresses,
        node_meta: &node.meta,
        service_kind: "",
        service_id: instance.id.as_str(),
        service_name: instance.service.as_str(),
        service_tags: &instance.tags,
        service_address: &instance.address,
        service_tagged_addresses: addresses(instance),
        service_weights: weights(instance),
        service_meta: &instance.meta,
        service_port: instance.port,
        service_enable_tag_override: instance.enable_tag_override,
        create_index: created.get(),
        modify_index: modified.get(),
    }
}

pub(crate) fn check(view: &CheckView) -> CheckJson<'_> {
    check_of(&view.node.value, view.instance.as_deref(), &view.check)
}

pub(crate) fn health<'a>(view: &'a InstanceView, datacenter: &'a str) -> HealthJson<'a> {
    HealthJson {
        node: node(&view.node, datacenter),
        service: service(&view.instance),
        checks: checks(view),
    }
}

pub(crate) fn agent_health<'a>(view: &'a InstanceView, datacenter: &'a str) -> AgentHealthJson<'a> {
    AgentHealthJson {
        aggregated_status: aggregated_status(view),
        service: agent_service(&view.instance.value, datacenter),
        checks: checks(view),
    }
}

/// How an instance is, with a word of its own for one that was taken out of service.
pub(crate) fn aggregated_status(view: &InstanceView) -> &'static str {
    let mut kinds = view.checks.iter().map(|check| &check.value.definition.kind);
    if kinds.any(|kind| *kind == CheckKind::Maintenance) {
        "maintenance"
    } else {
        view.status().as_str()
    }
}

fn checks(view: &InstanceView) -> Vec<CheckJson<'_>> {
    let checks = view.checks.iter();
    checks.map(|check| check_of(&view.node.value, Some(&view.instance), check)).collect()
}

fn check_of<'a>(
    node: &'a Node,
    instance: Option<&'a Stored<Instance>>,
    stored: &'a Stored<Check>,
) -> CheckJson<'a> {
    let check = &stored.value;
    // A node's check says nothing of the instance that it is listed with.
    let instance = instance.filter(|_| check.definition.instance.is_some());
    let instance = instance.map(|stored| &stored.value);
    let probe = match &check.definition.kind {
        CheckKind::Probe(probe) => Some(probe),
        _ => None,
    };
    let time = |time: Option<Duration>| time.map(duration::format).unwrap_or_default();
    CheckJson {
        node: node.name.as_str(),
        check_id: check.definition.id.as_str(),
        name: &check.definition.name,
        status: check.status.as_str(),
        notes: &check.definition.notes,
        output: &check.output,
        service_id: instance.map_or("", |instance| instance.id.as_str()),
        service_name: instance.map_or("", |instance| instance.service.as_str()),
        service_tags: instance.map_or(&[], |instance| instance.tags.as_slice()),
        kind: kind(&check.definition.kind),
        interval: time(probe.map(|probe| probe.interval)),
        timeout: time(probe.map(|probe| probe.timeout)),
        exposed_port: 0,
        definition: BTreeMap::new(),
        create_index: stored.created.get(),
        modify_index: stored.modified.get(),
    }
}

fn kind(kind: &CheckKind) -> &str {
    match kind {
        CheckKind::External(word) => word,
        CheckKind::Membership => "",
        CheckKind::Maintenance => "maintenance",
        CheckKind::Ttl(_) => "ttl",
        CheckKind::Probe(probe) => match probe.target {
            Target::Http(_) => "http",
            Target::Tcp { .. } => "tcp",
            Target::Grpc(_) => "grpc",
        },
    }
}

fn addresses(instance: &Instance) -> Map<'_, AddressJson<'_>> {
    let tagged = instance.tagged_addresses.iter();
    let shown = tagged.map(|(tag, ServiceAddress { address, port })| {
        (tag.as_str(), AddressJson { address, port: *port })
    });
    shown.collect()
}

fn weights(instance: &Instance) -> WeightsJson {
    let weights = instance.weights;
    WeightsJson { passing: weights.passing, warning: weights.warning }
}

/// An instance as plain as can be, with one check: what filters are checked against.
pub(crate) fn sample() -> InstanceView {
    fn stored<T>(value: T) -> Arc<Stored<T>> {
        Arc::new(Stored { value, created: Index::new(1), modified: Index::new(1) })
    }
    let definition = CheckDefinition {
        id: "".into(),
        name: String::new(),
        notes: String::new(),
        instance: Some("".into()),
        kind: CheckKind::Membership,
        deregister_after: None,
    };
    let check = Check {
        definition,
        status: Status::Passing,
        output: String::new(),
        critical_since: None,
        expires: Some(Timestamp::default()),
        run: Index::new(1),
    };
    let node = Node {
        name: "".into(),
        id: String::new(),
        address: String::new(),
        tagged_addresses: BTreeMap::new(),
        meta: BTreeMap::new(),
    };
    let instance = Instance {
        id: "".into(),
        service: "".into(),
        tags: Vec::new(),
        address: String::new(),
        port: 0,
        meta: BTreeMap::new(),
        weights: Default::default(),
        tagged_addresses: BTreeMap::new(),
        enable_tag_override: false,
    };
    InstanceView { node: stored(node), instance: stored(instance), checks: vec![stored(check)] }
}

/// A check as plain as can be.
pub(crate) fn sample_check() -> CheckView {
    let InstanceView { node, instance, mut checks } = sample();
    CheckView { node, instance: Some(instance), check: checks.remove(0) }
}
