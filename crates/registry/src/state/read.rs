//! The questions that interfaces ask. Answers share what is stored, so that they are made quickly
//! while the state is held, and shown at leisure afterwards.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::command::Topic;
use super::model::{
    Check, CheckId, Index, Instance, InstanceId, Node, NodeName, ServiceName, Status, Stored,
};
use super::{InstanceEntry, NodeEntry, State};

/// An instance with its node and every check that says how it is.
#[derive(Clone, Debug)]
pub struct InstanceView {
    /// Where it is.
    pub node: Arc<Stored<Node>>,
    /// The instance.
    pub instance: Arc<Stored<Instance>>,
    /// The checks of the node, then its own.
    pub checks: Vec<Arc<Stored<Check>>>,
}

impl InstanceView {
    /// Whether `other` is the very same, and not only looks so.
    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.node, &other.node)
            && Arc::ptr_eq(&self.instance, &other.instance)
            && self.checks.iter().map(Arc::as_ptr).eq(other.checks.iter().map(Arc::as_ptr))
    }
}

/// A node with everything on it.
#[derive(Clone, Debug)]
pub struct NodeView {
    /// The node.
    pub node: Arc<Stored<Node>>,
    /// Its instances, by id.
    pub instances: Vec<Arc<Stored<Instance>>>,
}

/// A check with what it is about.
#[derive(Clone, Debug, PartialEq)]
pub struct CheckView {
    /// Where it is.
    pub node: Arc<Stored<Node>>,
    /// The instance that it is about, when it is not about the whole node.
    pub instance: Option<Arc<Stored<Instance>>>,
    /// The check.
    pub check: Arc<Stored<Check>>,
}

impl InstanceView {
    /// How the instance is: the worst of its checks and its node's.
    #[must_use]
    pub fn status(&self) -> Status {
        worst(&self.checks)
    }

    /// Where to reach it: its own address, or else that of its node.
    #[must_use]
    pub fn address(&self) -> &str {
        let own = self.instance.value.address.as_str();
        if own.is_empty() { &self.node.value.address } else { own }
    }
}

/// The worst status of `checks`; passing when there are none.
fn worst(checks: &[Arc<Stored<Check>>]) -> Status {
    checks.iter().map(|check| check.value.status).max().unwrap_or(Status::Passing)
}

impl State {
    /// The name of the registry's own node.
    #[must_use]
    pub const fn own_node(&self) -> &NodeName {
        &self.own
    }

    /// The registry's own node.
    #[must_use]
    pub fn own(&self) -> &Arc<Stored<Node>> {
        // It is set at the beginning and cannot be removed.
        &self.nodes[&self.own].node
    }

    /// The index of the last change to anything.
    #[must_use]
    pub const fn index(&self) -> Index {
        self.index
    }

    /// The index of the last change to `topic`. Never goes back, but for that of user events, which is
    /// an image of the newest one's id.
    #[must_use]
    pub fn index_of(&self, topic: &Topic) -> Index {
        match topic {
            Topic::Service(name) => match self.services.get(name) {
                Some(service) => service.index,
                None => self.tombstones.get(name).copied().unwrap_or(self.floor),
            },
            Topic::Node(name) => self.nodes.get(name).map_or(self.nodes_index, |node| node.index),
            Topic::Services => self.services_index,
            Topic::Nodes => self.nodes_index,
            Topic::Checks => self.checks_index,
            Topic::Key(key) => self.kv.key_index(key),
            Topic::Folder(prefix) => self.kv.prefix_index(prefix.as_str()),
            Topic::Session(id) => {
                self.session(id).map_or(self.sessions.index, |session| session.modified)
            }
            Topic::SessionsOf(node) => {
                let of_node = self.sessions.by_node.get(node);
                of_node.map_or(self.sessions.index, |of_node| of_node.index)
            }
            Topic::Sessions => self.sessions.index,
            Topic::UserEvents => {
                let newest = self.user_events.iter().next_back();
                newest.map_or(Index::new(1), |(_, event)| event.index())
            }
        }
    }

    /// The names of all services.
    pub fn services(&self) -> impl Iterator<Item = &ServiceName> {
        self.services.keys()
    }

    /// The instances of a service, ordered by node and id.
    pub fn instances(&self, service: &ServiceName) -> impl Iterator<Item = InstanceView> {
        let places = self.services.get(service).into_iter().flat_map(|entry| &entry.instances);
        places.filter_map(|(node, id)| self.instance(node, id))
    }

    /// Whether [`State::instances`] would give exactly what these are. What is stored is replaced and
    /// never changed, so it is enough to see that it is in the same place.
    pub(crate) fn are_instances(&self, service: &ServiceName, views: &[InstanceView]) -> bool {
        let places = self.services.get(service).map(|entry| &entry.instances);
        let is = |((node, id), view): (&(NodeName, InstanceId), &InstanceView)| {
            self.nodes.get(node).is_some_and(|node| node.is_view(id, view))
        };
        places.map_or(0, BTreeSet::len) == views.len()
            && places.into_iter().flatten().zip(views).all(is)
    }

    /// The instances of a service without their checks, ordered by node and id.
    pub fn instances_bare(&self, service: &ServiceName) -> impl Iterator<Item = InstanceView> {
        let places = self.services.get(service).into_iter().flat_map(|entry| &entry.instances);
        places.filter_map(|(node, id)| {
            let node = self.nodes.get(node)?;
            let instance = Arc::clone(&node.instances.get(id)?.instance);
            Some(InstanceView { node: Arc::clone(&node.node), instance, checks: Vec::new() })
        })
    }

    /// One instance.
    #[must_use]
    pub fn instance(&self, node: &NodeName, id: &InstanceId) -> Option<InstanceView> {
        let node = self.nodes.get(node)?;
        node.instances.get(id).map(|entry| node.view(entry))
    }

    /// All nodes, by name.
    pub fn nodes(&self) -> impl Iterator<Item = &Arc<Stored<Node>>> {
        self.nodes.values().map(|entry| &entry.node)
    }

    /// One node with its instances.
    #[must_use]
    pub fn node(&self, name: &NodeName) -> Option<NodeView> {
        self.nodes.get(name).map(|entry| NodeView {
            node: Arc::clone(&entry.node),
            instances: entry.instances.values().map(|i| Arc::clone(&i.instance)).collect(),
        })
    }

    /// Every check, by node and id.
    pub fn all_checks(&self) -> impl Iterator<Item = CheckView> {
        self.nodes.values().flat_map(NodeEntry::check_views)
    }

    /// Every check on a node, by id.
    pub fn checks_on(&self, node: &NodeName) -> impl Iterator<Item = CheckView> {
        self.nodes.get(node).into_iter().flat_map(NodeEntry::check_views)
    }

    /// The checks of the instances of a service; not those of their nodes.
    pub fn checks_of(&self, service: &ServiceName) -> impl Iterator<Item = CheckView> {
        self.instances(service).flat_map(|view| {
            let own = view.checks.into_iter();
            let own = own.filter(|check| check.value.definition.instance.is_some());
            let own: Vec<_> = own.collect();
            own.into_iter().map(move |check| CheckView {
                node: Arc::clone(&view.node),
                instance: Some(Arc::clone(&view.instance)),
                check,
            })
        })
    }

    /// How many instances there are: passing, warning, critical.
    #[must_use]
    pub fn instances_by_status(&self) -> [usize; 3] {
        let mut counts = [0; 3];
        for node in self.nodes.values() {
            let node_status = node.status_of(&node.node_checks);
            for instance in node.instances.values() {
                counts[node.status_of(&instance.checks).max(node_status) as usize] += 1;
            }
        }
        counts
    }

    /// How many checks there are.
    #[must_use]
    pub const fn check_count(&self) -> usize {
        self.check_count
    }
}

impl NodeEntry {
    fn view(&self, entry: &InstanceEntry) -> InstanceView {
        InstanceView {
            node: Arc::clone(&self.node),
            instance: Arc::clone(&entry.instance),
            checks: self.checks_of(entry).map(Arc::clone).collect(),
        }
    }

    fn is_view(&self, id: &InstanceId, view: &InstanceView) -> bool {
        self.instances.get(id).is_some_and(|entry| {
            Arc::ptr_eq(&self.node, &view.node)
                && Arc::ptr_eq(&entry.instance, &view.instance)
                && self.checks_of(entry).map(Arc::as_ptr).eq(view.checks.iter().map(Arc::as_ptr))
        })
    }

    /// The checks that say how an instance is: the node's, then its own.
    fn checks_of<'a>(
        &'a self,
        entry: &'a InstanceEntry,
    ) -> impl Iterator<Item = &'a Arc<Stored<Check>>> {
        let ids = self.node_checks.iter().chain(&entry.checks);
        ids.filter_map(|id| self.checks.get(id))
    }

    fn check_views(&self) -> impl Iterator<Item = CheckView> {
        self.checks.values().map(|check| {
            let instance = check.value.definition.instance.as_ref();
            let entry = instance.and_then(|id| self.instances.get(id));
            CheckView {
                node: Arc::clone(&self.node),
                instance: entry.map(|entry| Arc::clone(&entry.instance)),
                check: Arc::clone(check),
            }
        })
    }

    fn status_of(&self, ids: &BTreeSet<CheckId>) -> Status {
        let statuses = ids.iter().filter_map(|id| self.checks.get(id));
        statuses.map(|check| check.value.status).max().unwrap_or(Status::Passing)
    }
}
