//! What may be asked of the registry, what then happens, and what must be done about it.
//!
//! A command is decided against the state into events; only events change the state, and applying
//! them tells the effects. Nothing else may change it, so that a log of events is the whole truth.

use std::collections::BTreeSet;

use posthouse_base::time::Timestamp;

use super::model::{
    CheckDefinition, CheckId, Index, Instance, InstanceId, Key, Node, NodeName, Probe, ServiceName,
    SessionId, Status,
};
use super::{kv, session, txn, user_event};

/// Something asked of the registry.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// The registry begins its work, for the first time or again, with this as its own node. It keeps
    /// the id that it had. If it had another name, what was registered with it moves along.
    Open {
        /// Its own node, as configured.
        own: Node,
        /// The index to go on from, if it has not got there. Taken from the clock, it keeps indexes
        /// from going back even when an old copy of the data is put in place.
        start: Index,
    },
    /// Sets what is known of a node; it need not have been known.
    SetNode(Node),
    /// Forgets a node with everything on it. Not the registry's own.
    RemoveNode(NodeName),
    /// Registers an instance, or replaces its registration.
    Register(Box<Registration>),
    /// Deregisters an instance with its checks.
    Deregister {
        /// Where it is.
        node: NodeName,
        /// Which it is.
        id: InstanceId,
        /// What for.
        cause: Cause,
    },
    /// Registers a check, or replaces its registration.
    RegisterCheck {
        /// Where it is.
        node: NodeName,
        /// The check.
        check: NewCheck,
    },
    /// Deregisters a check.
    DeregisterCheck {
        /// Where it is.
        node: NodeName,
        /// Which it is.
        id: CheckId,
    },
    /// The word of whoever runs a TTL check.
    Heartbeat {
        /// Where it is.
        node: NodeName,
        /// Which it is.
        id: CheckId,
        /// The word.
        status: Status,
        /// A remark.
        output: String,
    },
    /// The result of a probe.
    Probed {
        /// Where the check is.
        node: NodeName,
        /// Which it is.
        id: CheckId,
        /// The registration that asked for the probe.
        run: Index,
        /// The result, or `None` when it does not yet count; then only `output` is news.
        status: Option<Status>,
        /// What it said.
        output: String,
    },
    /// Takes an instance, or with `None` a whole node, out of service, or with no `reason` back.
    Maintain {
        /// Where it is.
        node: NodeName,
        /// Which it is.
        instance: Option<InstanceId>,
        /// Why it is out of service.
        reason: Option<String>,
    },
    /// Writes keys.
    Kv(kv::Write),
    /// Begins, ends or renews a session.
    Session(session::Ask),
    /// Carries out all of these, or none.
    Transact(Vec<txn::Op>),
    /// Fires a user event.
    Fire(user_event::UserEvent),
    /// Time has passed: TTL checks and sessions may have expired, critical instances have to go.
    Tick,
}

/// Why an instance goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cause {
    /// It was asked for.
    Asked,
    /// A check had been critical for too long.
    Critical,
}

/// An instance to register with its checks.
#[derive(Clone, Debug, PartialEq)]
pub struct Registration {
    /// The node, which is set first when it is not only named.
    pub node: NodeRef,
    /// The instance.
    pub instance: Instance,
    /// Its checks.
    pub checks: Vec<NewCheck>,
    /// Whether checks that the instance has and that are not in `checks` go.
    pub replace_checks: bool,
}

/// A node that is set along, or one that must be known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NodeRef {
    /// It must be known already.
    Known(NodeName),
    /// It is set to this.
    Set(Node),
}

impl NodeRef {
    /// The node's name.
    #[must_use]
    pub const fn name(&self) -> &NodeName {
        match self {
            Self::Known(name) => name,
            Self::Set(node) => &node.name,
        }
    }
}

/// A check to register.
#[derive(Clone, Debug, PartialEq)]
pub struct NewCheck {
    /// The check.
    pub definition: CheckDefinition,
    /// The status that it starts with. `None` keeps the one it has, or starts critical.
    pub status: Option<Status>,
    /// The output that it starts with; empty keeps the one it has.
    pub output: String,
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// The registry began its work.
    Began {
        /// The name of its own node.
        own: NodeName,
        /// What its index is at least from here on.
        start: Index,
    },
    /// A node is known, or known differently.
    NodeSet(Node),
    /// A node was forgotten. Whatever was on it has been removed before.
    NodeRemoved(NodeName),
    /// An instance is registered, or registered differently.
    InstanceSet {
        /// Where.
        node: NodeName,
        /// The instance.
        instance: Instance,
    },
    /// An instance was deregistered. Its checks have been removed before.
    InstanceRemoved {
        /// Where.
        node: NodeName,
        /// Which.
        id: InstanceId,
        /// What for.
        cause: Cause,
    },
    /// A check is registered, or registered differently.
    CheckSet {
        /// Where.
        node: NodeName,
        /// The check.
        definition: CheckDefinition,
        /// How it stands.
        status: Status,
        /// What it says.
        output: String,
        /// When.
        at: Timestamp,
    },
    /// A TTL check was not reported in time, and is critical.
    Expired {
        /// Where.
        node: NodeName,
        /// Which.
        id: CheckId,
        /// What it says.
        output: String,
        /// When.
        at: Timestamp,
    },
    /// A check was removed.
    CheckRemoved {
        /// Where.
        node: NodeName,
        /// Which.
        id: CheckId,
    },
    /// A check stands differently.
    StatusChanged {
        /// Where.
        node: NodeName,
        /// Which.
        id: CheckId,
        /// How it stands.
        status: Status,
        /// What it says.
        output: String,
        /// When.
        at: Timestamp,
    },
    /// A check stands as it did and says something else. Does not move any index: outputs with a
    /// time or counter in them would otherwise wake every watcher at every probe.
    OutputChanged {
        /// Where.
        node: NodeName,
        /// Which.
        id: CheckId,
        /// What it says.
        output: String,
    },
    /// A TTL check was reported in time. Volatile: after a restart its whole time begins anew.
    Renewed {
        /// Where.
        node: NodeName,
        /// Which.
        id: CheckId,
        /// When it expires.
        expires: Timestamp,
    },
    /// Something happened to keys.
    Kv(kv::Event),
    /// Something happened to a session.
    Session(session::Event),
    /// Something happened to user events. Volatile.
    UserEvent(user_event::Event),
}

/// Something that must be done because of what happened.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Begin to probe for this check, in place of an earlier registration of it.
    StartProbing {
        /// Where the check is.
        node: NodeName,
        /// Which it is.
        id: CheckId,
        /// The registration that asks for it.
        run: Index,
        /// What to do.
        probe: Box<Probe>,
    },
    /// Probe no longer for this check.
    StopProbing {
        /// Where the check is.
        node: NodeName,
        /// Which it is.
        id: CheckId,
    },
    /// Those who watch this must look again.
    Wake(Topic),
}

/// What a watcher may wait for. Each has an index of its own.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Topic {
    /// One service: its instances, their nodes and checks.
    Service(ServiceName),
    /// One node and everything on it.
    Node(NodeName),
    /// Which services there are, with their tags.
    Services,
    /// Which nodes there are.
    Nodes,
    /// Every check.
    Checks,
    /// One key.
    Key(Key),
    /// Every key in a folder: that begins with this, which is empty or ends with `/`.
    Folder(Key),
    /// One session.
    Session(SessionId),
    /// The sessions of a node.
    SessionsOf(NodeName),
    /// Every session.
    Sessions,
    /// Every user event.
    UserEvents,
}

/// The topics that a step touched.
pub(super) type Touched = BTreeSet<Topic>;

/// What a command comes to, before it has happened.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Decided {
    /// What is to happen, in order; nothing when nothing changes.
    pub events: Vec<Event>,
    /// What whoever asked is told once it has.
    pub reply: Reply,
}

impl From<Vec<Event>> for Decided {
    fn from(events: Vec<Event>) -> Self {
        Self { events, reply: Reply::Done }
    }
}

/// What whoever asked is told of a command that was carried out.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Reply {
    /// That it is done.
    #[default]
    Done,
    /// What the operations of a transaction have found.
    Txn(Vec<txn::Found>),
}

/// What a command came to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outcome {
    /// What happened, in order; nothing when nothing changed.
    pub events: Vec<Event>,
    /// What must be done about it.
    pub effects: Vec<Effect>,
    /// What whoever asked is told.
    pub reply: Reply,
}

/// Why a command was refused. Nothing has changed then.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// There is no such node.
    #[error("Unknown node {0:?}")]
    UnknownNode(NodeName),
    /// There is no such instance.
    #[error("Unknown service ID {0:?}: give the ID of an instance, not the name of its service")]
    UnknownInstance(InstanceId),
    /// A check names an instance that is not there.
    #[error("ServiceID {0:?} does not exist")]
    NoInstanceToCheck(InstanceId),
    /// There is no such check.
    #[error("Unknown check ID {0:?}: give the ID of the check, not its name")]
    UnknownCheck(CheckId),
    /// It is not a check that is reported.
    #[error("CheckID {0:?} does not have associated TTL")]
    NotTtl(CheckId),
    /// The registry's own node, or a check of its own, cannot be removed.
    #[error("{0:?} belongs to the registry itself and cannot be removed")]
    Own(String),
    /// A key was not written.
    #[error(transparent)]
    Kv(#[from] kv::Refusal),
    /// A session was refused.
    #[error(transparent)]
    Session(#[from] session::Refusal),
    /// A user event was not fired.
    #[error(transparent)]
    UserEvent(#[from] user_event::Refusal),
    /// Operations of a transaction failed.
    #[error("{} operations of the transaction failed", .0.len())]
    Txn(Vec<txn::Failure>),
    /// There are as many of these as the configuration allows.
    #[error("the registry's limit of {limit} {what} is reached")]
    Limit {
        /// What there are too many of, as the limit's configuration key.
        what: &'static str,
        /// The limit.
        limit: usize,
    },
}
