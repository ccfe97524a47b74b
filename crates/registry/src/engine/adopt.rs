//! Bringing in what the engine says of a service: what is new or different is set, what is gone goes,
//! in this order, so that a service is at no moment without instances that it has.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::answer::{Entry, Pairs};
use super::keep::Kept;
use crate::error::Error;
use crate::service::Handle;
use crate::state::kv::{When, Write};
use crate::state::{
    Cause, CheckId, Command, InstanceId, Key, NodeName, NodeRef, Registration, State,
};

/// The registry that mirrors the engine.
#[derive(Clone, Debug)]
pub(super) struct Mirror {
    handle: Handle,
    kept: Arc<Kept>,
}

/// What is to go.
#[derive(Debug, Default)]
struct Gone {
    instances: Vec<(NodeName, InstanceId)>,
    checks: Vec<(NodeName, CheckId)>,
}

impl Mirror {
    pub(super) const fn new(handle: Handle, kept: Arc<Kept>) -> Self {
        Self { handle, kept }
    }

    /// The services that are known now.
    pub(super) fn services(&self) -> Vec<String> {
        self.handle.peek(|state| state.services().map(ToString::to_string).collect())
    }

    /// Makes the service as `entries` say; it is gone when there are none.
    ///
    /// # Errors
    /// When the registry is shutting down. What it refuses (a limit) is left out, and said.
    pub(super) async fn adopt(&self, service: &str, entries: Vec<Entry>) -> Result<(), Error> {
        let gone = self.handle.peek(|state| gone(state, service, &entries));
        for entry in &entries {
            self.carry_out(register(service, entry)).await?;
            let node = NodeName::from(entry.node.node.as_str());
            for check in entry.checks.iter().filter(|check| check.is_of_node()) {
                let (node, check) = (node.clone(), check.to_check());
                self.carry_out(Command::RegisterCheck { node, check }).await?;
            }
        }
        let mut nodes = BTreeSet::new();
        for (node, id) in gone.checks {
            self.carry_out(Command::DeregisterCheck { node, id }).await?;
        }
        for (node, id) in gone.instances {
            nodes.insert(node.clone());
            self.carry_out(Command::Deregister { node, id, cause: Cause::Asked }).await?;
        }
        let is_empty = |state: &State, node: &NodeName| {
            node != state.own_node()
                && state.node(node).is_some_and(|view| view.instances.is_empty())
        };
        for node in nodes {
            if self.handle.peek(|state| is_empty(state, &node)) {
                self.carry_out(Command::RemoveNode(node)).await?;
            }
        }
        self.kept.put(service, entries);
        Ok(())
    }

    /// Makes the keys in a folder as `pairs` say.
    ///
    /// # Errors
    /// As [`Mirror::adopt`].
    pub(super) async fn adopt_keys(&self, folder: &str, pairs: Pairs) -> Result<(), Error> {
        let writes: Vec<Write> = self.handle.peek(|state| {
            let known = state.kv().under(folder).map(|stored| &stored.value);
            let gone = known.filter(|entry| !pairs.contains_key(entry.key.as_str()));
            let deleted = gone.map(|entry| Write::Delete { key: entry.key.clone(), when: None });
            let is_set = |key: &str, value: &str| {
                let known = state.kv().get(&Key::from(key));
                known.is_some_and(|stored| stored.value.value == value)
            };
            let new = pairs.iter().filter(|(key, value)| !is_set(key, value));
            let set = new.map(|(key, value)| Write::Set {
                key: key.as_str().into(),
                value: value.clone().into(),
                flags: 0,
                when: When::Always,
            });
            deleted.chain(set).collect()
        });
        for write in writes {
            self.carry_out(Command::Kv(write)).await?;
        }
        self.kept.put_keys(pairs);
        Ok(())
    }

    /// Makes the service gone.
    ///
    /// # Errors
    /// When the registry is shutting down.
    pub(super) async fn forget(&self, service: &str) -> Result<(), Error> {
        // Who followed it was stopped, perhaps with a command still on its way. This one, which
        // changes nothing, comes after that.
        self.carry_out(Command::Tick).await?;
        self.adopt(service, Vec::new()).await
    }

    async fn carry_out(&self, command: Command) -> Result<(), Error> {
        match self.handle.command(command).await {
            Err(Error::Refused(refusal)) => {
                tracing::warn!("what the registry's engine says is left out: {refusal}");
                Ok(())
            }
            done => done.map(|_reply| ()),
        }
    }
}

fn register(service: &str, entry: &Entry) -> Command {
    let own = entry.checks.iter().filter(|check| !check.is_of_node());
    Command::Register(Box::new(Registration {
        node: NodeRef::Set(entry.node.to_node()),
        instance: entry.service.to_instance(service),
        checks: own.map(|check| check.to_check()).collect(),
        replace_checks: true,
    }))
}

/// What the state has of a service, and of the nodes that it is on, and `entries` have not.
fn gone(state: &State, service: &str, entries: &[Entry]) -> Gone {
    let said: BTreeSet<(&str, &str)> =
        entries.iter().map(|entry| (entry.node.node.as_str(), entry.service.id.as_str())).collect();
    let service = service.into();
    let known = state.instances_bare(&service);
    let instances = known
        .map(|view| (view.node.value.name.clone(), view.instance.value.id.clone()))
        .filter(|(node, id)| !said.contains(&(node.as_str(), id.as_str())))
        .collect();
    let mut checks = Vec::new();
    let nodes: BTreeSet<NodeName> =
        entries.iter().map(|entry| entry.node.node.as_str().into()).collect();
    for node in nodes {
        let of_node = |entry: &&Entry| entry.node.node == node.as_str();
        let said: BTreeSet<CheckId> = entries
            .iter()
            .filter(of_node)
            .flat_map(|entry| &entry.checks)
            .filter(|check| check.is_of_node())
            .map(|check| check.to_check().definition.id)
            .collect();
        let known = state.checks_on(&node).filter(|check| check.instance.is_none());
        let unsaid = known.map(|view| view.check.value.definition.id.clone());
        let unsaid = unsaid.filter(|id| !said.contains(id));
        checks.extend(unsaid.map(|id| (node.clone(), id)));
    }
    Gone { instances, checks }
}
