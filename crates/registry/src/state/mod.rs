//! The registry's rules, pure: *(state, command, now) → (events, effects)*. No clock, no task, no
//! socket and no randomness, so that a run can be replayed from its commands.
//!
//! In reading order: `model` (what is known), `command` (what is asked, what happens, what must be
//! done), `decide` (commands into events), `apply` (events into state), `judge` (when a probe's
//! results count), `read` (the questions that interfaces ask), `image` (the state as a list, and how
//! it goes on after a restart).
//!
//! What must hold: an index never goes back, a change to one service moves the index of no other,
//! a check belongs to an instance that is there, and every deadline belongs to a check that is there.

mod apply;
mod command;
mod decide;
mod image;
mod judge;
pub mod kv;
mod model;
mod read;
pub mod session;
#[cfg(test)]
mod store_tests;
#[cfg(test)]
mod tests;
pub mod txn;
pub mod user_event;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use posthouse_base::time::Timestamp;

use self::decide::within;

pub use command::{
    Cause, Command, Decided, Effect, Event, NewCheck, NodeRef, Outcome, Refusal, Registration,
    Reply, Topic,
};
pub use image::{GRACE, Image, NodeImage};
pub use judge::Judge;
pub use model::{
    Check, CheckDefinition, CheckId, CheckKind, Index, Instance, InstanceId, Key, Node, NodeName,
    Probe, ServiceAddress, ServiceName, SessionId, Status, Stored, Thresholds, Weights,
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
    /// Keys.
    pub keys: usize,
    /// All keys and values together, in bytes.
    pub key_bytes: u64,
    /// Sessions.
    pub sessions: usize,
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
    /// No instance is deregistered for being critical before this.
    reap_from: Timestamp,
    node_count: usize,
    instance_count: usize,
    check_count: usize,
    kv: kv::Store,
    sessions: session::Sessions,
    user_events: user_event::UserEvents,
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
    /// A registry that knows nothing, and is no use until it was opened ([`Command::Open`]).
    #[must_use]
    pub fn blank(limits: Limits) -> Self {
        let start = Index::new(0);
        Self {
            own: "".into(),
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
            reap_from: Timestamp::default(),
            node_count: 0,
            instance_count: 0,
            check_count: 0,
            kv: kv::Store::new(start),
            sessions: session::Sessions::new(start),
            user_events: Default::default(),
        }
    }

    /// A registry that knows its own node only, `own`, and whose history begins at `start`.
    #[must_use]
    pub fn new(own: Node, limits: Limits, start: Index, now: Timestamp) -> Self {
        let mut state = Self::blank(limits);
        // Opening is never refused.
        let _opened = state.handle(Command::Open { own, start }, now);
        state
    }

    /// Decides `command` at the time `now` and carries it out.
    ///
    /// # Errors
    /// When the command is refused; nothing has changed then.
    pub fn handle(&mut self, command: Command, now: Timestamp) -> Result<Outcome, Refusal> {
        let Decided { events, reply } = self.decide(command, now)?;
        let effects = self.apply(&events);
        Ok(Outcome { events, effects, reply })
    }

    /// When the next [`Command::Tick`] has something to do.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Timestamp> {
        let checks = self.deadlines.first().map(|deadline| deadline.at);
        let sessions = self.sessions.deadlines.first().map(|(at, _)| *at);
        checks.into_iter().chain(sessions).min()
    }

    /// One check.
    #[must_use]
    pub fn check(&self, node: &NodeName, id: &CheckId) -> Option<&Arc<Stored<Check>>> {
        self.nodes.get(node)?.checks.get(id)
    }
}
