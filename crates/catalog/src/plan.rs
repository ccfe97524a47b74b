//! What it takes to make a catalog what somebody wrote down, and what changes would come to: pure,
//! so that `apply --dry-run` shows what `apply` does.

use std::sync::Arc;

use crate::history::{self, Comparison};
use crate::state::{Change, Entry, Key, Origin, Specs, State};

/// What changes come to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// By key.
    pub planned: Vec<Planned>,
}

/// What becomes of an entry.
#[derive(Clone, Debug, PartialEq)]
pub struct Planned {
    /// Which.
    pub key: Key,
    /// What is done.
    pub kind: Kind,
    /// What differs.
    pub comparison: Comparison,
}

/// What is done to an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It is not there yet.
    Created,
    /// It is there, and otherwise.
    Changed,
    /// It will not be there any more.
    Removed,
}

impl Plan {
    /// Whether nothing changes.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.planned.is_empty()
    }

    /// How many entries this is done to.
    #[must_use]
    pub fn count(&self, kind: Kind) -> usize {
        self.planned.iter().filter(|planned| planned.kind == kind).count()
    }
}

/// What differs between two catalogs.
#[must_use]
pub fn between(before: &Specs, after: &Specs) -> Plan {
    let gone = before.keys().filter(|key| !after.contains_key(*key));
    let mut keys: Vec<&Key> = gone.chain(after.keys()).collect();
    keys.sort_unstable();
    let planned = keys.into_iter().filter_map(|key| {
        let (old, new) = (before.get(key), after.get(key));
        let kind = match (old, new) {
            (None, _) => Kind::Created,
            (_, None) => Kind::Removed,
            (old, new) if old == new => return None,
            _ => Kind::Changed,
        };
        let comparison = history::compare(old.map(AsRef::as_ref), new.map(AsRef::as_ref));
        Some(Planned { key: key.clone(), kind, comparison })
    });
    Plan { planned: planned.collect() }
}

/// What is there and not the file's.
#[must_use]
pub fn asked(state: &State) -> Specs {
    let entries = state.entries().filter(|(_, entry)| is_asked(entry));
    entries.filter_map(|(key, entry)| Some((key.clone(), Arc::clone(entry.spec()?)))).collect()
}

/// What the file declares and `wanted` would have otherwise: it is the file's to change.
#[must_use]
pub fn declared(state: &State, wanted: &Specs) -> Vec<Key> {
    let is_file = |key: &Key| {
        let last = state.entry(key).and_then(Entry::last);
        last.is_some_and(|last| last.spec.is_some() && last.origin == Origin::File)
    };
    let other = wanted.iter().filter(|(key, spec)| {
        // An API belongs to the file with all its versions.
        let of_api = key.api_name().map(|api| Key::Api(api.clone()));
        let is_theirs = is_file(key) || of_api.as_ref().is_some_and(is_file);
        is_theirs && state.entry(key).and_then(Entry::spec) != Some(*spec)
    });
    other.map(|(key, _)| key.clone()).collect()
}

/// The changes that make a catalog what `wanted` says. With `prune`, what is not in it is removed.
/// What the file declares is left alone where it is the same, and not removed; where it is to be
/// otherwise, the change is in here, to be refused with its reason.
#[must_use]
pub fn changes_to(state: &State, wanted: &Specs, prune: bool) -> Vec<Change> {
    let mut changes = Vec::new();
    for (key, spec) in wanted {
        let there = state.entry(key).and_then(Entry::spec);
        if there != Some(spec) {
            let (key, spec) = (key.clone(), Arc::clone(spec));
            changes.push(Change::Put { key, spec, expected: None });
        }
    }
    if prune {
        let gone = state.entries().filter(|(key, entry)| {
            is_asked(entry) && entry.spec().is_some() && !wanted.contains_key(*key)
        });
        let mut gone: Vec<Key> = gone.map(|(key, _)| key.clone()).collect();
        // Versions go before their API.
        gone.reverse();
        changes.extend(gone.into_iter().map(|key| Change::Remove { key }));
    }
    changes
}

fn is_asked(entry: &Entry) -> bool {
    entry.last().is_some_and(|last| last.origin == Origin::Asked)
}
