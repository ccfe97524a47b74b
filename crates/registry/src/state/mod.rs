//! The registry's rules, pure: *(state, command, now) → (events, effects)*. No clock, no task, no
//! socket and no randomness, so that a run can be replayed from its commands.
//!
//! In reading order: `model` (what is known), `command` (what is asked, what happens, what must be
//! done), `decide` (commands into events), `apply` (events into state), `judge` (when a probe's
//! results count), `read` (the questions that interfaces ask).
//!
//! What must hold: an index never goes back, a change to one service moves the index of no other,
//! a check belongs to an instance that is there, and every deadline belongs to a check that is there.

mod apply;
mod command;
mod decide;
mod judge;
mod model;
mod read;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use posthouse_base::time::Timestamp;

pub use command::{
    Cause, Command, Effect, Event, NewCheck, NodeRef, Outcome, Refusal, Registration, Reply, Topic,
};
pub use judge::Judge;
pub use model::{
    Check, CheckDefinition, CheckId, CheckKind, Index, Instance, InstanceId, Node, NodeName, Probe,
    ServiceAddress, ServiceName, Status, Stored, Thresholds, Weights,
};
pub use read::{CheckView, InstanceView, NodeView};

/// The check by which the registry says that its own node is there, under the id by which clients
/// of Consul know it.
pub const MEMBERSHIP_CHECK: &str = "serfHealth";

/// How many names of services that are gone are remembered with an index of their own.
const MAX_TOMBSTONES: usize = 4096;

/// How many of each there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Nodes.
    pub nodes: usize,
    /// Instances of all services.
    pub instances: usize,
    /// Checks.
    pub checks: usize,
}

/// Everything that the registry knows.
#[derive(Clone, Debug, PartialEq)]
pub struct State {
    own: NodeName,
    limits: Limits,
    index: Index,
    nodes: BTreeMap<NodeName, NodeEntry>,
    services: BTreeMap<ServiceName, ServiceEntry>,
    services_index: Index,
    nodes_index: Index,
    checks_index: Index,
    tombstones: BTreeMap<ServiceName, Index>,
    /// The index of a service that never was, or whose tombstone is gone.
    floor: Index,
    deadlines: BTreeSet<Deadline>,
    instance_count: usize,
    check_count: usize,
}

#[derive(Clone, Debug, PartialEq)]
struct NodeEntry {
    node: Arc<Stored<Node>>,
    index: Index,
    instances: BTreeMap<InstanceId, InstanceEntry>,
    /// Every check on the node, whatever it is about.
    checks: BTreeMap<CheckId, Arc<Stored<Check>>>,
    /// The checks that are about the whole node.
    node_checks: BTreeSet<CheckId>,
}

#[derive(Clone, Debug, PartialEq)]
struct InstanceEntry {
    instance: Arc<Stored<Instance>>,
    checks: BTreeSet<CheckId>,
}

#[derive(Clone, Debug, PartialEq)]
struct ServiceEntry {
    index: Index,
    instances: BTreeSet<(NodeName, InstanceId)>,
}

/// Something that happens at a time unless it is called off. Ordered by that time.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Deadline {
    at: Timestamp,
    node: NodeName,
    check: CheckId,
    what: Due,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Due {
    /// The TTL check becomes critical.
    Expire,
    /// The check's instance is deregistered.
    Reap,
}

impl State {
    /// A registry that knows its own node only, `own`. Its history begins at `start`: taken from the
    /// clock, it keeps indexes from going back when a registry that remembers nothing is restarted.
    #[must_use]
    pub fn new(own: Node, limits: Limits, start: Index, now: Timestamp) -> Self {
        let name = own.name.clone();
        let mut state = Self {
            own: name.clone(),
            limits,
            index: start,
            nodes: BTreeMap::new(),
            services: BTreeMap::new(),
            services_index: start,
            nodes_index: start,
            checks_index: start,
            tombstones: BTreeMap::new(),
            floor: start,
            deadlines: BTreeSet::new(),
            instance_count: 0,
            check_count: 0,
        };
        let membership = CheckDefinition {
            id: MEMBERSHIP_CHECK.into(),
            name: "Serf Health Status".into(),
            notes: String::new(),
            instance: None,
            kind: CheckKind::Membership,
            deregister_after: None,
        };
        let begin = Event::CheckSet {
            node: name,
            definition: membership,
            status: Status::Passing,
            output: "Agent alive and reachable".into(),
            at: now,
        };
        state.apply(&[Event::NodeSet(own), begin]);
        state
    }

    /// Decides `command` at the time `now` and carries it out.
    ///
    /// # Errors
    /// When the command is refused; nothing has changed then.
    pub fn handle(&mut self, command: Command, now: Timestamp) -> Result<Outcome, Refusal> {
        let events = self.decide(command, now)?;
        let effects = self.apply(&events);
        Ok(Outcome { events, effects, reply: Reply::Done })
    }

    /// When the next [`Command::Tick`] has something to do.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Timestamp> {
        self.deadlines.first().map(|deadline| deadline.at)
    }

    fn check(&self, node: &NodeName, id: &CheckId) -> Option<&Arc<Stored<Check>>> {
        self.nodes.get(node)?.checks.get(id)
    }
}
