//! Sessions: what a client's locks live by. A session ends when its owner destroys it, when one of
//! its checks is critical or gone, when its node is gone, or when its time runs out; its locks end
//! with it.
//!
//! A session's time is twice its TTL since it was created or last renewed, as in Consul: it may be
//! kept longer than its TTL, and never for less. After a restart the whole time begins anew.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use posthouse_base::time::Timestamp;

use super::apply::Step;
use super::command::Topic;
use super::model::{CheckId, Index, NodeName, SessionId, Status, Stored};
use super::{State, within};

/// How often its TTL a session is kept without being renewed.
const PATIENCE: u32 = 2;

/// The longest time that a key stays unlocked after the session that had locked it.
const MAX_LOCK_DELAY: Duration = Duration::from_secs(60);

/// What a client's locks live by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// Its id: a UUID, given by the registry.
    pub id: SessionId,
    /// Its name for people.
    pub name: String,
    /// The node that it lives and ends with.
    pub node: NodeName,
    /// Checks of that node that it ends with.
    pub node_checks: Vec<CheckId>,
    /// Checks of instances on that node that it ends with.
    pub service_checks: Vec<CheckId>,
    /// How long its keys cannot be locked by others after it has ended.
    pub lock_delay: Duration,
    /// What becomes of the keys that it has locked when it ends.
    pub behavior: Behavior,
    /// How often it has to be renewed.
    pub ttl: Option<Ttl>,
}

/// What becomes of the keys that a session has locked when it ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Behavior {
    /// They are unlocked.
    #[default]
    Release,
    /// They are deleted.
    Delete,
}

/// How often a session has to be renewed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ttl {
    /// At least this often.
    pub time: Duration,
    /// The same as its owner wrote it.
    pub written: String,
}

/// Something asked about sessions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// Begins a session.
    Create(Box<Session>),
    /// Ends a session; one that is not there has ended.
    Destroy(SessionId),
    /// Begins a session's time anew.
    Renew(SessionId),
}

/// Something that happened to sessions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A session has begun.
    Created {
        /// The session.
        session: Session,
        /// When.
        at: Timestamp,
    },
    /// A session's time began anew. Volatile: after a restart its whole time begins anew.
    Renewed {
        /// Which.
        id: SessionId,
        /// When.
        at: Timestamp,
    },
    /// A session has ended, and its locks with it.
    Ended {
        /// Which.
        id: SessionId,
        /// Why.
        cause: Ending,
        /// When.
        at: Timestamp,
    },
}

/// Why a session has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ending {
    /// Its owner destroyed it.
    Destroyed,
    /// Its time ran out.
    Expired,
    /// One of its checks, or its node, is critical or gone.
    Unhealthy,
}

/// Why a session was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Its node is not there.
    #[error("Missing node registration")]
    MissingNode,
    /// One of its checks is not there.
    #[error("Missing check '{0}' registration")]
    MissingCheck(CheckId),
    /// One of its checks is critical.
    #[error("Check '{0}' is in critical state")]
    CriticalCheck(CheckId),
    /// There is no such session.
    #[error("Session id '{0}' not found")]
    Unknown(SessionId),
}

/// All sessions.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Sessions {
    pub(super) all: BTreeMap<SessionId, Entry>,
    /// The index of the last change to any.
    pub(super) index: Index,
    pub(super) by_node: BTreeMap<NodeName, OfNode>,
    pub(super) by_check: BTreeMap<(NodeName, CheckId), BTreeSet<SessionId>>,
    pub(super) deadlines: BTreeSet<(Timestamp, SessionId)>,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Entry {
    pub(super) session: Arc<Stored<Session>>,
    expires: Option<Timestamp>,
}

/// The sessions of a node that has any.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct OfNode {
    pub(super) index: Index,
    pub(super) ids: BTreeSet<SessionId>,
}

/// Everything that is known of sessions but when they run out.
#[derive(Clone, Debug, Default)]
pub struct Image {
    /// The sessions.
    pub sessions: Vec<Arc<Stored<Session>>>,
    /// The index of the last change to any.
    pub index: Index,
    /// That of the last change to those of each node that has any.
    pub nodes: Vec<(NodeName, Index)>,
}

impl Session {
    /// The checks that it ends with.
    pub fn checks(&self) -> impl Iterator<Item = &CheckId> {
        self.node_checks.iter().chain(&self.service_checks)
    }

    fn expires(&self, since: Timestamp) -> Option<Timestamp> {
        self.ttl.as_ref().map(|ttl| since.plus(ttl.time.saturating_mul(PATIENCE)))
    }
}

impl Sessions {
    pub(super) const fn new(start: Index) -> Self {
        Self {
            all: BTreeMap::new(),
            index: start,
            by_node: BTreeMap::new(),
            by_check: BTreeMap::new(),
            deadlines: BTreeSet::new(),
        }
    }

    pub(super) fn image(&self) -> Image {
        let nodes = self.by_node.iter();
        Image {
            sessions: self.all.values().map(|entry| Arc::clone(&entry.session)).collect(),
            index: self.index,
            nodes: nodes.map(|(name, of_node)| (name.clone(), of_node.index)).collect(),
        }
    }

    /// None of them runs out before [`State::renew_sessions`].
    pub(super) fn from_image(image: Image) -> Self {
        let mut sessions = Self::new(image.index);
        image.sessions.into_iter().for_each(|stored| sessions.put(stored, None));
        for (name, index) in image.nodes {
            if let Some(of_node) = sessions.by_node.get_mut(&name) {
                of_node.index = index;
            }
        }
        sessions
    }

    pub(super) fn put(&mut self, stored: Arc<Stored<Session>>, expires: Option<Timestamp>) {
        let session = &stored.value;
        let (id, node) = (session.id.clone(), session.node.clone());
        for check in session.checks() {
            let bound = self.by_check.entry((node.clone(), check.clone())).or_default();
            bound.insert(id.clone());
        }
        let index = stored.modified;
        let of_node = self.by_node.entry(node);
        let of_node = of_node.or_insert_with(|| OfNode { index, ids: BTreeSet::new() });
        of_node.ids.insert(id.clone());
        self.deadlines.extend(expires.map(|at| (at, id.clone())));
        self.all.insert(id, Entry { session: stored, expires });
    }

    fn take_out(&mut self, id: &SessionId) -> Option<Arc<Stored<Session>>> {
        let Entry { session: stored, expires } = self.all.remove(id)?;
        let session = &stored.value;
        for check in session.checks() {
            let place = (session.node.clone(), check.clone());
            if let Some(bound) = self.by_check.get_mut(&place) {
                bound.remove(id);
                if bound.is_empty() {
                    self.by_check.remove(&place);
                }
            }
        }
        if let Some(of_node) = self.by_node.get_mut(&session.node) {
            of_node.ids.remove(id);
            if of_node.ids.is_empty() {
                self.by_node.remove(&session.node);
            }
        }
        if let Some(at) = expires {
            self.deadlines.remove(&(at, id.clone()));
        }
        Some(stored)
    }

    fn renew(&mut self, id: &SessionId, at: Timestamp) {
        let Some(entry) = self.all.get_mut(id) else { return };
        let earlier = std::mem::replace(&mut entry.expires, entry.session.value.expires(at));
        let later = entry.expires;
        if let Some(at) = earlier {
            self.deadlines.remove(&(at, id.clone()));
        }
        self.deadlines.extend(later.map(|at| (at, id.clone())));
    }
}

impl State {
    /// One session.
    #[must_use]
    pub fn session(&self, id: &SessionId) -> Option<&Arc<Stored<Session>>> {
        self.sessions.all.get(id).map(|entry| &entry.session)
    }

    /// Every session, by id.
    pub fn sessions(&self) -> impl Iterator<Item = &Arc<Stored<Session>>> {
        self.sessions.all.values().map(|entry| &entry.session)
    }

    /// The sessions of a node, by id.
    pub fn sessions_of(&self, node: &NodeName) -> impl Iterator<Item = &Arc<Stored<Session>>> {
        let ids = self.sessions.by_node.get(node).into_iter().flat_map(|of_node| &of_node.ids);
        ids.filter_map(|id| self.session(id))
    }

    /// Begins every session's time anew, as after a restart: nobody could renew it meanwhile.
    pub fn renew_sessions(&mut self, now: Timestamp) {
        for id in self.sessions.all.keys().cloned().collect::<Vec<_>>() {
            self.sessions.renew(&id, now);
        }
    }

    pub(super) fn decide_session(
        &self,
        ask: Ask,
        now: Timestamp,
    ) -> Result<Option<Event>, super::Refusal> {
        match ask {
            Ask::Create(session) => {
                let node = self.nodes.get(&session.node).ok_or(Refusal::MissingNode)?;
                for id in session.checks() {
                    let check = node.checks.get(id);
                    let check = check.ok_or_else(|| Refusal::MissingCheck(id.clone()))?;
                    if check.value.status == Status::Critical {
                        return Err(Refusal::CriticalCheck(id.clone()).into());
                    }
                }
                within("sessions", self.sessions.all.len(), 1, self.limits.sessions)?;
                Ok(Some(Event::Created { session: *session, at: now }))
            }
            Ask::Destroy(id) => {
                let is_there = self.session(&id).is_some();
                Ok(is_there.then_some(Event::Ended { id, cause: Ending::Destroyed, at: now }))
            }
            Ask::Renew(id) => match self.session(&id) {
                None => Err(Refusal::Unknown(id).into()),
                Some(session) if session.value.ttl.is_none() => Ok(None),
                Some(_) => Ok(Some(Event::Renewed { id, at: now })),
            },
        }
    }

    /// The sessions whose time has run out.
    pub(super) fn expired_sessions(&self, now: Timestamp) -> impl Iterator<Item = Event> {
        let due = self.sessions.deadlines.iter().take_while(move |(at, _)| *at <= now);
        due.map(move |(_, id)| Event::Ended { id: id.clone(), cause: Ending::Expired, at: now })
    }

    /// The sessions that end because of `events`.
    pub(super) fn ended_by(&self, events: &[super::Event], now: Timestamp) -> Vec<super::Event> {
        use super::Event as Any;
        let mut ended = BTreeSet::new();
        for event in events {
            match event {
                Any::CheckSet { node, definition, status: Status::Critical, .. } => {
                    ended.extend(self.bound_to(node, &definition.id));
                }
                Any::StatusChanged { node, id, status: Status::Critical, .. }
                | Any::Expired { node, id, .. }
                | Any::CheckRemoved { node, id } => ended.extend(self.bound_to(node, id)),
                Any::NodeRemoved(name) => {
                    ended.extend(self.sessions_of(name).map(|session| session.value.id.clone()));
                }
                _ => {}
            }
        }
        for event in events {
            if let Any::Session(Event::Ended { id, .. }) = event {
                ended.remove(id);
            }
        }
        let ended =
            ended.into_iter().map(|id| Event::Ended { id, cause: Ending::Unhealthy, at: now });
        ended.map(Any::Session).collect()
    }

    fn bound_to(&self, node: &NodeName, check: &CheckId) -> impl Iterator<Item = SessionId> {
        let bound = self.sessions.by_check.get(&(node.clone(), check.clone()));
        bound.into_iter().flatten().cloned()
    }

    pub(super) fn apply_session(&mut self, event: &Event, step: &mut Step) {
        match event {
            Event::Created { session, at } => {
                let expires = session.expires(*at);
                touch(session, step);
                let value = session.clone();
                let stored = Stored { value, created: step.index, modified: step.index };
                self.sessions.put(Arc::new(stored), expires);
            }
            Event::Renewed { id, at } => self.sessions.renew(id, *at),
            Event::Ended { id, at, .. } => {
                let Some(stored) = self.sessions.take_out(id) else { return };
                let session = &stored.value;
                touch(session, step);
                let until = at.plus(session.lock_delay.min(MAX_LOCK_DELAY));
                let deleting = session.behavior == Behavior::Delete;
                self.unlock_all(id, deleting, (*at, until), step);
            }
        }
    }
}

fn touch(session: &Session, step: &mut Step) {
    step.touched.extend([
        Topic::Session(session.id.clone()),
        Topic::SessionsOf(session.node.clone()),
        Topic::Sessions,
    ]);
}
