//! The rules, pure: *(state, command, now) → (events, effects)*.
//!
//! In reading order: [`model`] (what there is), [`command`] (what is asked and told), `decide` (what
//! a command comes to), `sound` (what must go together), here (what events do to the state).
//!
//! What must hold: a refused command has changed nothing; every change is a revision that says who,
//! when and why; what the file declares is changed by the file only; the versions of an API always
//! go together ([`sound::check`]).

pub mod command;
mod decide;
pub mod model;
pub mod sound;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::sync::Arc;

use posthouse_base::time::Timestamp;

pub use command::{Applied, Apply, Change, Command, Effect, Event, Mark, Refusal, What};
pub use model::{
    Api, BadName, Cause, Changed, Ending, Key, Lifecycle, Name, Origin, Plan, Revision, Select,
    Spec, Specs, Version,
};

/// What the catalog may grow to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// APIs.
    pub apis: usize,
    /// Versions of one API.
    pub versions: usize,
    /// Plans.
    pub plans: usize,
    /// Changes in one command.
    pub changes: usize,
    /// Revisions that are kept of each entry; older ones are forgotten.
    pub revisions: usize,
    /// Removed entries whose history is kept; older ones are forgotten.
    pub removed: usize,
    /// Bytes of all descriptions that are kept, those of older revisions included.
    pub contract_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            apis: 2000,
            versions: 50,
            plans: 1000,
            changes: 5000,
            revisions: 50,
            removed: 1000,
            contract_bytes: 256 << 20,
        }
    }
}

/// An entry and its history.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Entry {
    /// Oldest first; never empty.
    revisions: VecDeque<Changed>,
}

impl Entry {
    /// An entry of these revisions, oldest first.
    pub(crate) const fn of(revisions: VecDeque<Changed>) -> Self {
        Self { revisions }
    }

    /// The revisions that are kept, oldest first.
    pub fn revisions(&self) -> impl DoubleEndedIterator<Item = &Changed> + ExactSizeIterator {
        self.revisions.iter()
    }

    /// One revision.
    #[must_use]
    pub fn revision(&self, number: Revision) -> Option<&Changed> {
        self.revisions.iter().find(|changed| changed.revision == number)
    }

    /// The last revision.
    #[must_use]
    pub fn last(&self) -> Option<&Changed> {
        self.revisions.back()
    }

    /// What it is; `None` when it was removed.
    #[must_use]
    pub fn spec(&self) -> Option<&Arc<Spec>> {
        self.last().and_then(|changed| changed.spec.as_ref())
    }
}

/// The whole catalog.
#[derive(Clone, Debug, PartialEq)]
pub struct State {
    limits: Limits,
    mark: Mark,
    entries: BTreeMap<Key, Arc<Entry>>,
}

/// What a checkpoint is made of.
#[derive(Clone, Debug)]
pub(crate) struct Image {
    pub(crate) mark: Mark,
    pub(crate) entries: BTreeMap<Key, Arc<Entry>>,
}

/// What a command comes to.
#[derive(Clone, Debug)]
pub struct Decided {
    /// What is to happen.
    pub events: Vec<Event>,
    /// What whoever asked is told then.
    pub reply: Applied,
}

impl State {
    /// An empty catalog.
    #[must_use]
    pub const fn blank(limits: Limits) -> Self {
        Self { limits, mark: Mark::new(0), entries: BTreeMap::new() }
    }

    /// How far it has come.
    #[must_use]
    pub const fn mark(&self) -> Mark {
        self.mark
    }

    /// All entries, also removed ones, by key.
    pub fn entries(&self) -> impl Iterator<Item = (&Key, &Entry)> {
        self.entries.iter().map(|(key, entry)| (key, entry.as_ref()))
    }

    /// An entry, also a removed one.
    #[must_use]
    pub fn entry(&self, key: &Key) -> Option<&Entry> {
        self.entries.get(key).map(AsRef::as_ref)
    }

    /// What there is.
    #[must_use]
    pub fn specs(&self) -> Specs {
        let specs = self.entries.iter();
        specs.filter_map(|(key, entry)| Some((key.clone(), Arc::clone(entry.spec()?)))).collect()
    }

    /// What a command comes to at this time.
    ///
    /// # Errors
    /// Why it is refused.
    pub fn decide(&self, command: Command, now: Timestamp) -> Result<Decided, Refusal> {
        decide::decide(self, command, now)
    }

    /// Makes the events of one command have happened.
    pub fn apply(&mut self, events: &[Event]) -> Vec<Effect> {
        if events.is_empty() {
            return Vec::new();
        }
        self.mark = Mark::new(self.mark.get().saturating_add(1));
        for event in events {
            self.happen(event);
        }
        self.forget();
        events.iter().map(|event| Effect::Changed(event.key.clone())).collect()
    }

    /// Makes them have happened again, after which the mark was `mark`.
    pub(crate) fn replay(&mut self, events: &[Event], mark: Mark) {
        self.apply(events);
        self.mark = mark;
    }

    pub(crate) fn image(&self) -> Image {
        Image { mark: self.mark, entries: self.entries.clone() }
    }

    pub(crate) fn bring_back(&mut self, image: Image) {
        (self.mark, self.entries) = (image.mark, image.entries);
    }

    fn happen(&mut self, event: &Event) {
        let entry = Arc::make_mut(self.entries.entry(event.key.clone()).or_default());
        let before = entry.spec();
        let (cause, spec) = match &event.what {
            What::Put { spec, keeps_contract: false } => (Cause::Put, Some(Arc::clone(spec))),
            What::Put { spec, keeps_contract: true } => {
                (Cause::Put, Some(with_contract_of(spec, before)))
            }
            What::Moved(to) => (Cause::Moved, before.map(|spec| moved(spec, to))),
            What::RolledBack(to) => {
                let spec = entry.revision(*to).and_then(|changed| changed.spec.clone());
                (Cause::RolledBack(*to), spec)
            }
            What::Removed => (Cause::Removed, None),
        };
        entry.revisions.push_back(Changed {
            revision: event.revision,
            who: Arc::clone(&event.who),
            at: event.at,
            note: Arc::clone(&event.note),
            cause,
            origin: event.origin,
            spec,
        });
        while entry.revisions.len() > self.limits.revisions.max(1) {
            entry.revisions.pop_front();
        }
    }

    /// Lets go of the history of what was removed longest ago.
    fn forget(&mut self) {
        let gone = self.entries.iter().filter(|(_, entry)| entry.spec().is_none());
        let mut gone: Vec<(Timestamp, Key)> =
            gone.filter_map(|(key, entry)| Some((entry.last()?.at, key.clone()))).collect();
        let Some(excess) = gone.len().checked_sub(self.limits.removed) else { return };
        gone.sort_unstable();
        for (_, key) in gone.into_iter().take(excess) {
            self.entries.remove(&key);
        }
    }

    /// Bytes of the descriptions that are kept, each counted once.
    #[must_use]
    pub fn contract_bytes(&self) -> usize {
        let mut seen = HashSet::new();
        let revisions = self.entries.values().flat_map(|entry| entry.revisions());
        let versions = revisions.filter_map(|changed| changed.spec.as_deref()?.as_version());
        let contracts = versions.filter_map(|version| version.contract.as_ref());
        contracts
            .filter(|contract| seen.insert(contract.digest()))
            .map(|contract| contract.text().len())
            .sum()
    }
}

/// The same version in another part of its life.
fn moved(spec: &Arc<Spec>, to: &Lifecycle) -> Arc<Spec> {
    match spec.as_version() {
        Some(version) => {
            let version = Version { lifecycle: to.clone(), ..version.clone() };
            Arc::new(Spec::Version(Box::new(version)))
        }
        None => Arc::clone(spec),
    }
}

/// The spec with the description that the entry had: the same text needs to be there only once.
fn with_contract_of(spec: &Arc<Spec>, before: Option<&Arc<Spec>>) -> Arc<Spec> {
    let contract = before.and_then(|spec| spec.as_version()).and_then(|old| old.contract.clone());
    match spec.as_version() {
        Some(version) if contract.is_some() => {
            let version = Version { contract, ..version.clone() };
            Arc::new(Spec::Version(Box::new(version)))
        }
        _ => Arc::clone(spec),
    }
}
