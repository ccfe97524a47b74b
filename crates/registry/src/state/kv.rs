//! Keys with values, and the locks on them.
//!
//! Every key has an index of its own, and every prefix one too: that of the last change to anything
//! below it. What is deleted leaves a tombstone, so that its index does not go back. A lock is a
//! session's name on a key; it keeps other sessions from locking the key, and nobody from writing.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;
use posthouse_base::time::Timestamp;

use super::apply::Step;
use super::command::Topic;
use super::model::{Index, Key, SessionId, Stored};
use super::{MAX_TOMBSTONES, State, within};

/// How many folders of a key have watchers of their own; those of deeper ones are woken by changes
/// beside what they watch, and look again. Bounds what one change of a key costs.
const MAX_DEPTH: usize = 16;

/// A key with its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The key.
    pub key: Key,
    /// What it is set to.
    pub value: Bytes,
    /// A number that means what clients agree on.
    pub flags: u64,
    /// The session that has locked it.
    pub session: Option<SessionId>,
    /// How often it has been locked.
    pub locks: u64,
}

/// Something asked about keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    /// Sets a key.
    Set {
        /// The key.
        key: Key,
        /// What to set it to.
        value: Bytes,
        /// Its flags.
        flags: u64,
        /// On what condition, and what becomes of its lock.
        when: When,
    },
    /// Deletes a key; one that is not there is deleted already.
    Delete {
        /// The key.
        key: Key,
        /// On what condition.
        when: Option<Version>,
    },
    /// Deletes every key that begins with a prefix.
    DeleteTree {
        /// The prefix; empty for every key.
        prefix: Key,
    },
}

/// The condition to set a key on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum When {
    /// In any case; a lock stays as it is.
    Always,
    /// If it is as it was; a lock stays as it is.
    Unchanged(Version),
    /// If this session may lock it, and then it has.
    Acquire(SessionId),
    /// If this session has locked it, and then it has no longer.
    Release(SessionId),
}

/// How a key was when its writer last looked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// It was not there.
    Absent,
    /// It was last changed at this index.
    At(Index),
}

impl Version {
    /// The version that clients write as a number, 0 for a key that is not there.
    #[must_use]
    pub const fn new(index: u64) -> Self {
        if index == 0 { Self::Absent } else { Self::At(Index::new(index)) }
    }

    /// Whether this is the version of what is `stored`.
    pub(super) fn is_of<T>(self, stored: Option<&Stored<T>>) -> bool {
        match self {
            Self::Absent => stored.is_none(),
            Self::At(index) => stored.is_some_and(|stored| stored.modified == index),
        }
    }
}

/// Something that happened to keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A key is set, locked or unlocked.
    Set(Entry),
    /// A key was deleted.
    Deleted(Key),
    /// Every key that begins with this was deleted.
    TreeDeleted(Key),
}

/// Why a key was not written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It was set since.
    #[error("failed to set key {0:?}, index is stale")]
    StaleSet(Key),
    /// It was set since.
    #[error("failed to delete key {0:?}, index is stale")]
    StaleDelete(Key),
    /// Another session has locked it.
    #[error("failed to lock key {0:?}, lock is already held")]
    Held(Key),
    /// The session has not locked it.
    #[error("failed to unlock key {0:?}, lock isn't held, or is held by another session")]
    NotHeld(Key),
    /// It was locked by a session that has ended, whose owner is given time to notice.
    #[error("failed to lock key {0:?} due to lock delay")]
    Delayed(Key),
    /// There is no such session.
    #[error("invalid session {0:?}")]
    UnknownSession(SessionId),
}

/// All keys.
#[derive(Clone, Debug, PartialEq)]
pub struct Store {
    pub(super) entries: BTreeMap<Key, Arc<Stored<Entry>>>,
    pub(super) tombstones: BTreeMap<Key, Index>,
    /// The index of a key that never was, or whose tombstone is gone.
    pub(super) floor: Index,
    /// How many keys there are, and how long they and their values are together. (Not counted
    /// from the entries, because a transaction is tried on an excerpt of them.)
    pub(super) count: usize,
    pub(super) size: u64,
    /// The keys that sessions have locked.
    pub(super) held: BTreeMap<SessionId, BTreeSet<Key>>,
    pub(super) delays: Delays,
}

/// Until when keys cannot be locked, since the session that had locked them ended.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Delays {
    pub(super) until: BTreeMap<Key, Timestamp>,
    order: BTreeSet<(Timestamp, Key)>,
}

/// Everything that is known of keys, in order.
#[derive(Clone, Debug, Default)]
pub struct Image {
    /// The keys.
    pub entries: Vec<Arc<Stored<Entry>>>,
    /// The index of each key that is gone.
    pub tombstones: Vec<(Key, Index)>,
    /// That of a key that never was.
    pub floor: Index,
    /// Until when keys cannot be locked.
    pub delays: Vec<(Key, Timestamp)>,
}

impl Store {
    pub(super) const fn new(start: Index) -> Self {
        Self {
            entries: BTreeMap::new(),
            tombstones: BTreeMap::new(),
            floor: start,
            count: 0,
            size: 0,
            held: BTreeMap::new(),
            delays: Delays { until: BTreeMap::new(), order: BTreeSet::new() },
        }
    }

    /// One key.
    #[must_use]
    pub fn get(&self, key: &Key) -> Option<&Arc<Stored<Entry>>> {
        self.entries.get(key)
    }

    /// Every key that begins with `prefix`, in order.
    pub fn under<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = &'a Arc<Stored<Entry>>> {
        under(&self.entries, prefix).map(|(_, stored)| stored)
    }

    /// The index of the last change to a key.
    #[must_use]
    pub fn key_index(&self, key: &Key) -> Index {
        let stored = self.entries.get(key).map(|stored| stored.modified);
        stored.or_else(|| self.tombstones.get(key).copied()).unwrap_or(self.floor)
    }

    /// The index of the last change to any key that begins with `prefix`.
    #[must_use]
    pub fn prefix_index(&self, prefix: &str) -> Index {
        let present = under(&self.entries, prefix).map(|(_, stored)| stored.modified);
        let gone = under(&self.tombstones, prefix).map(|(_, index)| *index);
        present.chain(gone).fold(self.floor, Index::max)
    }

    /// How many keys there are.
    #[must_use]
    pub const fn count(&self) -> usize {
        self.count
    }

    /// How long all keys and values are together, in bytes.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// What to watch for changes below `prefix`.
    #[must_use]
    pub fn topic_of(prefix: &str) -> Topic {
        let folder = folders(prefix).last().unwrap_or_default();
        Topic::Folder(folder.into())
    }

    pub(super) fn image(&self) -> Image {
        Image {
            entries: self.entries.values().cloned().collect(),
            tombstones: self.tombstones.iter().map(|(key, index)| (key.clone(), *index)).collect(),
            floor: self.floor,
            delays: self.delays.until.iter().map(|(key, until)| (key.clone(), *until)).collect(),
        }
    }

    pub(super) fn from_image(image: Image) -> Self {
        let mut store = Self::new(image.floor);
        for stored in image.entries {
            store.bring_back(&stored);
            store.count += 1;
            store.size += size_of(&stored.value);
        }
        store.tombstones.extend(image.tombstones);
        for (key, until) in image.delays {
            store.delays.put(key, until);
        }
        store
    }

    /// Without counting it.
    pub(super) fn bring_back(&mut self, stored: &Arc<Stored<Entry>>) {
        let key = &stored.value.key;
        if let Some(session) = &stored.value.session {
            self.held.entry(session.clone()).or_default().insert(key.clone());
        }
        self.entries.insert(key.clone(), Arc::clone(stored));
    }

    fn put(&mut self, entry: &Entry, index: Index) {
        let known = self.entries.get(&entry.key).cloned();
        let created = known.as_ref().map_or(index, |known| known.created);
        match &known {
            Some(known) => {
                self.size -= size_of(&known.value);
                self.release(&known.value);
            }
            None => self.count += 1,
        }
        self.size += size_of(entry);
        if let Some(session) = &entry.session {
            self.held.entry(session.clone()).or_default().insert(entry.key.clone());
        }
        let stored = Stored { value: entry.clone(), created, modified: index };
        self.entries.insert(entry.key.clone(), Arc::new(stored));
        self.tombstones.remove(&entry.key);
    }

    /// Whether there was something to take out.
    fn take_out(&mut self, key: &Key, index: Index) -> bool {
        let Some(known) = self.entries.remove(key) else { return false };
        self.count -= 1;
        self.size -= size_of(&known.value);
        self.release(&known.value);
        if self.tombstones.len() >= MAX_TOMBSTONES {
            self.tombstones.clear();
            self.floor = index;
        }
        self.tombstones.insert(key.clone(), index);
        true
    }

    fn release(&mut self, entry: &Entry) {
        let Some(session) = &entry.session else { return };
        if let Some(keys) = self.held.get_mut(session) {
            keys.remove(&entry.key);
            if keys.is_empty() {
                self.held.remove(session);
            }
        }
    }
}

impl Delays {
    pub(super) fn hold(&self, key: &Key, now: Timestamp) -> bool {
        self.until.get(key).is_some_and(|until| *until > now)
    }

    pub(super) fn put(&mut self, key: Key, until: Timestamp) {
        if let Some(earlier) = self.until.insert(key.clone(), until) {
            self.order.remove(&(earlier, key.clone()));
        }
        self.order.insert((until, key));
    }

    /// Forgets those that are over.
    fn expire(&mut self, now: Timestamp) {
        while let Some((until, key)) = self.order.first()
            && *until <= now
        {
            self.until.remove(key);
            self.order.pop_first();
        }
    }
}

impl State {
    /// All keys.
    #[must_use]
    pub const fn kv(&self) -> &Store {
        &self.kv
    }

    pub(super) fn decide_kv(
        &self,
        write: Write,
        now: Timestamp,
    ) -> Result<Option<Event>, super::Refusal> {
        match write {
            Write::Set { key, value, flags, when } => self.set_key((key, value, flags), when, now),
            Write::Delete { key, when } => {
                let known = self.kv.get(&key);
                if let Some(when) = when
                    && known.is_some_and(|known| !when.is_of(Some(known)))
                {
                    return Err(Refusal::StaleDelete(key).into());
                }
                Ok(known.is_some().then_some(Event::Deleted(key)))
            }
            Write::DeleteTree { prefix } => {
                let is_there = self.kv.under(prefix.as_str()).next().is_some();
                Ok(is_there.then_some(Event::TreeDeleted(prefix)))
            }
        }
    }

    fn set_key(
        &self,
        (key, value, flags): (Key, Bytes, u64),
        when: When,
        now: Timestamp,
    ) -> Result<Option<Event>, super::Refusal> {
        let known = self.kv.get(&key).map(Arc::as_ref);
        let holder = known.and_then(|known| known.value.session.clone());
        let mut locks = known.map_or(0, |known| known.value.locks);
        let session = match when {
            When::Always => holder,
            When::Unchanged(version) if version.is_of(known) => holder,
            When::Unchanged(_) => return Err(Refusal::StaleSet(key).into()),
            When::Acquire(_) if self.kv.delays.hold(&key, now) => {
                return Err(Refusal::Delayed(key).into());
            }
            When::Acquire(session) if self.session(&session).is_none() => {
                return Err(Refusal::UnknownSession(session).into());
            }
            When::Acquire(session) => match holder {
                Some(holder) if holder != session => return Err(Refusal::Held(key).into()),
                Some(_) => Some(session),
                None => {
                    locks += 1;
                    Some(session)
                }
            },
            When::Release(session) if holder.as_ref() == Some(&session) => None,
            When::Release(_) => return Err(Refusal::NotHeld(key).into()),
        };
        let entry = Entry { key, value, flags, session, locks };
        if known.is_some_and(|known| known.value == entry) {
            return Ok(None);
        }
        if known.is_none() {
            within("kv_keys", self.kv.count, 1, self.limits.keys)?;
        }
        let freed = known.map_or(0, |known| size_of(&known.value));
        let size = self.kv.size - freed + size_of(&entry);
        if size > self.limits.key_bytes && size_of(&entry) > freed {
            let limit = usize::try_from(self.limits.key_bytes).unwrap_or(usize::MAX);
            return Err(super::Refusal::Limit { what: "kv_bytes", limit });
        }
        Ok(Some(Event::Set(entry)))
    }

    pub(super) fn apply_kv(&mut self, event: &Event, step: &mut Step) {
        match event {
            Event::Set(entry) => {
                self.kv.put(entry, step.index);
                touch(&entry.key, step);
            }
            Event::Deleted(key) => self.delete_key(key, step),
            Event::TreeDeleted(prefix) => {
                let keys = self.kv.under(prefix.as_str()).map(|stored| stored.value.key.clone());
                for key in keys.collect::<Vec<_>>() {
                    self.delete_key(&key, step);
                }
            }
        }
    }

    /// Takes a session's locks away, and the keys with them if `deleting`. Nobody may lock what it
    /// had locked before `until`.
    pub(super) fn unlock_all(
        &mut self,
        session: &SessionId,
        deleting: bool,
        (now, until): (Timestamp, Timestamp),
        step: &mut Step,
    ) {
        self.kv.delays.expire(now);
        for key in self.kv.held.get(session).cloned().unwrap_or_default() {
            if until > now {
                self.kv.delays.put(key.clone(), until);
            }
            if deleting {
                self.delete_key(&key, step);
            } else if let Some(stored) = self.kv.get(&key).cloned() {
                self.kv.put(&Entry { session: None, ..stored.value.clone() }, step.index);
                touch(&key, step);
            }
        }
    }

    fn delete_key(&mut self, key: &Key, step: &mut Step) {
        if self.kv.take_out(key, step.index) {
            touch(key, step);
        }
    }
}

/// What of `map` has a key that begins with `prefix`, in order.
pub(super) fn under<'a, T>(
    map: &'a BTreeMap<Key, T>,
    prefix: &'a str,
) -> impl Iterator<Item = (&'a Key, &'a T)> {
    let from = (Bound::Included(prefix), Bound::Unbounded);
    map.range::<str, _>(from).take_while(move |(key, _)| key.as_str().starts_with(prefix))
}

/// The folders that a key is in, outermost first: `""`, `a/`, `a/b/` for `a/b/c`. Those of a prefix
/// are the first ones of all keys that begin with it.
fn folders(key: &str) -> impl Iterator<Item = &str> {
    let inner = key.match_indices('/').filter_map(|(at, _)| key.get(..=at));
    std::iter::once("").chain(inner).take(MAX_DEPTH)
}

fn touch(key: &Key, step: &mut Step) {
    step.touched.insert(Topic::Key(key.clone()));
    step.touched.extend(folders(key.as_str()).map(|folder| Topic::Folder(folder.into())));
}

fn size_of(entry: &Entry) -> u64 {
    let length = entry.key.as_str().len() + entry.value.len();
    u64::try_from(length).unwrap_or(u64::MAX)
}
