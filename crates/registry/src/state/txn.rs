//! Transactions: several operations, of which all happen or none.
//!
//! An operation sees what those before it have done. So they are tried one after the other on an
//! excerpt of the state, by the same rules as single commands; only if all succeed, the events of
//! all of them happen to the state itself, at one index.

use std::collections::BTreeSet;
use std::sync::Arc;

use posthouse_base::time::Timestamp;

use super::command::{Cause, Command, Decided, NewCheck, NodeRef, Registration, Reply};
use super::kv::{self, Version, Write};
use super::model::{Instance, Key, Node, NodeName, SessionId, Stored};
use super::read::CheckView;
use super::{Event, State};

/// The most operations of a transaction.
pub const MAX_OPS: usize = 64;

/// One operation.
#[derive(Clone, Debug, PartialEq)]
pub enum Op {
    /// Writes a key.
    Write(Write),
    /// Reads a key.
    Get(Key),
    /// Reads a key that need not be there.
    GetOrEmpty(Key),
    /// Reads every key that begins with this.
    GetTree(Key),
    /// Fails unless a key is at this index.
    CheckIndex(Key, Version),
    /// Fails unless this session has locked a key, or with `None` nobody.
    CheckSession(Key, Option<SessionId>),
    /// Fails if a key is there.
    CheckNotExists(Key),
    /// Something about a node; only its name, or else its id, counts unless it is set.
    Node(Verb, Node),
    /// Something about an instance on a node; only its id counts unless it is set.
    Service(Verb, NodeName, Box<Instance>),
    /// Something about a check on a node; only its id counts unless it is set.
    Check(Verb, NodeName, Box<NewCheck>),
    /// Something that cannot be, for this reason.
    Invalid(String),
}

/// What to do with a node, an instance or a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// Read it.
    Get,
    /// Set it.
    Set,
    /// Set it if it is as it was.
    Cas(Version),
    /// Delete it; one that is not there is deleted already.
    Delete,
    /// Delete it if it is as it was.
    DeleteCas(Version),
}

/// What an operation has found, or made.
#[derive(Clone, Debug, PartialEq)]
pub enum Found {
    /// A key that was read.
    Key(Arc<Stored<kv::Entry>>),
    /// A key that was written or checked: its value is not shown.
    Written(Arc<Stored<kv::Entry>>),
    /// A key that is not there.
    NoKey(Key),
    /// A node.
    Node(Arc<Stored<Node>>),
    /// An instance.
    Service(Arc<Stored<Instance>>),
    /// A check.
    Check(CheckView),
}

/// An operation that failed, so that none has happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Which, counted from 0.
    pub op: usize,
    /// Why.
    pub why: Refusal,
}

/// Why an operation failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The key to read is not there.
    #[error("key {0:?} doesn't exist")]
    NoKey(Key),
    /// The key that must not be there is.
    #[error("key {0:?} exists")]
    KeyExists(Key),
    /// The key to check is not there.
    #[error("failed to check {what}, key {key:?} doesn't exist")]
    NothingToCheck {
        /// What of it was to be checked.
        what: &'static str,
        /// The key.
        key: Key,
    },
    /// The key is at another index.
    #[error("failed index check for key {key:?}, current modify index {is} != {expected}")]
    OtherIndex {
        /// The key.
        key: Key,
        /// Its index.
        is: u64,
        /// The expected one.
        expected: u64,
    },
    /// Another session has locked the key.
    #[error("failed session check for key {key:?}, current session {is:?} != {expected:?}")]
    OtherSession {
        /// The key.
        key: Key,
        /// Who has locked it, or empty.
        is: String,
        /// Who was expected to.
        expected: String,
    },
    /// What is to be read is not there.
    #[error("{0} doesn't exist")]
    Missing(String),
    /// It was set since.
    #[error("failed to {0}, index is stale")]
    Stale(String),
    /// It is about a node that is not there.
    #[error("Missing node registration")]
    MissingNode,
    /// It is about an instance that is not there.
    #[error("Missing service registration")]
    MissingService,
    /// The operation cannot be.
    #[error("{0}")]
    Invalid(String),
    /// The operation was refused as it would have been by itself.
    #[error(transparent)]
    Refused(Box<super::Refusal>),
}

impl From<super::Refusal> for Refusal {
    fn from(refusal: super::Refusal) -> Self {
        match refusal {
            super::Refusal::UnknownNode(_) => Self::MissingNode,
            super::Refusal::NoInstanceToCheck(_) => Self::MissingService,
            other => Self::Refused(Box::new(other)),
        }
    }
}

impl Op {
    /// Whether it may change anything.
    #[must_use]
    pub const fn writes(&self) -> bool {
        match self {
            Self::Write(_) => true,
            Self::Node(verb, _) | Self::Service(verb, ..) | Self::Check(verb, ..) => {
                !matches!(verb, Verb::Get)
            }
            Self::Get(_)
            | Self::GetOrEmpty(_)
            | Self::GetTree(_)
            | Self::CheckIndex(..)
            | Self::CheckSession(..)
            | Self::CheckNotExists(_)
            | Self::Invalid(_) => false,
        }
    }
}

type Done = Result<Vec<Found>, Refusal>;

/// The excerpt of the state that operations are tried on, and what has happened to it.
struct Trial {
    state: State,
    now: Timestamp,
    events: Vec<Event>,
}

impl State {
    pub(super) fn decide_txn(
        &self,
        mut ops: Vec<Op>,
        now: Timestamp,
    ) -> Result<Decided, super::Refusal> {
        ops.iter_mut().for_each(|op| self.name_node(op));
        self.excerpt(&ops).try_all(ops, now)
    }

    /// Tries `ops` on this state, which is of no use afterwards.
    pub(super) fn try_all(self, ops: Vec<Op>, now: Timestamp) -> Result<Decided, super::Refusal> {
        let mut trial = Trial { state: self, now, events: Vec::new() };
        let (mut found, mut failures) = (Vec::new(), Vec::new());
        for (number, op) in ops.into_iter().enumerate() {
            match trial.attempt(op) {
                Ok(more) => found.extend(more),
                Err(why) => failures.push(Failure { op: number, why }),
            }
        }
        if failures.is_empty() {
            Ok(Decided { events: trial.events, reply: Reply::Txn(found) })
        } else {
            Err(super::Refusal::Txn(failures))
        }
    }

    /// What a transaction finds that changes nothing ([`Op::writes`]).
    ///
    /// # Errors
    /// When an operation fails.
    pub fn look(&self, ops: Vec<Op>) -> Result<Vec<Found>, super::Refusal> {
        // What only reads does not depend on the time.
        match self.decide_txn(ops, Timestamp::default())?.reply {
            Reply::Txn(found) => Ok(found),
            Reply::Done => Ok(Vec::new()),
        }
    }

    /// A node may be asked for by its id alone.
    fn name_node(&self, op: &mut Op) {
        if let Op::Node(_, node) = op
            && node.name.as_str().is_empty()
            && !node.id.is_empty()
            && let Some(known) = self.nodes.values().find(|known| known.node.value.id == node.id)
        {
            node.name = known.node.value.name.clone();
        }
    }

    /// What of the state `ops` may look at or change.
    fn excerpt(&self, ops: &[Op]) -> Self {
        let (mut nodes, mut keys, mut trees) = (BTreeSet::new(), BTreeSet::new(), Vec::new());
        let mut sessions = BTreeSet::new();
        for op in ops {
            match op {
                Op::Write(Write::Set { key, when, .. }) => {
                    keys.insert(key);
                    if let kv::When::Acquire(session) = when {
                        sessions.insert(session);
                    }
                }
                Op::Write(Write::Delete { key, .. })
                | Op::Get(key)
                | Op::GetOrEmpty(key)
                | Op::CheckIndex(key, _)
                | Op::CheckSession(key, _)
                | Op::CheckNotExists(key) => drop(keys.insert(key)),
                Op::Write(Write::DeleteTree { prefix }) | Op::GetTree(prefix) => trees.push(prefix),
                Op::Node(_, Node { name, .. })
                | Op::Service(_, name, _)
                | Op::Check(_, name, _) => drop(nodes.insert(name)),
                Op::Invalid(_) => {}
            }
        }
        // What happens to a node may end its sessions.
        for node in &nodes {
            sessions.extend(self.sessions.by_node.get(*node).into_iter().flat_map(|of| &of.ids));
        }
        for session in &sessions {
            keys.extend(self.kv.held.get(*session).into_iter().flatten());
        }
        let mut excerpt = Self {
            nodes: nodes
                .into_iter()
                .filter_map(|name| self.nodes.get_key_value(name))
                .map(|(name, entry)| (name.clone(), entry.clone()))
                .collect(),
            instance_count: self.instance_count,
            check_count: self.check_count,
            node_count: self.node_count,
            own: self.own.clone(),
            index: self.index,
            reap_from: self.reap_from,
            ..Self::blank(self.limits)
        };
        excerpt.kv = self.kv.excerpt(&keys, &trees);
        for id in sessions {
            if let Some(session) = self.session(id) {
                excerpt.sessions.put(Arc::clone(session), None);
            }
        }
        excerpt
    }
}

impl kv::Store {
    fn excerpt(&self, keys: &BTreeSet<&Key>, trees: &[&Key]) -> Self {
        let mut excerpt = Self { count: self.count, size: self.size, ..Self::new(self.floor) };
        let single = keys.iter().filter_map(|key| self.get(key));
        let below = trees.iter().flat_map(|prefix| self.under(prefix.as_str()));
        for stored in single.chain(below) {
            excerpt.bring_back(stored);
        }
        for key in keys {
            if let Some(until) = self.delays.until.get(*key) {
                excerpt.delays.put((*key).clone(), *until);
            }
        }
        excerpt
    }
}

impl Trial {
    fn attempt(&mut self, op: Op) -> Done {
        match op {
            Op::Write(write) => self.write(write),
            Op::Get(key) => {
                let entry = self.state.kv.get(&key).cloned();
                Ok(vec![Found::Key(entry.ok_or(Refusal::NoKey(key))?)])
            }
            Op::GetOrEmpty(key) => {
                let entry = self.state.kv.get(&key).cloned();
                Ok(vec![entry.map_or(Found::NoKey(key), Found::Key)])
            }
            Op::GetTree(prefix) => {
                let entries = self.state.kv.under(prefix.as_str()).cloned();
                Ok(entries.map(Found::Key).collect())
            }
            Op::CheckIndex(key, version) => self.check_index(key, version),
            Op::CheckSession(key, session) => self.check_session(key, session.as_ref()),
            Op::CheckNotExists(key) if self.state.kv.get(&key).is_some() => {
                Err(Refusal::KeyExists(key))
            }
            Op::CheckNotExists(_) => Ok(Vec::new()),
            Op::Node(verb, node) => self.node(verb, node),
            Op::Service(verb, node, instance) => self.service(verb, &node, *instance),
            Op::Check(verb, node, check) => self.check(verb, &node, *check),
            Op::Invalid(why) => Err(Refusal::Invalid(why)),
        }
    }

    /// Carries out `command` on the excerpt.
    fn carry_out(&mut self, command: Command) -> Result<(), super::Refusal> {
        let index = self.state.index;
        let Decided { events, .. } = self.state.decide(command, self.now)?;
        self.state.apply(&events);
        // All operations share the next index.
        self.state.index = index;
        self.events.extend(events);
        Ok(())
    }

    fn write(&mut self, write: Write) -> Done {
        let written = match &write {
            Write::Set { key, .. } => Some(key.clone()),
            Write::Delete { .. } | Write::DeleteTree { .. } => None,
        };
        self.carry_out(Command::Kv(write))?;
        let entry = written.and_then(|key| self.state.kv.get(&key).cloned());
        Ok(entry.map(Found::Written).into_iter().collect())
    }

    fn check_index(&self, key: Key, version: Version) -> Done {
        let Some(entry) = self.state.kv.get(&key) else {
            return Err(Refusal::NothingToCheck { what: "index", key });
        };
        if version.is_of(Some(entry)) {
            return Ok(vec![Found::Written(Arc::clone(entry))]);
        }
        let expected = match version {
            Version::Absent => 0,
            Version::At(index) => index.get(),
        };
        Err(Refusal::OtherIndex { key, is: entry.modified.get(), expected })
    }

    fn check_session(&self, key: Key, session: Option<&SessionId>) -> Done {
        let Some(entry) = self.state.kv.get(&key) else {
            return Err(Refusal::NothingToCheck { what: "session", key });
        };
        if entry.value.session.as_ref() == session {
            return Ok(vec![Found::Written(Arc::clone(entry))]);
        }
        let text = |session: Option<&SessionId>| session.map(ToString::to_string);
        let is = text(entry.value.session.as_ref()).unwrap_or_default();
        Err(Refusal::OtherSession { key, is, expected: text(session).unwrap_or_default() })
    }

    fn node(&mut self, verb: Verb, node: Node) -> Done {
        let (name, called) = (node.name.clone(), format!("node {:?}", node.name));
        let known =
            |trial: &Self| trial.state.nodes.get(&name).map(|entry| Arc::clone(&entry.node));
        let set = Command::SetNode(node);
        let delete = Command::RemoveNode(name.clone());
        self.carry(verb, known(self).as_deref(), &called, set, delete)?;
        self.seen(verb, known(self).map(Found::Node), called)
    }

    fn service(&mut self, verb: Verb, node: &NodeName, instance: Instance) -> Done {
        let id = instance.id.clone();
        let called = format!("service {id:?} on node {node:?}");
        let known =
            |trial: &Self| trial.state.instance(node, &id).map(|view| Arc::clone(&view.instance));
        let set = Command::Register(Box::new(Registration {
            node: NodeRef::Known(node.clone()),
            instance,
            checks: Vec::new(),
            replace_checks: false,
        }));
        let (place, which) = (node.clone(), id.clone());
        let delete = Command::Deregister { node: place, id: which, cause: Cause::Asked };
        self.carry(verb, known(self).as_deref(), &called, set, delete)?;
        self.seen(verb, known(self).map(Found::Service), called)
    }

    fn check(&mut self, verb: Verb, node: &NodeName, check: NewCheck) -> Done {
        let id = check.definition.id.clone();
        let called = format!("check {id:?} on node {node:?}");
        let known = |trial: &Self| {
            trial.state.checks_on(node).find(|view| view.check.value.definition.id == id)
        };
        let set = Command::RegisterCheck { node: node.clone(), check };
        let delete = Command::DeregisterCheck { node: node.clone(), id: id.clone() };
        let before = known(self).map(|view| view.check);
        self.carry(verb, before.as_deref(), &called, set, delete)?;
        self.seen(verb, known(self).map(Found::Check), called)
    }

    /// What a verb does to something `known`.
    fn carry<T>(
        &mut self,
        verb: Verb,
        known: Option<&Stored<T>>,
        called: &str,
        set: Command,
        delete: Command,
    ) -> Result<(), Refusal> {
        let stale = |what: &str| Refusal::Stale(format!("{what} {called}"));
        match verb {
            Verb::Get => Ok(()),
            Verb::Cas(version) if !version.is_of(known) => Err(stale("set")),
            Verb::Set | Verb::Cas(_) => Ok(self.carry_out(set)?),
            Verb::DeleteCas(version) if known.is_none() || !version.is_of(known) => {
                Err(stale("delete"))
            }
            Verb::Delete if known.is_none() => Ok(()),
            Verb::Delete | Verb::DeleteCas(_) => Ok(self.carry_out(delete)?),
        }
    }

    fn seen(&self, verb: Verb, found: Option<Found>, called: String) -> Done {
        match verb {
            Verb::Get => Ok(vec![found.ok_or(Refusal::Missing(called))?]),
            _ => Ok(found.into_iter().collect()),
        }
    }
}
