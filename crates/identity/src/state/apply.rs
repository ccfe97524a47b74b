//! Events into state.

use std::sync::Arc;

use super::command::{Change, Effect, Event, Happened};
use super::model::{Consumer, KeyNumber, Name, Revision, Stamp};
use super::{HISTORY, Owned, State};

impl State {
    /// Makes the events of one command have happened.
    pub(crate) fn apply(&mut self, events: &[Event]) -> Vec<Effect> {
        let Some(first) = events.first() else { return Vec::new() };
        self.mark = self.mark.next();
        for Event { stamp, what } in events {
            self.happen(stamp, what);
        }
        self.remember(Change {
            revision: self.mark,
            stamp: first.stamp.clone(),
            what: events.iter().map(|event| event.what.clone()).collect(),
        });
        let mut names: Vec<&Name> = events.iter().map(|event| event.what.name()).collect();
        names.dedup();
        let show = |name: &Name| Effect::Show {
            name: name.clone(),
            consumer: self.consumers.get(name).cloned(),
        };
        names.into_iter().map(show).collect()
    }

    /// Makes the events of one command have happened again, after which the revision was `mark`.
    pub(crate) fn replay(&mut self, events: &[Event], mark: Revision) {
        self.apply(events);
        self.mark = mark;
    }

    /// Notes what may be one consumer's only.
    pub(super) fn own(&mut self, consumer: &Consumer) {
        for owned in owned(consumer) {
            self.owners.insert(owned, consumer.name.clone());
        }
    }

    fn disown(&mut self, consumer: &Consumer) {
        for owned in owned(consumer) {
            self.owners.remove(&owned);
        }
    }

    fn remember(&mut self, change: Change) {
        self.history.push_back(Arc::new(change));
        if self.history.len() > HISTORY {
            self.history.pop_front();
        }
    }

    fn happen(&mut self, stamp: &Stamp, what: &Happened) {
        match what {
            Happened::Created { name, spec } => {
                let consumer = Consumer {
                    name: name.clone(),
                    spec: Arc::clone(spec),
                    keys: Vec::new(),
                    next_key: KeyNumber::FIRST,
                    created: stamp.clone(),
                    changed: stamp.clone(),
                    revision: self.mark,
                };
                self.own(&consumer);
                self.consumers.insert(name.clone(), Arc::new(consumer));
            }
            Happened::Deleted { name } => {
                if let Some(consumer) = self.consumers.remove(name) {
                    self.disown(&consumer);
                }
            }
            Happened::Updated { name, spec } => {
                self.change(name, stamp, |consumer| consumer.spec = Arc::clone(spec));
            }
            Happened::KeyIssued { name, key } => self.change(name, stamp, |consumer| {
                consumer.next_key = key.number.next();
                consumer.keys.push(key.clone());
            }),
            Happened::KeyReplaced { name, key, expires, by } => {
                self.change(name, stamp, |consumer| {
                    let mut keys = consumer.keys.iter_mut();
                    if let Some(old) = keys.find(|held| held.number == *key) {
                        old.expires = Some(*expires);
                        old.replaced_by = Some(*by);
                    }
                });
            }
            Happened::KeyRevoked { name, key } | Happened::KeyForgotten { name, key } => {
                self.change(name, stamp, |consumer| {
                    consumer.keys.retain(|held| held.number != *key);
                });
            }
        }
    }

    fn change(&mut self, name: &Name, stamp: &Stamp, change: impl FnOnce(&mut Consumer)) {
        let Some(mut consumer) = self.consumers.remove(name) else { return };
        self.disown(&consumer);
        let changed = Arc::make_mut(&mut consumer);
        change(changed);
        changed.changed = stamp.clone();
        changed.revision = self.mark;
        self.own(&consumer);
        self.consumers.insert(name.clone(), consumer);
    }
}

fn owned(consumer: &Consumer) -> impl Iterator<Item = Owned> {
    consumer.spec.owned().chain(consumer.keys.iter().map(|key| Owned::Key(key.hash)))
}
