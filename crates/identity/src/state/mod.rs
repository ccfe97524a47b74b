//! The rules about consumers and their API keys, pure: *(state, command, now) → (events, effects)*.
//! No clock, no task, no randomness: a key's secret is made elsewhere, and only its hash comes here.
//!
//! In reading order: `model` (what is known), `command` (what is asked, what happens, what must be
//! done), `decide` (commands into events), `apply` (events into state).
//!
//! What must hold: no secret is in the state; a hash, a certificate's name and the id of a signing key
//! belong to one consumer each; a revoked key never comes back; every change says who made it and when.

mod apply;
mod command;
mod decide;
mod model;
#[cfg(test)]
pub(crate) mod tests;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

pub use command::{Ask, By, Change, Command, Effect, Event, Happened, Refusal, Reply};
pub use model::{
    Actor, ApiKey, Consumer, Hash, KeyNumber, Name, NewKey, PublicKey, Revision, Spec, Stamp,
};

/// How many changes are remembered to be shown.
pub(crate) const HISTORY: usize = 1000;

/// How many of each there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Consumers.
    pub consumers: usize,
    /// Keys of one consumer, the expired ones not counted.
    pub keys: usize,
    /// Roles, certificates and signing keys of one consumer, each.
    pub entries: usize,
    /// What is told of one consumer, in bytes.
    pub bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { consumers: 1_000_000, keys: 32, entries: 64, bytes: 64 << 10 }
    }
}

/// Everything that is known of consumers which the file does not declare.
#[derive(Clone, Debug, PartialEq)]
pub struct State {
    limits: Limits,
    mark: Revision,
    consumers: BTreeMap<Name, Arc<Consumer>>,
    /// Whose each thing is that may be one consumer's only.
    owners: HashMap<Owned, Name>,
    history: VecDeque<Arc<Change>>,
}

/// What may be one consumer's only.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Owned {
    Key(Hash),
    Certificate(Box<str>),
    SigningKey(Box<str>),
}

/// A state as a list, cheap to take: consumers are shared.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Image {
    pub(crate) mark: Revision,
    pub(crate) consumers: Vec<Arc<Consumer>>,
    pub(crate) history: Vec<Arc<Change>>,
}

impl State {
    /// Nobody.
    pub(crate) fn blank(limits: Limits) -> Self {
        let mark = Revision::default();
        let (consumers, owners, history) = (BTreeMap::new(), HashMap::new(), VecDeque::new());
        Self { limits, mark, consumers, owners, history }
    }

    /// The revision of the last change.
    pub(crate) const fn revision(&self) -> Revision {
        self.mark
    }

    /// All consumers, by name.
    pub(crate) fn consumers(&self) -> impl Iterator<Item = &Arc<Consumer>> {
        self.consumers.values()
    }

    /// One consumer.
    pub(crate) fn consumer(&self, name: &Name) -> Option<&Arc<Consumer>> {
        self.consumers.get(name)
    }

    /// The last changes, the latest first.
    pub(crate) fn history(&self) -> impl Iterator<Item = &Arc<Change>> {
        self.history.iter().rev()
    }

    /// What a checkpoint needs.
    pub(crate) fn image(&self) -> Image {
        Image {
            mark: self.mark,
            consumers: self.consumers.values().cloned().collect(),
            history: self.history.iter().cloned().collect(),
        }
    }

    /// Turns a blank state into the one that an image was taken of.
    pub(crate) fn bring_back(&mut self, image: Image) {
        self.mark = image.mark;
        self.history = image.history.into();
        for consumer in image.consumers {
            self.own(&consumer);
            self.consumers.insert(consumer.name.clone(), consumer);
        }
    }
}
