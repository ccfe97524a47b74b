//! Nodes and instances, and what happens to them, as they are written.

use std::collections::BTreeMap;
use std::sync::Arc;

use posthouse_base::time::Timestamp;
use serde::{Deserialize, Serialize};

use super::check::{Check, Definition, Status};
use super::{Each, Unreadable, is_default};
use crate::state::{self, Image, Index, NodeImage, Stored, Weights};

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

#[derive(Deserialize)]
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

#[derive(Deserialize)]
struct NodeWith {
    node: At<Node>,
    index: u64,
    #[serde(default)]
    instances: Vec<At<Instance>>,
    #[serde(default)]
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

/// In the form of [`NodeWith`].
fn node(image: &NodeImage) -> impl Serialize {
    #[derive(Serialize)]
    struct Written<I, C> {
        node: At<Node>,
        index: u64,
        instances: I,
        checks: C,
    }
    Written {
        node: At::of(&image.node),
        index: image.index.get(),
        instances: Each(&image.instances, At::<Instance>::of),
        checks: Each(&image.checks, At::<Check>::of),
    }
}

/// In the form of [`Checkpoint`]. An image is written piece by piece: the pieces together would take several times its memory.
pub(super) fn checkpoint(image: &Image) -> impl Serialize {
    #[derive(Serialize)]
    struct Written<N, S> {
        own: Text,
        index: u64,
        services_index: u64,
        nodes_index: u64,
        checks_index: u64,
        floor: u64,
        nodes: N,
        services: S,
        tombstones: S,
    }
    let index = |(name, index): &(state::ServiceName, Index)| (name.to_shared(), index.get());
    Written {
        own: image.own.to_shared(),
        index: image.index.get(),
        services_index: image.services_index.get(),
        nodes_index: image.nodes_index.get(),
        checks_index: image.checks_index.get(),
        floor: image.floor.get(),
        nodes: Each(&image.nodes, node),
        services: Each(&image.services, index),
        tombstones: Each(&image.tombstones, index),
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

impl From<&state::Cause> for Cause {
    fn from(cause: &state::Cause) -> Self {
        match cause {
            state::Cause::Asked => Self::Asked,
            state::Cause::Critical => Self::Critical,
        }
    }
}
